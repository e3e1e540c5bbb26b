"""Writes a target profile as TOML with a comment on every key, and makes one for a new device."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from edgeprune.deploy.devices.device import connect
from edgeprune.deploy.devices.fingerprint import identify
from edgeprune.deploy.table.grid import probe_units, reference, rewarded
from edgeprune.deploy.table.stopwatch import Pace, machine_of, time_units
from edgeprune.deploy.timing.setting import Setting
from edgeprune.errors import InputError
from edgeprune.progress import Progress, renamed
from edgeprune.target import NAME, TargetProfile
from edgeprune.text import one_line

COMMENTS = {
    "description": "what it is",
    "proxy_for": "what it stands in for; printed with every verdict",
    "core": "its Arm core: kernels are then never judged by another processor's graph",
    "channels.measured": "whether a list above was read off the device's clock",
    "runtime.providers": "onnxruntime execution providers, as deployed",
    "runtime.threads": "intra-op threads, as deployed",
    "runtime.optimisation": "disable, basic, extended or all, as deployed",
    "channels.grid": 'widths a search may use; "probe" reads them off the device anew',
    "input.shape": "pins the input, such as [1, 3, 224, 224]",
    "precision.mode": "number format of the exported file",
    "measure.clock": "auto, cpu (CPU time of the thread) or wall",
    "measure.max_seconds": "longest time for each timed budget in seconds",
    "parity.atol": "absolute difference of torch and onnxruntime that is allowed",
    "parity.rtol": "relative difference that is allowed",
    "budget.relative.latency": "share of the dense model's latency, such as 0.5",
    "budget.relative.accuracy_drop": "percentage points that may be lost",
    "budget.relative.output_error": "percent, of searches with --task outputs",
    "budget.relative.score_drop": "of searches in Python with score=",
    "budget.relative.macs": "share of the dense model's MACs",
    "budget.relative.params": "share of the dense model's parameters",
    "budget.absolute.fingerprint": "the device on which milliseconds gate",
    "budget.absolute.p50_ms": "median latency in ms on that device",
    "budget.absolute.p90_ms": "90th percentile of the latency in ms on that device",
    "budget.absolute.macs": "multiply-accumulates of one run",
    "budget.absolute.params": "number of parameters",
    "budget.absolute.file_bytes": "size of the file in bytes",
    "budget.absolute.peak_bytes": "memory that loading and running takes, in bytes",
    "budget.absolute.load_ms": "time to load the model in ms",
}


def to_toml(profile: TargetProfile, grid: str = "") -> str:
    """A profile with every default filled in; what it does not limit stands there as a comment.

    Args:
        profile: The profile.
        grid: How its channel grid is known, for another comment.
    """
    lines = list(_lines(profile.model_dump(mode="json", by_alias=True)))
    if grid:
        lines.insert(lines.index("\n[channels]") + 1, f"# {one_line(grid)}")
    return "\n".join(lines) + "\n"


def new(name: str, uri: str, progress: Progress) -> TargetProfile:
    """A profile of a device, with its fingerprint and the widths that it rewards, measured.

    Raises:
        InputError: not a device address, or no name of a target.
        MachineError: the device cannot be reached or cannot measure.
    """
    known = TargetProfile.model_validate({"schema": 1, "name": name})
    setting = Setting(runtime=known.runtime, device=connect(uri), clock=known.measure.clock)
    machine = machine_of(setting)
    content = known.model_dump(by_alias=True) | {
        "description": f"{machine['cpu']}, {machine['cores']} cores, onnxruntime",
        "channels": {"grid": list(_grid(setting, progress)), "measured": True},
        "budget": {
            "relative": {"latency": 0.5, "accuracy_drop": 1.0},
            "absolute": {"fingerprint": identify(machine)},
        },
    }
    return TargetProfile.model_validate(content)


def place_for(name: str) -> Path:
    """Where a project keeps a new profile of its own, and where it is looked for first.

    Raises:
        InputError: other characters than a name may have, or the file is there.
    """
    if not re.fullmatch(NAME, name):
        raise InputError(f"{name!r} is no name of a target: lower case, digits, '.', '_' and '-'")
    path = Path("targets") / f"{name}.toml"
    if path.exists():
        raise InputError(f"{path} exists; edit it, or give the new profile another name")
    return path


def _grid(setting: Setting, progress: Progress) -> tuple[int, ...]:
    """The widths that the device rewards, as a probe measures them."""
    roles = probe_units()
    units = [unit for role in roles.values() for unit in role]
    shown = renamed(progress, "measuring channel grid")
    hot = list(time_units(units, reference(), setting, Pace(), shown).hot)
    costs = {}
    for role, own in roles.items():
        costs[role], hot = hot[: len(own)], hot[len(own) :]
    return rewarded(costs)


def _lines(table: dict[str, Any], path: str = "") -> Iterator[str]:
    """Values of a table, then its own tables."""
    for key, value in table.items():
        if not isinstance(value, dict):
            yield _line(key, value, COMMENTS.get(f"{path}{key}", ""))
    for key, value in table.items():
        if isinstance(value, dict):
            yield f"\n[{path}{_key(key)}]"
            yield from _lines(value, f"{path}{_key(key)}.")


def _line(key: str, value: Any, comment: str) -> str:
    said = f"  # {comment}" if comment else ""
    if value is None:
        return f"# {_key(key)} ={said}"
    return f"{_key(key)} = {_value(value)}{said}"


def _key(key: str) -> str:
    """Bare where TOML allows it; an input may be called anything."""
    bare = key.isascii() and key.replace("_", "").replace("-", "").isalnum()
    return key if bare else _value(key)


def _value(value: Any) -> str:
    """Texts, numbers and lists read alike in TOML and in JSON, but for DEL."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
