"""Measured latency of a model over the dense one's, and how far the intervals of results reach."""

from edgeprune.report.records import Made


def measured_ratio(made: Made) -> float | None:
    """Measured latency over the dense model's: as judged, else of the medians."""
    for verdict in made.check.verdicts if made.check else ():
        if verdict.name == "latency" and verdict.value is not None:
            return verdict.value
    latency = made.record.results.get("latency")
    return latency.slim / latency.dense if latency and latency.dense > 0 else None


def spans_of(made: Made, ratio: float) -> tuple[tuple[float, float], tuple[float, float]]:
    """How far the intervals reach below and above, of the latency and of the task's figure."""
    spans = {"latency": (0.0, 0.0), "figure": (0.0, 0.0)}
    for verdict in made.check.verdicts if made.check else ():
        if verdict.interval and verdict.value is not None:
            low, high = verdict.interval
            if verdict.name == "latency":
                spans["latency"] = max(0.0, ratio - low), max(0.0, high - ratio)
            below, above = max(0.0, verdict.value - low), max(0.0, high - verdict.value)
            if verdict.name == "accuracy_drop":  # more points lost is less accuracy
                spans["figure"] = above, below
            if verdict.name == "output_error":
                spans["figure"] = below, above
    return spans["latency"], spans["figure"]
