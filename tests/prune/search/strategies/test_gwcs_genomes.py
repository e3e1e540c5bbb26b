import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from edgeprune.prune.search.engine.population import Settings
from edgeprune.prune.search.strategies.gwcs_genomes import BitGenomes, WidthGenomes, decode_bits
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


@pytest.fixture
def coding():
    groups = tuple(
        group_of(name, 4, stage=0, block=block, droppable=block is not None)
        for name, block in (("stem", None), ("a", "b1"), ("b", "b1"))
    )
    generator = torch.Generator().manual_seed(0)
    return BitGenomes(
        space=PruningSpace(groups, ((2, 4), (0, 2, 4), (0, 2, 4))),
        interactions=tuple(torch.rand(4, 4, generator=generator) for _ in groups),
        saliencies=tuple(torch.rand(4, generator=generator) for _ in groups),
        drops=(9.0, 0.25, 0.5),
        members=(1, 2),
    )


def test_members_change_and_the_rest_stays(coding):
    assert coding.widths(np.array([[1, 1, 0, 0, 1, 1, 1, 1]])).tolist() == [[4, 2, 4]]


def test_one_emptied_group_empties_the_whole_branch(coding):
    masks, widths = coding.masks(np.array([[0, 0, 0, 0, 1, 1, 1, 1]]))
    assert widths.tolist() == [[4, 0, 0]]
    assert not any(mask.any() for mask in masks)


def test_damage_is_the_quadratic_form_of_what_is_removed_and_the_price_of_what_is_dropped(coding):
    genomes = np.random.default_rng(0).integers(0, 2, (12, 8))
    masks, widths = coding.masks(genomes)
    found = coding.damage(genomes)
    for row in range(len(genomes)):
        expected = 0.0
        for member, mask in zip(coding.members, masks, strict=True):
            gone = (~mask[row]).float()
            by_channels = float(gone @ coding.interactions[member] @ gone)
            expected += by_channels if widths[row, member] else coding.drops[member]
        assert found[row] == pytest.approx(expected, rel=1e-5)
    assert (widths == 0).any()
    assert (widths[:, 1:] > 0).any()


def test_what_bits_keep_is_their_decoded_mask(coding):
    kept = coding.kept(np.array([1, 1, 0, 0, 1, 1, 1, 1]))
    assert kept == {"stem": (0, 1, 2, 3), "a": (0, 1), "b": (0, 1, 2, 3)}


def test_widths_are_levels_of_the_members_and_the_rest_stays_whole(judged_problem):
    problem = judged_problem("residual")
    coding = WidthGenomes(problem, (1, 3))
    assert coding.choices == [len(problem.space.grids[1]), len(problem.space.grids[3])]
    widths = coding.widths(np.array([[1, 2], [0, 5]]))
    full = problem.space.full
    assert widths[:, [1, 3]].tolist() == [[4, 12], [0, 24]]
    assert (widths[:, [0, 2, 4, 5]] == full[[0, 2, 4, 5]]).all()
    kept = coding.kept(np.array([1, 2]))
    first = problem.criterion("wavelet")[1].argsort(descending=True)[:4].tolist()
    assert kept[problem.space.groups[1].name] == tuple(sorted(first))


def test_seeds_go_on_from_the_stage_before(judged_problem):
    problem = judged_problem("residual")
    settings = Settings(population=5)
    before = np.array([[1, 2], [0, 3]])
    seeds = WidthGenomes(problem, (1, 3, 4)).seeds(settings, before)
    last = len(problem.space.grids[4]) - 1
    assert seeds[:2].tolist() == [[1, 2, last], [0, 3, last]]
    assert seeds.shape == (2 + 1 + 5, 3)
    assert (seeds >= 0).all()
    assert (seeds < WidthGenomes(problem, (1, 3, 4)).choices).all()
