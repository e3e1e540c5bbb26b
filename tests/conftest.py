"""Fixtures of every room: the tiny networks, their oracles, and real data."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import settings
from torch import nn

from edgeprune.prune.space.plan import PruningPlan
from tests import models
from tests.models import NETS, Net

# A busy machine is no fault of what is tested.
settings.register_profile("edgeprune", deadline=None)
settings.load_profile("edgeprune")


@pytest.fixture(scope="module", autouse=True)
def environment() -> Iterator[None]:
    """Each module leaves the environment as it was: Dask sets there what its workers need."""
    before = dict(os.environ)
    yield
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture(params=sorted(NETS))
def net(request: pytest.FixtureRequest) -> Net:
    """Each tiny network, with a batch of two images."""
    return models.tiny(request.param)


@pytest.fixture
def tiny() -> Callable[[str], Net]:
    """One tiny network by name, as :func:`net` gives it."""
    return models.tiny


@pytest.fixture
def enliven() -> Callable[..., nn.Module]:
    return models.lively


@pytest.fixture
def masked() -> Callable[..., nn.Module]:
    return models.zero_out


@pytest.fixture
def random_plan() -> Callable[..., PruningPlan]:
    return models.draw_plan


@pytest.fixture(scope="session")
def shared() -> Path:
    """Folder of real images and checkpoints: EDGEPRUNE_SHARED, or ../shared."""
    beside = Path(__file__).resolve().parents[2] / "shared"
    folder = Path(os.environ.get("EDGEPRUNE_SHARED", beside)) / "data"
    if not folder.is_dir():
        pytest.skip(f"no real images in {folder}; set EDGEPRUNE_SHARED to find them")
    return folder
