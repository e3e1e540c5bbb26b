"""What the shell offers for an option: targets, networks, strategies, images; without torch."""

from collections.abc import Iterable


def _starting(words: Iterable[str], begun: str) -> list[str]:
    return [word for word in words if word.startswith(begun)]


def targets(incomplete: str) -> list[str]:
    """Names of target profiles."""
    from edgeprune.target import list_targets

    return _starting(list_targets(), incomplete)


def models(incomplete: str) -> list[str]:
    """Names of networks."""
    from edgeprune.prune.models.names import model_names

    return _starting((*model_names(), "timm/", "torchvision/"), incomplete)


def strategies(incomplete: str) -> list[str]:
    """Names of search strategies."""
    from edgeprune.prune.search.strategies.names import NAMES

    return _starting(NAMES, incomplete)


def images(incomplete: str) -> list[str]:
    """Names of data sets, and folders that have a ``train`` in them."""
    from pathlib import Path

    folders = [str(path.parent) for path in sorted(Path().glob("*/train"))]
    return _starting(("digits", "cifar10", "cifar100", *folders), incomplete)


def devices(incomplete: str) -> list[str]:
    """How an address of a device begins."""
    return _starting(("local://", "ssh://"), incomplete)
