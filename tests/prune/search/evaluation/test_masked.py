import numpy as np
import pytest
import torch
from torch import nn

from edgeprune.prune.images.held import HeldImages
from edgeprune.prune.search.evaluation.masked import MaskedNetwork
from edgeprune.prune.slimming.slim import slim
from edgeprune.prune.tracing.trace import trace
from edgeprune.prune.training.batchnorm import recalibrate


@pytest.fixture
def images():
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (24, 3, 8, 8), generator=generator, dtype=torch.uint8)
    return HeldImages(pixels, torch.arange(24) % 5)


def masks_of(traced, plan):
    """Masks as the plan says, a branch that lost one group without all of its groups."""
    kept = {name: set(stay) for name, stay in plan.kept.items()}
    dropped = {g.block for g in traced.groups if g.droppable and not kept[g.name]}
    return [
        torch.tensor([i in kept[g.name] and g.block not in dropped for i in range(g.width)])
        for g in traced.groups
    ]


def whole(traced):
    return [torch.ones(group.width, dtype=torch.bool) for group in traced.groups]


def logits(values):
    return next(value for node, value in values.items() if node.op == "output")


def served(images):
    return next(iter(images.batches(len(images))))[0]


@pytest.mark.parametrize("seed", range(2))
def test_masking_answers_as_the_dense_network_with_its_channels_at_zero(
    net, images, masked, random_plan, seed
):
    model = net[0].float()
    traced = trace(model, net[1].float())
    plan = random_plan(traced, seed)
    found = logits(MaskedNetwork(traced, images).run(masks_of(traced, plan)))
    torch.testing.assert_close(found, masked(traced, plan)(served(images)), rtol=1e-4, atol=1e-4)


def test_going_on_from_known_values_changes_nothing(net, images, random_plan):
    """Of every group alone: the same damage whether or not the layers before it are run."""
    traced = trace(net[0].float(), net[1].float())
    network = MaskedNetwork(traced, images)
    standing, plan = whole(traced), masks_of(traced, random_plan(traced, 4))
    for index in range(min(5, len(traced.groups))):
        if traced.groups[index].block is None:
            cut = [*standing[:index], plan[index], *standing[index + 1 :]]
            damage = network.damage(network.span([index]), standing)
            short = network.run(cut, known=damage.known)
            torch.testing.assert_close(logits(short), logits(network.run(cut)))


def test_the_images_are_not_written_into(tiny, images):
    model, example = tiny("resnet")
    traced = trace(model.float(), example.float())
    network = MaskedNetwork(traced, images)
    damage = network.damage(network.span([1]), whole(traced))
    cut = whole(traced)
    cut[1][:4] = False
    assert damage(cut) == damage(cut)


def test_nothing_cut_does_no_damage_and_more_cut_does_more(tiny, images):
    """Without BatchNorm nothing but the cut itself can change an answer."""
    torch.manual_seed(0)
    model = nn.Sequential(
        *(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.ReLU()),
        *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 5)),
    ).eval()
    traced = trace(model, torch.zeros(1, 3, 8, 8))
    network = MaskedNetwork(traced, images)
    damage = network.damage(network.span([0]), whole(traced))
    lost = []
    for stay in (8, 6, 4, 2):
        masks = whole(traced)
        masks[0][stay:] = False
        lost.append(damage(masks))
    assert lost[0] == pytest.approx(0, abs=1e-6)
    assert lost == sorted(lost)
    assert lost[3] > 1e-3


def test_a_span_ends_where_everything_comes_together_again(tiny):
    model, example = tiny("resnet")
    traced = trace(model.float(), example.float())
    network = MaskedNetwork(traced, HeldImages(torch.zeros(4, 3, 8, 8, dtype=torch.uint8),
                                               torch.zeros(4, dtype=torch.long)))  # fmt: skip
    inner = next(i for i, group in enumerate(traced.groups) if group.block)
    span = network.span([inner])
    block = next(b for b in traced.blocks if inner in b.groups)
    nodes = list(traced.graph.graph.nodes)
    assert nodes.index(span.start) < nodes.index(block.join) <= nodes.index(span.end)
    assert span.start in block.branch
    later = nodes[nodes.index(span.end) + 1 :]
    read = {source for node in later for source in node.all_input_nodes} - set(later)
    assert {node for node in read if node.op != "get_attr"} == {span.end}


def test_recalibration_gives_the_statistics_of_the_slim_network(tiny, images, random_plan):
    """Slim and recalibrate elsewhere: the masked network answers the same."""
    model, example = tiny("resnet")
    traced = trace(model.float(), example.float())
    plan = random_plan(traced, 1)
    network = MaskedNetwork(traced, images)
    before = logits(network.run(masks_of(traced, plan)))
    network.recalibrate(masks_of(traced, plan), images)
    after = logits(network.run(masks_of(traced, plan)))
    small = recalibrate(slim(traced, plan, fold_constants=False), images)
    torch.testing.assert_close(after, small(served(images)), rtol=1e-4, atol=1e-4)
    assert not np.allclose(before, after, atol=1e-2)
