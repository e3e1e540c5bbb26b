"""Which layers stay in float: those that are named, are sensitive, or are faster there."""

import fnmatch
import tempfile
from collections.abc import Sequence
from pathlib import Path

import onnx

from edgeprune.deploy.precision.layers import layer_names, weighted
from edgeprune.deploy.precision.trials import Best, State, Timed, Trials
from edgeprune.deploy.timing.protocol import compare_many
from edgeprune.deploy.timing.setting import Setting
from edgeprune.deploy.timing.statistics import Interval
from edgeprune.errors import InputError
from edgeprune.files import disk_errors
from edgeprune.text import did_you_mean, one_line

FEW = 32  # images that layers are ranked on: each runs them anew
MOST_TIMED = 6  # layers that are worth timing in float
EPOCHS = 6  # fresh sessions that each of them is timed in
ENDS = 3  # layers at each end that are tried for speed: inside, float costs two changes of format


def named(proto: onnx.ModelProto, exclude: str | tuple[str, ...]) -> tuple[str, ...]:
    """Nodes of the layers that a target names, shell patterns allowed."""
    if isinstance(exclude, str):
        return ()
    names = {node: name for node, name in layer_names(proto).items() if node in weighted(proto)}
    for pattern in exclude:
        if not fnmatch.filter(names.values(), pattern):
            hint = did_you_mean(pattern, tuple(names.values()))
            raise InputError(f"precision.exclude: no layer is called {one_line(pattern)!r}{hint}")
    return tuple(
        node
        for node, name in names.items()
        if any(fnmatch.fnmatchcase(name, pattern) for pattern in exclude)
    )


def for_accuracy(trials: Trials, best: Best) -> Best:
    """Leave layers in float one after another, as many as the profile lets stay there."""
    if trials.quantiser.precision.exclude != "auto":
        return best
    names = layer_names(trials.proto)
    for name in _sensitive(trials, best):
        state = best.state.leaving(name)
        if _spare(trials, state) < 0:
            continue
        best = trials.tried(f"{names[name]} in float", state, best)
        if trials.enough(best):
            break
    return best


def for_speed(trials: Trials, best: Best, timed: Timed) -> Best:
    """Leave in float what is faster there, as measured: layers at the two ends.

    Around a layer in float numbers change their format twice; at an end of the network once, and
    the first layer reads floats anyhow. Each candidate is timed against the network as it is, a
    gain that its interval does not leave in doubt is tried, and stays where no more is lost.
    """
    layers = [name for name in weighted(trials.proto) if name not in best.state.excluded]
    ends = dict.fromkeys((*layers[:ENDS], *layers[-ENDS:]))
    names = layer_names(trials.proto)
    candidates = [name for name in ends if _spare(trials, best.state.leaving(name)) >= 0]
    if not candidates:
        return best
    times = _times(trials, best, candidates, timed)
    for name in sorted(times, key=lambda name: times[name].mid):
        state = best.state.leaving(name)
        if times[name].high >= 1 or _spare(trials, state) < 0:
            continue
        said = f"{names[name]} in float, {times[name].mid:.3f}x the time"
        best = trials.tried(said, state, best, unless_worse=True)
    return best


def _times(trials: Trials, best: Best, layers: Sequence[str], timed: Timed) -> dict[str, Interval]:
    """Time of the best network with one layer more in float, over its own, for each layer."""
    with tempfile.TemporaryDirectory(prefix="edgeprune-") as folder:
        # On disk: of a large network several fill the memory.
        files = [Path(folder, f"{place}.onnx") for place in range(len(layers))]
        reference = Path(folder, "reference.onnx")
        with disk_errors(Path(folder)):
            reference.write_bytes(best.proto.SerializeToString())
            for name, file in zip(layers, files, strict=True):
                made = trials.made(best.state.leaving(name))
                file.write_bytes(made.SerializeToString())
        return dict(zip(layers, timed(files, reference), strict=True))


def timer(setting: Setting) -> Timed:
    """Times models against another one, all in turn, by the protocol of the gate."""

    def timed(models: Sequence[Path], reference: Path) -> list[Interval]:
        found = compare_many(models, reference, setting, epochs=EPOCHS, least=2)
        return [compared.interval for compared in found if compared.interval]

    return timed


def _spare(trials: Trials, state: State) -> int:
    """Convolutions that may still go to float."""
    convolutions = [node.name for node in trials.proto.graph.node if node.op_type == "Conv"]
    least = trials.quantiser.precision.min_integer_conv_fraction
    most = int((1 - least) * len(convolutions) + 1e-9)
    return most - sum(name in convolutions for name in state.excluded)


def _sensitive(trials: Trials, best: Best) -> list[str]:
    """Layers in the order of what each wins in float, in dB, over the time it costs there."""
    few = trials.images[:FEW]
    before = trials.fidelity(best.proto, few).sqnr_db
    layers = weighted(trials.proto)
    won = {}
    for name in layers:
        alone = trials.made(best.state.leaving(name))
        won[name] = trials.fidelity(alone, few).sqnr_db - before
    ranked = sorted((n for n in layers if won[n] > 0), key=lambda name: -won[name])[:MOST_TIMED]
    if trials.aim.timed is None or not ranked:
        return ranked
    times = _times(trials, best, ranked, trials.aim.timed)
    # A layer that is no slower in float costs nothing; one part in a thousand keeps the order.
    cost = {name: max(time.mid - 1, 1e-3) for name, time in times.items()}
    return sorted(ranked, key=lambda name: -won[name] / cost[name])
