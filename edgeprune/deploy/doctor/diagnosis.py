"""A diagnosis: what was found in a file, as text for a terminal and as JSON."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from edgeprune.deploy.devices.fingerprint import identify
from edgeprune.deploy.doctor.findings import CAUSES, Finding, Tried
from edgeprune.deploy.doctor.layers import Layer
from edgeprune.deploy.gate.kernel_layout import Layout
from edgeprune.deploy.timing.protocol import Comparison
from edgeprune.deploy.timing.samples import Health, LatencyReport
from edgeprune.text import one_line

SCHEMA = "edgeprune.doctor/1"
NAMED = 5  # plain convolutions in the text
SHOWN = 12  # layers in the text; JSON has all
NOT_FASTER = 0.97  # of its time in the baseline: a layer above it did not get faster


@dataclass(frozen=True)
class Side:
    """One of the files, as it ran.

    Attributes:
        name: Name of the file.
        layers: Its layers in the order in which they ran.
        layout: Where its convolutions run.
    """

    name: str
    layers: tuple[Layer, ...]
    layout: Layout


@dataclass(frozen=True, kw_only=True)
class Diagnosis:
    """All that an examination showed.

    Attributes:
        file: Name of the file.
        target: Name of the profile.
        machine: The device's facts, its address among them.
        clock: ``cpu`` or ``wall``.
        latency: The file alone.
        comparison: The file against its baseline.
        sides: The file, and its baseline where there is one.
        findings: The most promising first.
        options: Every session option that was looked at.
        notes: What a reader has to know, such as sizes that nobody gave.
        health: How quiet the machine was, in each measurement.
        seconds: How long it took.
        max_seconds: How long it might take.
    """

    file: str
    target: str
    machine: dict[str, Any]
    clock: str
    latency: LatencyReport
    comparison: Comparison | None
    sides: tuple[Side, ...]
    findings: tuple[Finding, ...]
    options: tuple[Tried, ...]
    notes: tuple[str, ...]
    health: tuple[Health, ...]
    seconds: float
    max_seconds: float

    @property
    def free_of(self) -> tuple[str, ...]:
        """What was looked for and not found, in words."""
        found = {finding.cause for finding in self.findings}
        if any(each.status == "untried" for each in self.options):
            found.add("session options")  # no word on what was not tried
        return tuple(words for cause, words in CAUSES.items() if cause not in found)

    @property
    def busy(self) -> str:
        """What speaks against the figures; empty on a quiet machine."""
        doubts = list(dict.fromkeys(doubt for each in self.health for doubt in each.doubts))
        load = max((each.load for each in self.health), default=0.0)
        if load > self.machine["cores"]:
            doubts.append(f"load {load:.1f} on {self.machine['cores']} cores")
        return "; ".join(doubts)

    def to_json(self) -> str:
        """All of it."""
        body = {
            "schema": SCHEMA,
            "file": self.file,
            "target": self.target,
            "fingerprint": identify(self.machine),
            "machine": self.machine,
            "clock": self.clock,
            "latency": self.latency.summary(),
            "baseline": self._baseline(),
            "findings": [
                {"status": finding.status, **asdict(finding)} for finding in self.findings
            ],
            "not_found": self.free_of,
            "options": [asdict(each) for each in self.options],
            "files": [asdict(side) for side in self.sides],
            "notes": self.notes,
            "busy": self.busy,
            "health": [asdict(each) for each in self.health],
            "seconds": self.seconds,
        }
        return json.dumps(body, indent=2, default=list) + "\n"

    def _baseline(self) -> dict[str, Any] | None:
        if self.comparison is None:
            return None
        interval = self.comparison.interval
        return {
            "ratio": self.comparison.ratio,
            "interval": list(interval) if interval else None,
            "median_ms": self.comparison.reference.median_ms,
            "epochs": len(self.comparison.epochs),
        }

    def to_text(self) -> str:
        """For a terminal: the ratio, the findings, the options, the layers, the machine."""
        parts = [
            self._head(),
            *(_block(number, each) for number, each in enumerate(self.findings, 1)),
        ]
        if not self.findings:
            parts.append("nothing found that makes it slow")
        if self.free_of:
            parts.append("\n".join(["not the cause:", *(f"  {words}" for words in self.free_of)]))
        if self.options:
            lines = [f"  {each.describe()}" for each in self.options]
            parts.append("\n".join([f"session options, against {self.target}:", *lines]))
        parts += [self._layers(), self._foot()]
        return "\n\n".join(parts) + "\n"

    def _head(self) -> str:
        clock = "CPU time of the thread" if self.clock == "cpu" else "wall time"
        low, _, high = self.latency.interval_ms
        lines = [
            f"{self.file}: {self.latency.median_ms:.3f} ms a run [{low:.3f}, {high:.3f}], "
            f"{clock}, for {self.target}"
        ]
        if self.comparison:
            interval = self.comparison.interval
            around = f" [{interval.low:.3f}, {interval.high:.3f}]" if interval else ""
            theirs = self.comparison.reference.median_ms
            lines.insert(
                0,
                f"{self.comparison.ratio:.3f}x{around} the time of {self.sides[1].name} "
                f"({self.comparison.candidate.median_ms:.3f} ms against {theirs:.3f} ms)",
            )
        lines += [f"blocked layout of {side.name}: {few(side.layout)}" for side in self.sides]
        return "\n".join(lines + [f"note: {note}" for note in self.notes])

    def _layers(self) -> str:
        ours = self.sides[0].layers
        if len(self.sides) == 1:
            largest = sorted(ours, key=lambda layer: -layer.ms)[:SHOWN]
            lines = [
                f"  {layer.ms:8.3f} ms {layer.share:5.1%}  {_described(layer)}"
                for layer in largest
            ]
            return "\n".join(["where the time goes (profiled):", *lines])
        lines = [
            f"  {now:8.3f} ms against {before:8.3f} ms  {now / before:5.2f}x  {name}"
            + ("  not faster" if now > NOT_FASTER * before else "")
            for name, now, before in side_by_side(ours, self.sides[1].layers)
        ]
        return "\n".join(["layer by layer, against the baseline (profiled):", *lines])

    def _foot(self) -> str:
        machine = self.machine
        lines = [
            f"measured on {identify(machine)} at {machine['device']}, "
            f"onnxruntime {machine['onnxruntime']}, in {self.seconds:.0f} s"
        ]
        if self.busy:
            lines.append(f"the machine is busy: {self.busy}; measure again where less else runs")
        return "\n".join(lines)


def side_by_side(ours: Sequence[Layer], theirs: Sequence[Layer]) -> list[tuple[str, float, float]]:
    """Layers that both files have: name and milliseconds of each, in our order."""
    before = _by_name(theirs)
    return [(name, ms, before[name]) for name, ms in _by_name(ours).items() if before.get(name)]


def _by_name(layers: Sequence[Layer]) -> dict[str, float]:
    """Milliseconds of the convolutions and products of each name."""
    found: dict[str, float] = {}
    for layer in layers:
        if layer.weighted:
            found[layer.name] = found.get(layer.name, 0.0) + layer.ms
    return found


def few(layout: Layout) -> str:
    """Its line with the first few names alone; JSON has all of them."""
    plain, every = layout.plain, len(layout.blocked) + len(layout.plain)
    if plain and not layout.blocked:
        return layout.describe()
    rest = f" and {len(plain) - NAMED} more" if len(plain) > NAMED else ""
    named = f"; plain: {', '.join(plain[:NAMED])}{rest}" if plain else ""
    return f"{len(layout.blocked)} of {every} convolutions{named}; {len(layout.reorders)} reorders"


def _described(layer: Layer) -> str:
    where = " blocked" if layer.blocked else ""
    return f"{layer.kernel}{where}  {layer.name}"


def _block(number: int, finding: Finding) -> str:
    at_stake = f"{finding.stake_ms:.3f} ms, {finding.status}"
    lines = [
        finding.what,
        *(each.describe() for each in finding.tried),
        f"next: {finding.next}",
    ]
    head = one_line(f"{number}. {finding.cause}: {finding.layer} ({at_stake})")
    # Names in these lines were chosen by whoever made the file.
    return "\n".join([head, *(f"   {one_line(line)}" for line in lines)])
