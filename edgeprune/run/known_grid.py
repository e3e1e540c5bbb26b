"""How the channel grid of a target is known: measured, by an emulated graph alone, or assumed."""

import platform
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from edgeprune.deploy.devices.arm_graph import arm_graphs
from edgeprune.deploy.devices.job import Job
from edgeprune.deploy.gate.kernel_layout import layout
from edgeprune.deploy.table.carried import Carried
from edgeprune.deploy.table.grid import LARGEST, probe_units
from edgeprune.deploy.table.stand_in import Kind
from edgeprune.target import TargetProfile

Mark = Literal["measured", "emulated (graph only)", "assumed"]


@dataclass(frozen=True)
class KnownGrid:
    """What is known of the widths that a search may use.

    Attributes:
        mark: How they are known.
        why: What that rests on.
    """

    mark: Mark
    why: str

    def describe(self) -> str:
        """One line."""
        return f"{self.mark}: {self.why}"


def of_search(profile: TargetProfile, kind: Kind, grid: Sequence[int]) -> KnownGrid:
    """What is known of the grid of a search.

    Args:
        profile: The target.
        kind: Whose latency table the search has.
        grid: Widths of it.
    """
    if profile.channels.grid != "probe":
        return _of_list(profile, grid)
    if kind == "device":
        return KnownGrid("measured", "read off the device's clock")
    if kind == "carried":
        return KnownGrid("measured", "read off the clock of the device whose table was carried")
    stands_for = profile.proxy_for or profile.core
    if stands_for is None:
        return KnownGrid("measured", "read off this machine's clock")
    return _by_graph(profile, grid, f"read off this machine's clock in place of {stands_for}")


def of_profile(profile: TargetProfile, carried: Carried | None) -> KnownGrid:
    """What is known of a profile's grid before any search.

    Args:
        profile: The target.
        carried: The table that was carried from its device, where there is one.
    """
    if profile.channels.grid != "probe":
        return _of_list(profile, profile.channels.grid)
    if carried:
        day = f"{carried.origin.device}, {carried.origin.measured}"
        return KnownGrid("measured", f"the table carried from {day}")
    if profile.proxy_for or profile.core:
        return KnownGrid("assumed", "a search without the device reads them off this machine")
    return KnownGrid("measured", "a search reads them off the machine it measures on")


def _of_list(profile: TargetProfile, grid: Sequence[int]) -> KnownGrid:
    if profile.channels.measured:
        return KnownGrid("measured", "a list that was read off the device's clock")
    return _by_graph(profile, grid, "a list in the profile")


def _by_graph(profile: TargetProfile, grid: Sequence[int], source: str) -> KnownGrid:
    """Assumed, unless an emulated core of the target shows that no width falls off its kernels."""
    if profile.core is None:
        return KnownGrid("assumed", source)
    widths = [width for width in grid if width <= LARGEST]
    units = [units[width - 1] for units in probe_units().values() for width in widths]
    job = Job(models=tuple(units), runtime=profile.runtime)
    found = arm_graphs(job, profile.core, {"arch": platform.machine()})
    if not found.graphs:
        return KnownGrid("assumed", source)
    kernels = [(len(made.blocked), len(made.plain)) for made in map(layout, found.graphs)]
    usual = Counter(kernels).most_common(1)[0][0]
    others = sorted({w for w, k in zip(widths * 2, kernels, strict=True) if k != usual})
    if others:
        named = ", ".join(map(str, others))
        return KnownGrid("assumed", f"{source}; {named} have other kernels in the {found.where}")
    return KnownGrid(
        "emulated (graph only)",
        f"{source}; every width has the same kernels in the {found.where}, which are fast only a "
        "clock on the device says",
    )
