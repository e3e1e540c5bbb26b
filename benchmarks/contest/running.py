"""One contest: every arm is pruned, measured and judged, unless the ledger has it."""

import logging
import re
import time
from functools import partial
from typing import Any

import torch
from torch import nn

from contest import ours, peer
from contest.judging import Entrant, Judge
from contest.ledger import Ledger, Row, of
from contest.network import DenseNetwork
from contest.ours import Own
from contest.schedule import PEERS, Contest, label
from edgeprune.prune.search.evaluation.effort import Effort
from edgeprune.prune.space.budget import Limits
from edgeprune.prune.space.plan import PruningPlan
from edgeprune.prune.training.evaluation import evaluate

_log = logging.getLogger(__name__)


def run(
    contest: Contest,
    dense: DenseNetwork,
    ledger: Ledger,
    *,
    only: str | None = None,
    arms: str = "",
) -> None:
    """Run what the ledger lacks of a contest.

    Args:
        contest: Who takes part.
        dense: The network that they are judged on.
        ledger: What there is, and where results go.
        only: ``own`` or ``peers`` for one half.
        arms: Arms whose name this regular expression finds; the table lists the others.
    """
    if contest.weights is None and not torch.cuda.is_available():
        # Latency and size of a network that nobody trained, by the one rule that needs no images.
        _own(Judge(dense, ledger, contest.base), "uniform", contest.limits, trained=False)
        return
    judge = Judge(dense, ledger, contest.base, contest.judged, contest.recipe)
    _dense(judge)
    entrants = []
    if only != "peers":
        for arm in [arm for arm in contest.own if re.search(arms, arm)]:
            entrants += _own(judge, arm, contest.limits)
    if only != "own" and contest.peers != "none":
        _peers(judge, contest.latencies, arms)
        entrants += _best_peers(judge, contest)
    if re.search(arms, "dense"):
        entrants.append(Entrant("dense", "none", lambda: dense.model))
    judge.recovered(entrants)


def _dense(judge: Judge) -> None:
    """The reference: as it came, and after the fine-tuning that everybody gets."""
    key = {**judge.base, "kind": "dense", "arm": "dense", "limit": "none"}
    if not judge.ledger.find(**key):
        start = time.monotonic()
        images = judge.dense.images
        accuracy = {
            "test": round(evaluate(judge.dense.model, images.test).accuracy, 4),
            "val": round(evaluate(judge.dense.model, images.val).accuracy, 4),
        }
        judge.ledger.append(time.monotonic() - start, **key, **accuracy)


def _own(
    judge: Judge, arm: str, limits: tuple[Limits, ...], *, trained: bool = True
) -> list[Entrant]:
    """One strategy at every limit; one search serves them all."""
    # Before fine-tuning nothing is distilled: F1 decides.
    effort = Effort(recipe=judge.recipe) if judge.recipe else Effort(rungs=())
    own = Own(judge.dense, arm, judge.ledger.folder() / "-".join(_words(judge, arm)), effort)
    entrants = []
    for limit in limits:
        row = _net(judge, arm, label(limit))
        if row is None:
            start = time.monotonic()
            reached = own.reach(limit)
            values: dict[str, Any] = {**vars(reached), "scored": own.scored}
            if reached.plan is not None:
                plan = PruningPlan.from_plain(reached.plan)
                network = ours.slimmed(judge.dense, plan)
                values |= _judged(judge, network) if trained else judge.dense.sizes(network)
                values |= _refit(judge, plan) if trained else {}
            row = _keep(judge, arm, label(limit), time.monotonic() - start, values)
        if row["plan"] is not None:
            plan = PruningPlan.from_plain(row["plan"])
            rebuilt = partial(ours.slimmed, judge.dense, plan)
            entrants.append(Entrant(arm, label(limit), rebuilt))
    return entrants


