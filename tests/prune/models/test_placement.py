import numpy as np
import pytest
import torch

from edgeprune.prune.models.placement import one_thread
from edgeprune.prune.search.strategies.gwcs_genomes import BitGenomes
from edgeprune.prune.space.widths import PruningSpace
from tests.models import group_of


@pytest.fixture
def two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def test_one_thread_within_and_as_many_as_before_after_it(two_threads):
    with one_thread():
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == 2


def test_an_error_does_not_keep_the_threads(two_threads):
    with pytest.raises(ValueError, match="within"), one_thread():
        raise ValueError("within")
    assert torch.get_num_threads() == 2


def test_scoring_a_population_takes_one_thread(two_threads, monkeypatch):
    """A second one is waited for by every operator where its core is busy."""
    asked = []
    monkeypatch.setattr(torch, "set_num_threads", asked.append)
    coding = BitGenomes(
        space=PruningSpace((group_of("g", 4),), ((2, 4),)),
        interactions=(torch.eye(4),),
        saliencies=(torch.rand(4),),
        drops=(0.0,),
        members=(0,),
    )
    masks, _ = coding.masks(np.array([[1, 0, 1, 0]]))
    assert asked[0] == 1
    assert asked[-1] == 2
    asked.clear()
    coding.aggregation(masks)
    assert asked[0] == 1
    assert asked[-1] == 2
