"""Reports a contest: every arm at every limit, the bars, and what was not run."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from statistics import mean

from contest.ledger import Row, of
from contest.schedule import Contest, label, strategy

SEEDS = 3
CONTROLS = ("depth", "random")  # a search that does not beat these found nothing
_LEAST = {0.8: 0.0, 0.7: 1.0, 0.6: 2.0}  # points of joint over the best peer, fine-tuned
_BEFORE = {0.88: 3.0, 0.80: 3.0, 0.74: 3.0}  # the same before fine-tuning


@dataclass(frozen=True)
class Verdict:
    """One bar.

    Attributes:
        what: In words.
        wanted: Least difference in points of accuracy.
        got: The difference; None where it cannot be had.
        why: Why it cannot be had.
        failed: Whether ``got`` is missing because our own arm did not reach the limit.
        above: Whether a tie is a miss.
        overlap: Whether the runs of both span a common range: the means' order may be chance.
    """

    what: str
    wanted: float
    got: float | None
    why: str = ""
    failed: bool = False
    above: bool = False
    overlap: bool = False

    @property
    def missed(self) -> bool:
        """Whether the bar was tried and not kept."""
        if self.got is None:
            return self.failed
        return self.got < self.wanted or (self.above and self.got <= 0)

    def line(self) -> str:
        """For the table."""
        if self.got is None:
            return f"  {self.what}: {'MISSED' if self.failed else 'open'}, {self.why}"
        word = "MISSED" if self.missed else "met"
        word += ", but the runs overlap: inconclusive" if self.overlap else ""
        least = "more than 0" if self.above else f"{self.wanted:+.2f}"
        return f"  {self.what}: {self.got:+.2f} points, wanted {least}: {word}"


def text(rows: Sequence[Row], contests: Iterable[Contest]) -> str:
    """The whole report of some contests."""
    parts = [line for contest in contests for line in _contest(rows, contest)]
    return "\n".join(parts)


def missed(rows: Sequence[Row], contests: Iterable[Contest]) -> bool:
    """Whether any bar was missed."""
    return any(verdict.missed for contest in contests for verdict in verdicts(rows, contest))


def _contest(rows: Sequence[Row], contest: Contest) -> Iterator[str]:
    mine = of(rows, **contest.base)
    yield f"\n== {contest.schedule}: {contest.model}, {contest.weights or 'baseline of our own'}"
    if not mine:
        yield "  not run" + (" (for a CUDA device)" if contest.needs_cuda else "")
        return
    machines = sorted({str(row["machine"]) for row in mine})
    dates = sorted(str(row["date"])[:10] for row in mine)
    yield f"  {', '.join(machines)}; {dates[0]} to {dates[-1]}; ratios over the dense network"
    if contest.note:
        yield f"  {contest.note}"
    if not of(mine, kind="dense"):
        yield "  untrained, no CUDA device to train it: latency and size only"
    for row in of(mine, kind="dense"):
        tuned = _points(_seeds(mine, row))
        yield f"  dense: test {_percent(row.get('test'))}, val {_percent(row.get('val'))}{tuned}"
    for limits in contest.limits:
        yield from _limit(mine, contest, label(limits))
    found = verdicts(rows, contest)
    if found:
        yield "  bars:"
        yield from (verdict.line() for verdict in found)
    yield from _left_out(mine, contest)


def _limit(rows: Sequence[Row], contest: Contest, limit: str) -> Iterator[str]:
    nets = of(rows, kind="net", limit=limit)
    if not nets:
        return
    yield f"  -- {limit}   (before: {contest.judged} images, recalibrated only; refit: solved for)"
    heads = f"{'MACs':>7}{'params':>8}{'scored':>8}{'before':>8}{'refit':>8}"
    yield f"  {'arm':34}{'latency':>24}{heads}  after, test"
    for row in sorted(nets, key=lambda r: -(_value(rows, r) or -1.0)):
        yield _line(rows, row)


def _line(rows: Sequence[Row], row: Row) -> str:
    if not _reached(row):
        return f"  {row['arm']:34}not reached, lowest {_lowest(row)}"
    low, middle, high = row["measured"]
    sizes = f"{row['macs']:7.3f}{row['params']:8.3f}{row.get('scored') or '-':>8}"
    before = _percent(row.get("before"))
    span = f"{middle:.3f} [{low:.3f}, {high:.3f}]"
    refit = _percent(row["refit"]) if "refit" in row else "-"
    return f"  {row['arm']:34}{span:>24}{sizes}{before:>8}{refit:>8}{_points(_seeds(rows, row))}"


def _lowest(row: Row) -> str:
    lowest = row.get("lowest")
    return f"{lowest:.3f} (measured)" if lowest is not None else f"unknown: {row.get('reason')}"


def verdicts(rows: Sequence[Row], contest: Contest) -> list[Verdict]:
    """The bars of a contest; an arm that did not reach its limit is never beaten.

    A strategy that was searched from several seeds counts with the mean over its searches.
    """
    mine = of(rows, **contest.base)
    if contest.peers == "none" or not of(mine, kind="net"):
        return []
    found = []
    for ratio in contest.latencies:
        limit = f"latency {ratio:g}"
        if contest.recipe is None:
            bars = {"the best peer": _BEFORE.get(ratio)}
        else:
            least = _LEAST.get(ratio) if contest.model == "resnet20" else None
            bars = {"the best peer": least, **dict.fromkeys(CONTROLS, 0.0)}
        found += [
            _verdict(mine, contest, limit, rival, wanted)
            for rival, wanted in bars.items()
            if wanted is not None
        ]
    return found


def _verdict(
    rows: Sequence[Row], contest: Contest, limit: str, rival: str, wanted: float
) -> Verdict:
    what = f"{limit}: joint over {rival}"
    nets = of(rows, kind="net", limit=limit)
    joint = [row for row in nets if strategy(row["arm"]) == "joint"]
    if not all(map(_reached, joint)):
        return Verdict(what, wanted, None, "joint did not reach it", failed=True)
    others = [row for row in nets if _is(row, rival) and _reached(row)]
    if not joint:
        return Verdict(what, wanted, None, "joint has not been run")
    if not others:
        ran = any(_is(row, rival) for row in nets)
        return Verdict(what, wanted, None, "not reached by it" if ran else "it has not been run")
    ours, theirs = _finals(rows, contest, joint), _finals(rows, contest, others)
    # Beside a control a tie is no gain; the best peer may be equalled where no lead is asked for.
    above = rival in CONTROLS
    if len(ours) < len(joint) or len(theirs) < (len(others) if above else 1):
        return Verdict(what, wanted, None, f"not fine-tuned with {SEEDS} seeds yet")
    if not above:
        theirs = [max(theirs, key=lambda pair: pair[0])]
    lead = mean(value for value, _ in ours) - mean(value for value, _ in theirs)
    mine, its = ([run for _, row in arms for run in _seeds(rows, row)] for arms in (ours, theirs))
    overlap = bool(mine and its) and min(mine) <= max(its) and min(its) <= max(mine)
    return Verdict(what, wanted, 100 * lead, above=above, overlap=overlap)


def _is(row: Row, rival: str) -> bool:
    arm = str(row["arm"])
    return arm.startswith("tp-") if rival == "the best peer" else strategy(arm) == rival


def _finals(rows: Sequence[Row], contest: Contest, arms: list[Row]) -> list[tuple[float, Row]]:
    """What a bar compares of each arm that is ready to be compared."""
    found = [(_final(rows, contest, row), row) for row in arms]
    return [(value, row) for value, row in found if value is not None]


def _final(rows: Sequence[Row], contest: Contest, row: Row) -> float | None:
    """The mean over all seeds, or accuracy before in a contest without."""
    if contest.recipe is None:
        return row.get("before")
    found = _seeds(rows, row)
    return mean(found) if len(found) >= SEEDS else None


def _value(rows: Sequence[Row], row: Row) -> float | None:
    """What the table is sorted by: the mean over the seeds so far; before any, what is there."""
    runs = of(rows, kind="run")
    if runs:
        found = _seeds(rows, row)
        return mean(found) if found else None
    return row.get("before")


def _reached(row: Row) -> bool:
    return row.get("measured") is not None


def _seeds(rows: Sequence[Row], row: Row) -> list[float]:
    runs = of(rows, kind="run", arm=row["arm"], limit=row["limit"])
    return [run["accuracy"] for run in runs]


def _points(seeds: Sequence[float]) -> str:
    if not seeds:
        return ""
    span = f"[{100 * min(seeds):.2f}, {100 * max(seeds):.2f}]"
    return f"  {100 * mean(seeds):.2f} {span} {len(seeds)} seeds"


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.2f}"


def _left_out(rows: Sequence[Row], contest: Contest) -> Iterator[str]:
    """What the schedule asks for and the file lacks."""
    peers = [row["names"] for row in of(rows, kind="arms")][-1:]
    arms = [*contest.own, *(name for names in peers for name in names)]
    for limits in contest.limits:
        limit = label(limits)
        lacking = [arm for arm in arms if not of(rows, kind="net", arm=arm, limit=limit)]
        if contest.peers != "none" and not peers:
            lacking.append("every arm of Torch-Pruning")
        if lacking:
            yield f"  not run at {limit}: {', '.join(lacking)}"
        short = [
            f"{row['arm']} ({len(_seeds(rows, row))} of {SEEDS} seeds)"
            for row in of(rows, kind="net", limit=limit)
            if contest.recipe and _reached(row) and len(_seeds(rows, row)) < SEEDS
        ]
        ours = [each for each in short if not each.startswith("tp-")]
        if ours:
            yield f"  not fine-tuned to the end at {limit}: {', '.join(ours)}"
