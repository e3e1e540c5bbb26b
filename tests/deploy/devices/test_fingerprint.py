"""A device is known by its processor, not by its load or its versions."""

import json
from typing import Any

import pytest

from edgeprune.deploy.devices.fingerprint import check_device, identify
from edgeprune.errors import InputError

PI = {
    "arch": "aarch64",
    "system": "Linux",
    "cpu": "Raspberry Pi 5 Model B Rev 1.0",
    "cores": 4,
    "isa": ["asimd", "asimddp"],
}


def test_identify_reads_like_the_machine() -> None:
    assert identify(PI).startswith("raspberry-pi-5-model-b-rev-1-0-4c-")
    assert identify(PI | {"cpu": ""}).startswith("aarch64-4c-")
    intel = identify(PI | {"cpu": "Intel(R) Core(TM) i7-8650U CPU @ 1.90GHz 6 142"})
    assert intel.startswith("intel-core-i7-8650u-4c-")


@pytest.mark.parametrize("key", ["memory_bytes", "onnxruntime", "governor", "allowed_cores"])
def test_what_changes_from_day_to_day_does_not_count(key: str) -> None:
    assert identify(PI | {key: "another"}) == identify(PI)


@pytest.mark.parametrize(
    "change", [{"cores": 8}, {"isa": ["asimd"]}, {"cpu": "another"}, {"system": "Android"}]
)
def test_another_kind_of_machine_has_another_name(change: dict[str, Any]) -> None:
    assert identify(PI | change) != identify(PI)


def test_check_device_asks_a_real_process() -> None:
    record = check_device("local://")
    assert record.fingerprint == identify(record.machine)
    assert json.loads(record.to_json())["schema"] == "edgeprune.device/1"
    assert f"fingerprint    {record.fingerprint}\n" in record.to_text()
    with pytest.raises(InputError, match="neither local"):
        check_device("here")
