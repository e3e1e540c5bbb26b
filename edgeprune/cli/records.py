"""What commands print, as plain content for JSON: networks, runs, exports, targets."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edgeprune.deploy.table.carried import Carried
    from edgeprune.deploy.table.probe import ProbeReport
    from edgeprune.export.sealed_file import Shipped
    from edgeprune.prune.space.selection import LeftWhole
    from edgeprune.prune.tracing.trace import Trace
    from edgeprune.run.family import Family
    from edgeprune.run.finetune import FinetuneResult
    from edgeprune.run.listing import Listed
    from edgeprune.run.outcome import Outcome
    from edgeprune.run.targets import Targets
    from edgeprune.target import TargetProfile


def channels(trace: "Trace", left: "LeftWhole") -> dict[str, Any]:
    """The channel groups of a network, what is left whole, and what could not be followed."""
    groups = [
        {
            "name": group.name,
            "width": group.width,
            "stage": group.stage,
            "block": group.block,
            "droppable": group.droppable and group.block not in left.branches,
            "tensors": len(group.slices),
            "left_whole": left.groups.get(group.name),
        }
        for group in trace.groups
    ]
    kept = [
        {"node": place.node, "source": place.source, "reason": place.reason}
        for place in trace.unfollowed
    ]
    return {"groups": groups, "kept_whole": kept}


def probe(report: "ProbeReport") -> dict[str, Any]:
    """What a device rewards, and how well its table predicts."""
    fit, machine = report.model.fit, report.conditions
    return {
        "table": str(report.path),
        "machine": machine.machine,
        "onnxruntime": machine.onnxruntime,
        "grid": list(report.grid),
        "timed_now": report.timed_now,
        "doubtful": report.doubtful,
        "predicted_from": report.model.source,
        "error": {"mean": fit.mean_error, "largest": fit.max_error, "rank": fit.rank},
        "measured_again": report.dropped or None,
    }


def carried(found: "Carried", target: str) -> dict[str, Any]:
    """A latency table that was carried here from a device."""
    conditions, origin = found.table.conditions, found.origin
    return {
        "table": str(found.path),
        "target": target,
        "device": origin.device,
        "machine": conditions.machine,
        "measured": origin.measured.isoformat(),
        "onnxruntime": conditions.onnxruntime,
        "dtype": conditions.dtype,
        "networks": len(found.table.networks),
    }


def targets(profiles: "Mapping[str, tuple[Path, TargetProfile]]") -> dict[str, Any]:
    """Profiles that can be named."""
    return {
        "targets": [
            {
                "name": name,
                "description": profile.description,
                "proxy_for": profile.proxy_for,
                "file": str(path),
            }
            for name, (path, profile) in profiles.items()
        ]
    }


def runs(found: "Sequence[Listed]") -> dict[str, Any]:
    """Run folders, and what each came to."""
    return {"runs": [{**vars(run), "folder": str(run.folder)} for run in found]}


def outcome(found: "Outcome") -> dict[str, Any]:
    """What a search came to; every sample behind the verdicts is in check.json."""
    verdicts = [
        {
            "name": verdict.name,
            "outcome": verdict.outcome,
            "value": verdict.value,
            "interval": verdict.interval,
            "limit": verdict.limit,
            "unit": verdict.unit.strip(),
            "evidence": verdict.evidence,
        }
        for verdict in found.report.verdicts
    ]
    return {
        "folder": str(found.folder),
        "verdict": found.report.outcome,
        "exit_code": found.exit_code,
        "results": {
            row.name: {"dense": row.dense, "slim": row.slim, "unit": row.unit}
            for row in found.rows
        },
        "verdicts": verdicts,
        "stand_in": found.stand_in.to_plain() if found.stand_in else None,
        "notes": [*found.notes, *found.report.notes],
    }


def family(found: "Family") -> dict[str, Any]:
    """What a search for several latency ratios came to."""
    members = []
    for member in found.members:
        own = outcome(member.outcome) if member.outcome else {"folder": str(member.folder)}
        known = {"latency": member.latency, "reason": member.reason or None}
        members.append({**known, "verdict": "not reached", **own, "exit_code": member.exit_code})
    return {"folder": str(found.folder), "exit_code": found.exit_code, "members": members}


def targets_run(found: "Targets") -> dict[str, Any]:
    """What a search for several targets came to."""
    from edgeprune.run.family import Family

    runs = []
    for run in found.runs:
        own: dict[str, Any] = {"verdict": "failed", "reason": run.reason}
        if isinstance(run.found, Family):
            own = family(run.found)
        elif run.found is not None:
            own = outcome(run.found)
        known = {"target": run.name, "device": run.request.device, "shared": list(run.shared)}
        runs.append({**known, **own, "exit_code": run.exit_code})
    return {"folder": str(found.folder), "exit_code": found.exit_code, "targets": runs}


def export(shipped: "Shipped") -> dict[str, Any]:
    """A file that was exported."""
    return {
        "file": str(shipped.path),
        "sha256": shipped.sha256,
        "bytes": shipped.bytes,
        "input_shape": shipped.input_shape,
        "target": shipped.target.name,
        "parity": vars(shipped.parity),
        "images_inside": shipped.images_inside,
        "ort": str(shipped.ort) if shipped.ort else None,
    }


def finetuned(result: "FinetuneResult") -> dict[str, Any]:
    """What a fine-tuning came to, in the task's figure: accuracy or error, 0 to 1."""
    return {
        "file": str(result.path),
        "figure": result.figure.name,
        "before": result.before,
        "after": result.after,
        "teacher": str(result.teacher) if result.teacher else None,
    }
