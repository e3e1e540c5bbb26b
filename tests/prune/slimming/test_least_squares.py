import numpy as np
import pytest
import torch
from torch import nn

from edgeprune.prune.slimming import least_squares


def test_the_solution_is_that_of_ridge_regression():
    generator = np.random.default_rng(0)
    layer = nn.Linear(5, 3)
    u = torch.from_numpy(generator.normal(size=(40, 5))).float()
    y = torch.from_numpy(generator.normal(size=(40, 3))).float()
    old = layer.weight.detach().double().numpy().copy()
    with torch.no_grad():
        least_squares.fit(layer, u, y)
    centred, wanted = (a.double().numpy() - a.double().numpy().mean(0) for a in (u, y))
    gram = centred.T @ centred / 40
    ridge = least_squares.RIDGE * np.trace(gram) / 5
    solved = np.linalg.solve(gram + ridge * np.eye(5), (wanted.T @ centred / 40 + ridge * old).T).T
    assert np.allclose(layer.weight.detach(), solved, atol=1e-5)
    assert np.allclose(layer(u).detach().mean(0), y.mean(0), atol=1e-5)


def test_groups_are_solved_for_by_themselves():
    grouped, alone = nn.Conv2d(4, 6, 3, groups=2), [nn.Conv2d(2, 3, 3) for _ in range(2)]
    images, wanted = torch.randn(8, 4, 6, 6), torch.randn(8, 6, 4, 4)
    with torch.no_grad():
        for g, layer in enumerate(alone):
            layer.weight.copy_(grouped.weight[3 * g : 3 * g + 3])
            least_squares.fit(layer, images[:, 2 * g : 2 * g + 2], wanted[:, 3 * g : 3 * g + 3])
        least_squares.fit(grouped, images, wanted)
        together = torch.cat([layer.weight for layer in alone])
    assert torch.allclose(grouped.weight, together, atol=1e-5)


@pytest.mark.parametrize("groups", [1, 3])
def test_the_dual_form_is_the_same_solution(groups):
    generator = torch.Generator().manual_seed(0)
    old = torch.randn(groups, 4, 6, generator=generator, dtype=torch.float64)
    u, y = (torch.randn(groups, n, 30, generator=generator) for n in (6, 4))
    primal = least_squares._primal(
        old, iter([(u[..., :11], y[..., :11]), (u[..., 11:], y[..., 11:])])
    )
    dual = least_squares._dual(old, iter([(u, y)]))
    assert all(torch.allclose(p, d, atol=1e-5) for p, d in zip(primal, dual, strict=True))


def test_a_layer_wider_than_there_are_samples_takes_no_matrix_of_its_width():
    layer = nn.Linear(40_000, 3)  # a Gram matrix of it would take 12.8 GB
    images, wanted = torch.randn(8, 40_000), torch.randn(8, 3)
    before = (layer(images) - wanted).square().mean()
    with torch.no_grad():
        assert least_squares.fit(layer, images, wanted) is not None
    assert (layer(images) - wanted).square().mean() < 0.1 * before


def test_what_is_not_finite_leaves_the_layer_as_it_was():
    layer = nn.Linear(5, 3)
    before = layer.weight.detach().clone()
    images = torch.randn(20, 5)
    images[3, 2] = torch.inf
    with torch.no_grad():
        assert least_squares.fit(layer, images, torch.randn(20, 3)) is None
    assert torch.equal(layer.weight, before)
