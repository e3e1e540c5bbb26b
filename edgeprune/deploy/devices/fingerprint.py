"""The fingerprint of a device: a name for its kind, from processor, instruction sets and cores."""

import hashlib
import json
import re
from contextlib import closing
from dataclasses import dataclass
from typing import Any

from edgeprune.deploy.devices.device import connect
from edgeprune.deploy.devices.job import Job
from edgeprune.target import Runtime

KEYS = ("arch", "system", "cpu", "cores", "isa")  # facts that say how fast a machine is


def identify(machine: dict[str, Any]) -> str:
    """A name for a kind of machine, such as ``amd-epyc-25-1-2c-1f0e9a3b``.

    It covers processor, instruction sets, number of cores and system; neither memory, nor
    versions, nor load: two boards of a kind have one name.
    """
    facts = json.dumps({key: machine.get(key) for key in KEYS}, sort_keys=True)
    # Without "(R)", "CPU" and the frequency after "@", which say nothing about the kind.
    words = re.sub(r"\W+", "-", re.sub(r"\(\w+\)|\bcpu\b|@.*", "", machine["cpu"].lower()))
    name = words.strip("-_")[:40].strip("-_") or machine["arch"].lower()
    return f"{name}-{machine['cores']}c-{hashlib.sha256(facts.encode()).hexdigest()[:8]}"


@dataclass(frozen=True)
class DeviceRecord:
    """What a device is; ``fingerprint`` goes into ``budget.absolute.fingerprint``."""

    uri: str
    fingerprint: str
    machine: dict[str, Any]

    def to_json(self) -> str:
        """All of it, as JSON."""
        record = {"schema": "edgeprune.device/1", **vars(self)}
        return json.dumps(record, indent=2) + "\n"

    def to_text(self) -> str:
        """One fact a line, for a terminal."""
        rows = {"device": self.uri, "fingerprint": self.fingerprint, **self.machine}
        shown = {
            key: " ".join(map(str, value)) if isinstance(value, list) else value
            for key, value in rows.items()
            if value not in (None, [])
        }
        return "\n".join(f"{key:14} {value}" for key, value in shown.items()) + "\n"


def check_device(uri: str) -> DeviceRecord:
    """Reach a device, start the runner there and ask what it is.

    Raises:
        InputError: not a device address.
        MachineError: it cannot be reached, or cannot measure.
    """
    device = connect(uri)
    with closing(device.run(Job(models=(), runtime=Runtime()))) as lines:
        machine = next(line["machine"] for line in lines if line["kind"] == "machine")
    return DeviceRecord(uri, identify(machine), machine)
