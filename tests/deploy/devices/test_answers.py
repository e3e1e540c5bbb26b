"""What a device says is believed only within the schema."""

import json

import pytest

from edgeprune.deploy.devices.answers import read_line
from edgeprune.errors import MachineError

EPOCH = {
    "kind": "epoch",
    "epoch": 0,
    "opened_ns": [5],
    "finite": [True],
    "samples": [[[7, 8]]],
    "load": 0.5,
    "cpu_ns": 9,
    "wall_ns": 9,
    "ticks": 0,
    "steal_ticks": 0,
    "throttled_us": 0,
}


def test_a_sound_epoch_is_read() -> None:
    assert read_line(json.dumps(EPOCH), "pi") == EPOCH


@pytest.mark.parametrize(
    "change",
    [
        {"samples": [[[0]]]},
        {"samples": [[[-7]]]},
        {"samples": [[["7"]]]},
        {"samples": []},
        {"samples": [[[float("nan")]]]},
        {"samples": 3},
        {"load": float("inf")},
        {"wall_ns": 1 << 70},
        {"kind": "unknown"},
        {"more": 1},
    ],
)
def test_what_no_runner_says_is_one_line(change: dict[str, object]) -> None:
    with pytest.raises(MachineError, match=r"^pi: it answers what no runner says"):
        read_line(json.dumps(EPOCH | change), "pi")


@pytest.mark.parametrize("text", ['{"kind": ["a"]}', "{}"])
def test_json_of_another_shape_is_refused(text: str) -> None:
    with pytest.raises(MachineError):
        read_line(text, "pi")
