"""What a check cannot say where nothing is timed: every budget in time or memory, by name."""

from collections.abc import Mapping
from typing import Any

from edgeprune.deploy.gate.verdicts import Verdict, of_value
from edgeprune.target import AbsoluteBudget

UNITS = {"p50_ms": " ms", "p90_ms": " ms", "load_ms": " ms", "peak_bytes": " bytes"}


def emulation(machine: Mapping[str, Any]) -> str:
    """Why nothing is timed on an emulated device; empty for any other."""
    if not machine.get("emulated"):
        return ""
    return (
        f"the device is emulated ({machine['emulated']}): its time and memory say nothing of a "
        "real one; check on the board: --device ssh://..."
    )


def undecided(said: str, ratio: float | None, limits: AbsoluteBudget) -> list[Verdict]:
    """An undecided verdict for each of these budgets that the target has.

    Args:
        said: Why nothing is timed, and what would settle it.
        ratio: Limit of the latency ratio.
        limits: Of them those in time, and that of memory, which an emulator takes part of.
    """
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
