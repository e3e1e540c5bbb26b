"""What a check cannot say on an emulated device: every budget in time or memory, by name."""

from collections.abc import Mapping
from typing import Any

from edgeprune.deploy.gate.verdicts import Verdict, of_value
from edgeprune.target import AbsoluteBudget

UNITS = {"p50_ms": " ms", "p90_ms": " ms", "load_ms": " ms", "peak_bytes": " bytes"}


def undecided(
    machine: Mapping[str, Any], ratio: float | None, limits: AbsoluteBudget
) -> list[Verdict]:
    """An undecided verdict for each of these budgets that the target has.

    Args:
        machine: Facts of a device whose ``emulated`` names what emulates it.
        ratio: Limit of the latency ratio.
        limits: Of them those in time, and that of memory, which holds the emulator too.
    """
    said = (
        f"the device is emulated ({machine['emulated']}): its time and memory say nothing of a "
        "real one; check on the board: --device ssh://..."
    )
    found = [] if ratio is None else [of_value("latency", ratio, None, "x", said)]
    for name, unit in UNITS.items():
        limit = getattr(limits, name)
        if limit is not None:
            found.append(of_value(name, limit, None, unit, said))
    return found


def notes(machine: Mapping[str, Any]) -> list[str]:
    """That the device is emulated, and what the verdicts then hold for; none where it is not."""
    if not machine.get("emulated"):
        return []
    return [
        f"emulated: {machine['emulated']} ran the {machine['arch']} instructions of onnxruntime "
        f"{machine['onnxruntime']}; answers and graph are those of that build, time is not judged"
    ]
