"""Versions of those at a Dask scheduler against this machine's, and which workers are devices."""

from typing import Any

import pytest

from edgeprune.deploy.devices.dask_client import (
    COMPUTING,
    SPEAKING,
    is_device,
    refuse_other_versions,
)
from edgeprune.errors import MachineError

WORKERS = ["tcp://w:1", "tcp://w:2"]


def versions(**there: str | None) -> dict[str, Any]:
    here = {
        "python": "3.11.7.final.0",
        "edgeprune": "0.2.0",
        "torch": "2.9",
        "numpy": "2.3",
        "distributed": "1",
    }
    workers = {"tcp://w:1": {"packages": here}, "tcp://w:2": {"packages": here | there}}
    scheduler = {"packages": {"python": "3.11.9.final.0", "distributed": "1", "torch": None}}
    return {"client": {"packages": here}, "scheduler": scheduler, "workers": workers}


@pytest.mark.parametrize(
    ("there", "said"),
    [
        ({"torch": "2.8"}, r"tcp://w:2 has torch 2\.8, this machine 2\.9"),
        ({"edgeprune": None}, r"tcp://w:2 has edgeprune not at all"),
        ({"python": "3.12.1.final.0"}, r"python 3\.12, this machine 3\.11"),
    ],
)
def test_another_version_is_named_with_its_worker(there: dict[str, str | None], said: str) -> None:
    refuse_other_versions(versions(), COMPUTING, WORKERS)
    refuse_other_versions(versions(python="3.11.2.final.0"), COMPUTING, WORKERS)
    with pytest.raises(MachineError, match=said):
        refuse_other_versions(versions(**there), COMPUTING, WORKERS)


def test_of_a_device_only_what_it_has_to_understand_counts() -> None:
    refuse_other_versions(versions(torch=None, python="3.13.1"), SPEAKING, WORKERS)
    with pytest.raises(MachineError, match="w:2 has distributed 2, this machine 1"):
        refuse_other_versions(versions(distributed="2"), SPEAKING, WORKERS)
    refuse_other_versions(versions(distributed="2"), SPEAKING, ["tcp://gone:1"])


def test_a_device_carries_the_resource_of_a_target() -> None:
    assert is_device({"target-raspberry-pi-5": 1.0})
    assert not is_device({"GPU": 1.0})
