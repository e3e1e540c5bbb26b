"""An int8 network is run on the emulated cores that are built; where none is, a line says so."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import onnx
import pytest

from edgeprune.deploy.devices.device import Local
from edgeprune.deploy.precision import on_arm
from edgeprune.deploy.precision.recovery import Quantised, recovered
from edgeprune.deploy.precision.scheme import Scheme
from edgeprune.deploy.precision.trials import Quantiser
from edgeprune.errors import PromiseError
from edgeprune.target import Precision, Runtime, TargetProfile

Made = Callable[..., Quantised]


@pytest.fixture
def cores(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Build cores, which here are this machine's own."""

    def build(*names: str) -> None:
        found = {name: Local() for name in names}
        monkeypatch.setattr(on_arm, "built", found.get)

    build()
    return build


@pytest.fixture
def made(proto: onnx.ModelProto, images: Sequence[Any]) -> Made:
    def quantise(scheme: Scheme) -> Quantised:
        quantiser = Quantiser(
            images=images, precision=Precision(), scheme=scheme, runtime=Runtime()
        )
        return recovered(proto, quantiser)

    return quantise


def target(core: str | None = "cortex-a76", **more: Any) -> TargetProfile:
    return TargetProfile.model_validate({"schema": 1, "name": "t", "core": core, **more})


def test_every_core_that_is_built_is_compared_with_this_machine(
    made: Made, images: Any, cores: Callable[..., None]
) -> None:
    cores("cortex-a53", "cortex-a76")
    (said,) = on_arm.verified(made(Scheme(reduced=True)), images, target())
    here, *there = said.split("; ")
    assert here.startswith("on 24 calibration images against fp32: ")
    for core, line in zip(("cortex-a53", "cortex-a76"), there, strict=True):
        assert f" on {core} (emulated), 100.0% of them as here" in line
    assert all("2 of 2 convolutions run on integers" in line for line in there)


def test_the_targets_own_core_is_named_where_it_is_not_built(
    made: Made, images: Any, cores: Callable[..., None]
) -> None:
    (said,) = on_arm.verified(made(Scheme(reduced=True)), images, target())
    assert said.startswith("not verified on Arm: no emulated core is built; `edgeprune devices ")
    cores("cortex-a53")
    (said,) = on_arm.verified(made(Scheme(reduced=True)), images, target())
    assert said.endswith("not on cortex-a76: `edgeprune devices emulate cortex-a76` builds it")


def test_a_target_that_is_no_arm_core_is_not_asked_about(
    made: Made, images: Any, cores: Callable[..., None]
) -> None:
    cores("cortex-a76")
    assert on_arm.verified(made(Scheme(reduced=True)), images, target(None)) == []


def test_full_weights_warn_by_layer_where_they_saturate(made: Made, images: Any) -> None:
    (warning,) = on_arm.verified(made(Scheme()), images, target(None))
    assert warning.startswith("warning: x86 without VNNI saturates in w")
    assert " %), " in warning or " %): " in warning
    assert on_arm.verified(made(Scheme(activations="int8")), images, target(None)) == []


@pytest.mark.parametrize(("core", "refused"), [("cortex-a76", True), ("cortex-a72", False)])
def test_other_answers_on_the_targets_core_are_refused(
    core: str,
    refused: bool,
    made: Made,
    images: Any,
    cores: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cores("cortex-a76")
    random = np.random.default_rng(0)
    monkeypatch.setattr(
        on_arm, "answers_on", lambda *_: random.standard_normal((24, 4)).astype(np.float32)
    )
    network = made(Scheme(reduced=True))
    if refused:
        with pytest.raises(PromiseError, match=r"int8 on cortex-a76 \(emulated\): .* 20 dB"):
            on_arm.verified(network, images, target(core))
    else:  # another core's answers are told
        assert "not on cortex-a72" in on_arm.verified(network, images, target(core))[0]
