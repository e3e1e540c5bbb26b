import numpy as np
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
