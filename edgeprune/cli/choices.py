"""Words that options choose among."""

from enum import StrEnum


class Policy(StrEnum):
    """What an undecided budget means."""

    warn = "warn"
    fail = "fail"
    passed = "pass"


class GitHub(StrEnum):
    """Whether to write annotations and a step summary."""

    auto = "auto"
    on = "on"
    off = "off"


class Compensation(StrEnum):
    """What the layers that stay do about what was removed, before any training."""

    auto = "auto"
    refit = "refit"
    fold = "fold"
    none = "none"


class Task(StrEnum):
    """What a network is trained and judged by."""

    classification = "classification"
    outputs = "outputs"


class NumberFormat(StrEnum):
    """Number format of the exported file."""

    fp32 = "fp32"
    int8 = "int8"
    fp16 = "fp16"


class CalibrationMethod(StrEnum):
    """How the ranges of the activations of an int8 model are found."""

    auto = "auto"
    minmax = "minmax"
    percentile = "percentile"
    entropy = "entropy"


class GenomeKind(StrEnum):
    """What gwcs evolves."""

    widths = "widths"
    bits = "bits"
