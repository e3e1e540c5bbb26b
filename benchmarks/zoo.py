"""Networks of timm: how much of each lies inside channel groups, what stays whole, and why.

    python benchmarks/zoo.py --work DIR          # about an hour; goes on where it stopped
    python benchmarks/zoo.py --work DIR --into docs/explanation/channels.md   # writes the table
    python benchmarks/zoo.py NAME ...                      # only these networks

Looked at for each network, at random weights: the share of its convolution and linear weights that
a channel group can remove; the difference of the slim networks from the masked dense one in
float64 (relative; everything kept, and random plans with dropped branches); whether their
multiply-accumulates and parameters are those that were predicted; the difference of ONNX Runtime
from torch in float32; what stayed whole. Beside it, what Torch-Pruning does with the network.
The status is 1 where a network crashed or answered otherwise, or a bar of issue 13 is missed.
"""

import argparse
import itertools
import json
import math
import sys
import time
import warnings
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from edgeprune.arrays import Bools
from edgeprune.export.exporter import to_onnx
from edgeprune.prune.slimming.proof import carried
from edgeprune.prune.slimming.slim import slim
from edgeprune.prune.space.macs import CostModel
from edgeprune.prune.space.plan import PruningPlan, check
from edgeprune.prune.tracing.trace import Trace, trace

sys.path.insert(0, str(Path(__file__).parents[1]))
from benchmarks.zoo_networks import FAMILIES, network
from benchmarks.zoo_peer import asked_of_peer
from tests.models import draw_plan, whole

EXACT = 1e-10
"""Largest relative difference in float64 that rounding explains."""
PARITY = 1e-4
"""Largest relative difference of ONNX Runtime from torch in float32 that rounding explains."""
INSIDE, FAMILIES_INSIDE = 0.8, 0.9
"""Share of the weights inside groups, and share of the families that have a network with it."""


@dataclass(kw_only=True)
class Row:
    """One network of the table.

    Attributes:
        name: As timm calls it.
        inside: Share of convolution and linear weights that some group can remove.
        error: Largest relative difference of a slim network from the masked one, float64.
        counted: Whether the costs of a slim network are those that were predicted.
        onnx: Relative difference of ONNX Runtime from torch on a slim network, float32.
        reasons: What stayed whole and why, with the number of places.
        peer: What Torch-Pruning makes of the network.
    """

    name: str
    inside: float
    error: float
    counted: bool
    onnx: float
    reasons: dict[str, int]
    peer: str = ""

    @property
    def is_right(self) -> bool:
        """Whether nothing about it is wrong."""
        return self.error < EXACT and self.counted and self.onnx < PARITY


def inside(traced: Trace) -> float:
    """Share of the elements of convolution and linear weights on a channel that may go."""
    total = free = 0.0
    for name, layer in traced.graph.named_modules():
        if isinstance(layer, (_ConvNd, nn.Linear)):
            rows, columns = (_prunable(traced, f"{name}.weight", axis) for axis in (0, 1))
            count = layer.weight.numel()
            total += count
            if rows is not None or columns is not None:
                none = np.zeros(1, np.bool_)
                left, right = (none if m is None else m for m in (rows, columns))
                free += count * float((left[:, None] | right[None, :]).mean())
    return free / total if total else 0.0


def _prunable(traced: Trace, name: str, axis: int) -> Bools | None:
    layout = traced.tensors.get((name, axis))
    return None if layout is None else layout.group >= 0


def judged(name: str, plans: int = 2) -> Row:
    """Trace a network, and compare slim networks with the masked one, their costs and export."""
    model, x = network(name)
    traced = trace(model, x)
    drawn = [draw_plan(traced, seed) for seed in range(plans)]
    with torch.no_grad():
        errors = [_difference(slim(traced, whole(traced))(x), model(x))]
        for plan in drawn:
            thin = slim(traced, plan, fold_constants=False)
            errors.append(_difference(thin(x), carried(traced, plan, x)))
    reasons = Counter(place.reason for place in traced.unfollowed)
    return Row(
        name=name,
        inside=inside(traced),
        error=max(errors),
        counted=all(_are_costs_exact(traced, plan, x) for plan in drawn),
        onnx=_onnx_difference(slim(traced, drawn[-1]), x[:1].float()),
        reasons=dict(reasons),
    )


def _difference(found: object, expected: object) -> float:
    """The largest relative difference of any tensor; infinite where one is not finite."""
    pairs = zip(tree_leaves(found), tree_leaves(expected), strict=True)
    worst = max(float((a - b).norm() / b.norm().clamp_min(1e-300)) for a, b in pairs)
    return worst if math.isfinite(worst) else math.inf


