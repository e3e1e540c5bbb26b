import numpy as np
import pytest
import torch
from edgeprune.prune.saliency.descriptors import Descriptors, aggregation
from edgeprune.prune.search.strategies.gwcs_fitness import StageFitness, decode_bits
from hypothesis import given
from hypothesis import strategies as st

from edgeprune.prune.space.budget import Costs
from edgeprune.prune.space.widths import PruningSpace
from tests.models import group_of

SALIENCY = torch.tensor([0.1, 0.9, 0.3, 0.7, 0.5, 0.2, 0.8, 0.4])


def bits(text):
    return torch.tensor([[c == "1" for c in row] for row in text.split()])


@pytest.mark.parametrize(
    ("row", "grid", "width", "kept"),
    [
        ("11111111", (4, 8), 8, {0, 1, 2, 3, 4, 5, 6, 7}),
        ("11110000", (4, 8), 4, {0, 1, 2, 3}),  # as set: nothing to round
        ("10000000", (4, 8), 4, {0, 1, 3, 6}),  # filled with 1, 6, 3: the most salient unset
        ("11111000", (4, 8), 8, {0, 1, 2, 3, 4, 5, 6, 7}),  # rounded up
        ("00000000", (4, 8), 4, {1, 3, 4, 6}),  # cannot be dropped: the smallest width
        ("00000000", (0, 4, 8), 0, set()),
        ("10000000", (0, 4, 8), 0, set()),  # 1 is fewer than half of 4
        ("11000000", (0, 4, 8), 4, {0, 1, 3, 6}),  # 2 is not
    ],
)
def test_decoding_rule(row, grid, width, kept):
    masks, widths = decode_bits(bits(row), SALIENCY, grid)
    assert widths.tolist() == [width]
    assert set(masks[0].nonzero().flatten().tolist()) == kept


def plain_decoding(row, saliency, grid):
    """One bit string at a time, as the rule is written down."""
    chosen = [c for c, bit in enumerate(row) if bit]
    legal = [width for width in grid if width]
    if grid[0] == 0 and len(chosen) < legal[0] / 2:
        return set()
    width = next(width for width in legal if width >= len(chosen))
    unset = [c for c in range(len(row)) if c not in chosen]
    unset.sort(key=lambda c: (-saliency[c], c))
    return set(chosen + unset[: width - len(chosen)])


@given(
    st.sampled_from([(4, 16), (0, 4, 8, 16), (0, 1, 16), (16,), (0, 16), (3, 7, 12, 16)]),
    st.integers(0, 10_000),
)
def test_a_population_decodes_as_its_individuals_do_one_by_one(grid, seed):
    generator = np.random.default_rng(seed)
    saliency = generator.integers(0, 6, 16) / 5  # with ties: the first channel wins
    rows = generator.random((30, 16)) < generator.random((30, 1))
    masks, widths = decode_bits(torch.from_numpy(rows), torch.from_numpy(saliency).float(), grid)
    expected = [plain_decoding(row, saliency, grid) for row in rows]
    assert [set(np.flatnonzero(mask)) for mask in masks.numpy()] == expected
    assert widths.tolist() == [len(kept) for kept in expected]


@given(st.lists(st.lists(st.booleans(), min_size=8, max_size=8), min_size=1, max_size=20))
def test_decoded_masks_lie_on_the_grid_and_keep_every_set_bit_that_fits(rows):
    given_bits = torch.tensor(rows)
    masks, widths = decode_bits(given_bits, SALIENCY, (0, 3, 6, 8))
    assert torch.equal(masks.sum(1), widths)
    assert set(widths.tolist()) <= {0, 3, 6, 8}
    lost = (given_bits & ~masks).any(1)
    assert torch.equal(lost, lost & (widths == 0))


def group(name, width, stage=0, block=None, droppable=False):
    return group_of(name, width, stage=stage, block=block, droppable=droppable)


@pytest.fixture
def stage():
    groups = (group("stem", 4), group("a", 4, 0, "b1", True), group("b", 4, 0, "b1", True))
    space = PruningSpace(groups, ((2, 4), (0, 2, 4), (0, 2, 4)))
    generator = torch.Generator().manual_seed(0)
    described = tuple(
        Descriptors(torch.ones(4), torch.ones(4), torch.rand(4, generator=generator), torch.eye(4))
        for _ in groups
    )
    costs = Costs(space.full, (lambda w: w.sum(1), lambda w: w[:, 0], lambda w: w.prod(1)))
    return StageFitness(
        space=space,
        descriptors=described,
        costs=costs,
        members=(1, 2),
        fixed=space.full,
    )


def test_members_change_and_the_rest_stays(stage):
    _, widths = stage.decode(np.array([[1, 1, 0, 0, 1, 1, 1, 1]]))
    assert widths.tolist() == [[4, 2, 4]]


def test_one_emptied_group_empties_the_whole_branch(stage):
    masks, widths = stage.decode(np.array([[0, 0, 0, 0, 1, 1, 1, 1]]))
    assert widths.tolist() == [[4, 0, 0]]
    assert not any(mask.any() for mask in masks)


def test_a_population_scores_as_its_individuals_do_one_by_one(stage):
    genomes = np.random.default_rng(0).integers(0, 2, (12, stage.genes))
    masks, _ = stage.decode(genomes)
    whole = stage.aggregation(masks)
    for i in range(len(genomes)):
        alone = sum(
            4 * float(aggregation(mask[i : i + 1], stage.descriptors[m], stage.redundancy))
            for m, mask in zip(stage.members, masks, strict=True)
        )
        assert whole[i] == pytest.approx(alone / 8)
