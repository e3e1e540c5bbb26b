"""The setting of a measurement: runtime, device, clock, limit of time and seed."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

from edgeprune.deploy.devices.device import Device, Local
from edgeprune.deploy.devices.job import Epoch, Job, Model
from edgeprune.deploy.timing.pacing import Pace
from edgeprune.errors import InputError
from edgeprune.target import Runtime


@dataclass(frozen=True, kw_only=True)
class Setting:
    """How and where models are timed.

    Attributes:
        runtime: Providers, threads and optimisation level, as deployed.
        device: Where it runs.
        clock: ``auto`` is the thread's CPU time at one CPU thread, else wall time.
        max_seconds: No epoch is begun after so long.
        raisable: Nobody asked for this ``max_seconds``: slow models may have longer.
        paces: Pace of each model that is timed, where it is known; else a short job measures it.
        shape: Shape of the input where the files leave it open.
        shapes: Shapes by names of inputs, where there are several.
        seed: Draws the orders of opening and of starting.
        now: Seconds that only grow; tests pass their own.
    """

    runtime: Runtime = field(default_factory=Runtime)
    device: Device = field(default_factory=Local)
    clock: Literal["auto", "cpu", "wall"] = "auto"
    max_seconds: float = 60.0
    raisable: bool = False
    paces: tuple[Pace, ...] = ()
    shape: tuple[int, ...] | None = None
    shapes: Mapping[str, tuple[int, ...]] | None = None
    seed: int = 0
    now: Callable[[], float] = time.monotonic

    @cached_property
    def used_clock(self) -> Literal["cpu", "wall"]:
        """The clock that ``auto`` stands for.

        Raises:
            InputError: the CPU clock was asked for, but the work is not all on one thread.
        """
        alone = self.runtime.threads == 1 and self.runtime.providers == ("CPUExecutionProvider",)
        if self.clock == "cpu" and not alone:
            raise InputError(
                "measure.clock = 'cpu' sees one CPU thread only; use 'wall' for this runtime"
            )
        return "cpu" if alone and self.clock != "wall" else "wall"

    def job(self, models: Sequence[Model], epochs: Sequence[Epoch]) -> Job:
        """A job for this setting."""
        return Job(
            models=tuple(models),
            runtime=self.runtime,
            epochs=tuple(epochs),
            clock=self.used_clock,
            shapes=(self.shapes or self.shape,) * len(models),
            timeout=min(max(120.0, 2 * self.max_seconds), 86400.0),  # a queue takes no longer
        )