def _are_costs_exact(traced: Trace, plan: PruningPlan, x: Tensor) -> bool:
    """Whether MACs and parameters of a slim network are the predicted ones, to the unit.

    Those of its layers: products of activations are not counted.
    """
    thin, cost = slim(traced, plan), CostModel(traced)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        thin(x)
    counts = counter.get_flop_counts()
    layers = [n for n, layer in thin.named_modules() if isinstance(layer, (_ConvNd, nn.Linear))]
    flops = sum(sum(counts.get(f"{type(thin).__name__}.{name}", {}).values()) for name in layers)
    widths = np.array([[len(kept) for kept in check(plan, traced.groups)]])
    params = sum(parameter.numel() for parameter in thin.parameters())
    macs = cost.macs(widths) + cost.shortcut_macs(widths)
    return bool(macs == flops // 2 // len(x)) and bool(cost.params(widths) == params)


def _onnx_difference(thin: nn.Module, x: Tensor) -> float:
    """Relative difference of ONNX Runtime from torch on one image."""
    content = to_onnx(thin, x).SerializeToString()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(content, options)
    (found,) = session.run(None, {session.get_inputs()[0].name: x.numpy()})
    with torch.no_grad():
        return _difference(torch.from_numpy(found), thin.float()(x))


def looked_at(name: str, work: Path | None) -> Row | str:
    """The row of a network, kept in ``work`` for the next time, or why there is none."""
    kept = work / f"{name}.json" if work else None
    if kept and kept.exists():
        return Row(**json.loads(kept.read_text("utf-8")))
    start = time.monotonic()
    try:
        row = judged(name)
    except Exception as error:
        return f"{type(error).__name__}: {str(error).splitlines()[0]}"
    print(f"{name}: {time.monotonic() - start:.0f} s", file=sys.stderr, flush=True)
    keep(row, work)
    return row


def keep(row: Row, work: Path | None) -> None:
    """Write a row down for the next time."""
    if work:
        (work / f"{row.name}.json").write_text(json.dumps(asdict(row)), "utf-8")


def table(rows: dict[str, list[Row]]) -> str:
    """The table of channels.md."""
    heads = "family", "network", "inside", "difference", "ONNX", "Torch-Pruning", "stays whole"
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    for family, members in rows.items():
        for row in members:
            reasons = "; ".join(f"{why} ({n})" for why, n in row.reasons.items()) or "nothing"
            numbers = f"{row.inside:.0%}", f"{row.error:.0e}", f"{row.onnx:.0e}"
            lines.append(f"| {' | '.join((family, row.name, *numbers, row.peer, reasons))} |")
    return "\n".join(lines) + "\n"


def write_into(page: Path, text: str) -> None:
    """Put a table in the place of the one that a page has."""
    lines = page.read_text("utf-8").splitlines(keepends=True)
    first = next(i for i, line in enumerate(lines) if line.startswith("| family |"))
    after = next((i for i in range(first, len(lines)) if lines[i][0] != "|"), len(lines))
    page.write_text("".join([*lines[:first], text, *lines[after:]]), "utf-8")


def looked_at_all(names: list[str], work: Path | None) -> tuple[dict[str, list[Row]], list[str]]:
    """The rows of every family, and what went wrong."""
    rows: dict[str, list[Row]] = {}
    failed: list[str] = []
    for family, members in FAMILIES.items():
        for name in members:
            if names and name not in names:
                continue
            row = looked_at(name, work)
            if isinstance(row, Row):
                rows.setdefault(family, []).append(row)
            if isinstance(row, str) or not row.is_right:
                failed.append(f"{name}: {row}")
    for row in itertools.chain(*rows.values()):  # the peer last: it takes longer than the rest
        if not row.peer:
            row.peer = asked_of_peer(row.name)
            keep(row, work)
    return rows, failed


def main() -> int:
    """Look at every network; 1 where one crashed, answered otherwise, or a bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", help="networks; all of them by default")
    parser.add_argument("--work", type=Path, help="folder that keeps what was found")
    parser.add_argument("--into", type=Path, help="page whose table is replaced")
    options = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    if options.work:
        options.work.mkdir(parents=True, exist_ok=True)
    rows, failed = looked_at_all(options.names, options.work)
    text = table(rows)
    print(text)
    if options.into:
        write_into(options.into, text)
    many = sum(max(row.inside for row in members) >= INSIDE for members in rows.values())
    print(f"{many} of {len(rows)} families have a network with at least {INSIDE:.0%} inside.")
    print("\n".join(failed))
    return int(bool(failed) or many < FAMILIES_INSIDE * len(rows))


if __name__ == "__main__":
    sys.exit(main())
