"""Whose latency table a search has, in one line."""

from dataclasses import replace

import pytest

from edgeprune.deploy.table.stand_in import Kind, StandIn, kind_of
from edgeprune.target import TargetProfile

CARRIED = StandIn(
    kind="carried",
    machine="cortex-a76-4c-1",
    device="Cortex-A76, 4 cores",
    measured="2026-11-20",
    onnxruntime="1.32.0",
    mean_error=0.009,
    max_error=0.026,
    held_out=12,
    grid=(8, 16),
    grid_known="measured: there",
)
ERROR = "there off by 0.9% on average and 2.6% at most on 12 networks that its fit had not seen"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {},
            "carried from Cortex-A76, 4 cores (cortex-a76-4c-1), measured there on 2026-11-20 "
            f"with onnxruntime 1.32.0, {ERROR}; nothing of this run was timed on that device",
        ),
        ({"kind": "device"}, f"the device's own (cortex-a76-4c-1), {ERROR}"),
        ({"kind": "this machine"}, f"this machine's (cortex-a76-4c-1), {ERROR}"),
        (
            {"kind": "this machine", "stands_for": "a phone", "passed_over": "x is stale"},
            f"this machine's (cortex-a76-4c-1), {ERROR}; how far it is off for a phone is not "
            "known; not taken: x is stale",
        ),
    ],
)
def test_the_line_names_whose_it_is_and_its_error(changes: dict[str, str], said: str) -> None:
    found = replace(CARRIED, **changes)  # type: ignore[arg-type]
    assert found.lines == (f"latency table: {said}", "channel grid: 8 16; measured: there")


@pytest.mark.parametrize(
    ("uri", "fingerprint", "kind"),
    [
        ("local://", "a-1", "device"),
        ("local://", "b-1", "this machine"),
        ("local://", None, "this machine"),
        ("ssh://pi@host", None, "device"),
    ],
)
def test_a_device_is_one_that_somebody_named(uri: str, fingerprint: str, kind: Kind) -> None:
    profile = TargetProfile.model_validate(
        {"schema": 1, "name": "t", "budget": {"absolute": {"fingerprint": fingerprint}}}
    )
    assert kind_of(profile, uri, "a-1") == kind