def _peers(judge: Judge, limits: tuple[float, ...], wanted: str) -> None:
    """Every way to use Torch-Pruning, at every limit, before fine-tuning."""
    dense = judge.dense
    known: dict[tuple[str, float], dict[str, Any]] = {}
    peers, arms = None, peer.arms(dense.model, _step(dense.problem().space.grids))
    _note(judge, [arm.name for arm in arms])
    for arm in [arm for arm in arms if re.search(wanted, arm.name)]:
        names = {limit: label(Limits(latency=limit)) for limit in limits}
        if all(_net(judge, arm.name, name) for name in names.values()):
            continue
        peers = peers or peer.Peers(dense, judge.ledger.folder())
        start = time.monotonic()
        for limit, ratio, climb in peers.climb(arm, limits):
            values: dict[str, Any] = {"ratio": ratio, "lowest": round(climb.lowest, 4)}
            if ratio is not None:
                measured = [round(value, 4) for value in climb.rungs[ratio]]
                network = peers.pruned(arm, ratio)
                if (arm.name, ratio) not in known:
                    known[arm.name, ratio] = {
                        **_judged(judge, network),
                        **_refit(judge, peer.plan_of(dense, network)),
                        "file": _saved(judge, arm.name, ratio, network),
                    }
                values |= {"measured": measured, **known[arm.name, ratio]}
            if not _net(judge, arm.name, names[limit]):
                _keep(judge, arm.name, names[limit], time.monotonic() - start, values)
            start = time.monotonic()


def _refit(judge: Judge, plan: PruningPlan | None) -> dict[str, Any]:
    """What a network comes to where its layers are solved for; nothing of one without a plan."""
    return {} if plan is None else {"refit": judge.before(ours.refitted(judge.dense, plan))}


def _note(judge: Judge, names: list[str]) -> None:
    """Which arms there are, for the list of those that were not run."""
    key = {**judge.base, "kind": "arms", "arm": "peers", "limit": "none"}
    if not judge.ledger.find(**key):
        judge.ledger.append(0.0, **key, names=names)


def _best_peers(judge: Judge, contest: Contest) -> list[Entrant]:
    """The best peer of each limit, or all of them."""
    entrants = []
    for limit in contest.latencies:
        name = label(Limits(latency=limit))
        rows = reached(of(judge.ledger.rows, **judge.base, kind="net", limit=name))
        peers = sorted((r for r in rows if r["arm"].startswith(PEERS)), key=lambda r: -r["before"])
        for row in peers if contest.peers == "all" else peers[:1]:
            network = partial(_rebuilt, judge, row["file"])
            entrants.append(Entrant(row["arm"], name, network))
    return entrants


def _rebuilt(judge: Judge, file: str) -> nn.Module:
    state = torch.load(judge.ledger.folder() / file, weights_only=True)
    return peer.rebuilt(judge.dense.model, state)


def reached(rows: list[Row]) -> list[Row]:
    """Rows of arms that kept their limit."""
    return [row for row in rows if row.get("measured") is not None]


def _judged(judge: Judge, network: nn.Module) -> dict[str, Any]:
    return {"before": judge.before(network), **judge.dense.sizes(network)}


def _net(judge: Judge, arm: str, limit: str) -> dict[str, Any] | None:
    return judge.ledger.find(**judge.base, kind="net", arm=arm, limit=limit)


def _keep(
    judge: Judge, arm: str, limit: str, seconds: float, values: dict[str, Any]
) -> dict[str, Any]:
    key = {**judge.base, "kind": "net", "arm": arm, "limit": limit}
    row = judge.ledger.append(seconds, **key, **values)
    _log.info(
        "%s %s %s: %s at %s (%.0f s)",
        judge.dense.name,
        limit,
        arm,
        values.get("before"),
        values.get("measured"),
        seconds,
    )
    return row


def _saved(judge: Judge, arm: str, ratio: float, network: nn.Module) -> str:
    """Keep a network that no plan describes; a restart fine-tunes the very same one."""
    name = "-".join([*_words(judge, arm), f"{ratio:.4f}.pt"])
    torch.save(network.state_dict(), judge.ledger.folder() / name)
    return name


def _words(judge: Judge, arm: str) -> list[str]:
    weights = judge.base["weights"] or judge.base["model"]
    return [judge.base["schedule"], weights.rsplit(".", 1)[0], arm]


def _step(grids: tuple[tuple[int, ...], ...]) -> int:
    """The step of the device's width grid: what its widest groups are made of."""
    widest = max(grids, key=lambda grid: grid[-1])
    return widest[-1] - widest[-2]
