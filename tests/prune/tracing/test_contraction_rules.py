"""Matrix products of activations: channels are joined label by label, or kept and reported."""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edgeprune.prune.slimming.proof import carried
from edgeprune.prune.slimming.slim import slim
from edgeprune.prune.tracing.trace import trace
from tests.models import draw_plan, whole

Product = Callable[[Tensor, Tensor, Tensor], Tensor]


class Attention(nn.Module):
    """Tokens (N, 16, 12) to queries, keys and values of one or several heads."""

    def __init__(self, product: Product, heads: int) -> None:
        super().__init__()
        self.stem, self.qkv = nn.Conv2d(3, 12, 1), nn.Linear(12, 36)
        self.proj, self.head = nn.Linear(12, 10), nn.Linear(10, 4)
        self.product, self.heads = product, heads

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x).flatten(2).transpose(1, 2)
        n, tokens, width = x.shape
        parts = self.qkv(x).reshape(n, tokens, 3, self.heads, width // self.heads)
        q, k, v = parts.permute(2, 0, 3, 1, 4).unbind(0)  # each (N, heads, tokens, width)
        y = self.product(q, k, v).transpose(1, 2).reshape(n, tokens, -1)
        return self.head(F.relu(self.proj(y)).mean(1))


def by_hand(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return (q * 0.3 @ k.transpose(-2, -1)).softmax(dim=-1) @ v


def by_einsum(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    scores = torch.einsum("nhxe,nhse->nhxs", q, k).softmax(-1)
    return torch.einsum("nhxs, nhsv -> nhxv", scores, v)


def by_torch(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return F.scaled_dot_product_attention(q, k, v)


def with_mask(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    mask = torch.linspace(-1, 1, 256, dtype=torch.float64).view(16, 16)
    return F.scaled_dot_product_attention(q, k, v, mask)


def linear_attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return F.relu(q).matmul(F.relu(k).transpose(2, 3).matmul(v))


class TalkingHeads(nn.Module):
    """A convolution that mixes the heads of an attention: only there may no channel go."""

    def __init__(self) -> None:
        super().__init__()
        self.qk, self.v, self.talk = nn.Linear(12, 32), nn.Linear(12, 32), nn.Conv2d(4, 4, 1)
        self.stem, self.head = nn.Conv2d(3, 12, 1), nn.Linear(32, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x).flatten(2).transpose(1, 2)
        qk, v = (layer(x).reshape(-1, 16, 4, 8).transpose(1, 2) for layer in (self.qk, self.v))
        scores = self.talk((qk * 0.3) @ qk.transpose(-2, -1)).softmax(-1)
        return self.head((scores @ v).transpose(1, 2).reshape(-1, 16, 32)).mean(1)


@pytest.mark.parametrize("product", [by_hand, by_einsum, by_torch, with_mask])
@pytest.mark.parametrize("heads", [1, 2])
def test_attention_is_sliced_inside_its_heads(product: Product, heads: int) -> None:
    torch.manual_seed(0)
    model = Attention(product, heads).eval().double()
    x = torch.randn(2, 3, 4, 4, dtype=torch.float64)
    traced = trace(model, x)
    assert not traced.unfollowed
    assert {"stem": 12, "proj": 10}.items() <= {g.name: g.width for g in traced.groups}.items()
    assert any(g.name.startswith("qkv") for g in traced.groups)
    assert torch.allclose(slim(traced, whole(traced))(x), model(x), rtol=1e-10)
    for seed in range(4):
        plan = draw_plan(traced, seed)
        found = slim(traced, plan, fold_constants=False)(x)
        assert torch.allclose(found, carried(traced, plan, x), rtol=1e-10, atol=1e-12)


def test_only_the_heads_stay_where_a_product_keeps_all_of_them() -> None:
    torch.manual_seed(0)
    model, x = TalkingHeads().eval().double(), torch.randn(2, 3, 4, 4, dtype=torch.float64)
    traced = trace(model, x)
    assert {g.name: g.width for g in traced.groups} == {"stem": 12, "qk": 8, "v": 8}
    (place,) = traced.unfollowed
    assert place.reason == "matmul with a tensor that keeps all of its channels"
    plan = draw_plan(traced, 1)
    found = slim(traced, plan, fold_constants=False)(x)
    assert torch.allclose(found, carried(traced, plan, x), rtol=1e-10, atol=1e-12)


def test_of_two_axes_with_channels_the_first_operand_s_may_go() -> None:
    class Bilinear(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.two = nn.Conv2d(3, 6, 1), nn.Conv2d(3, 5, 1)
            self.head = nn.Conv1d(6, 4, 1)

        def forward(self, x: Tensor) -> Tensor:
            both = self.one(x).flatten(2) @ self.two(x).flatten(2).transpose(1, 2)  # (N, 6, 5)
            return self.head(both).mean(2)

    torch.manual_seed(0)
    model, x = Bilinear().eval().double(), torch.randn(2, 3, 4, 4, dtype=torch.float64)
    traced = trace(model, x)
    assert [(g.name, g.width) for g in traced.groups] == [("one", 6)]
    (place,) = traced.unfollowed
    assert place.reason == "matmul makes a tensor with channels on two axes"
    plan = draw_plan(traced, 3)
    found = slim(traced, plan, fold_constants=False)(x)
    assert torch.allclose(found, carried(traced, plan, x), rtol=1e-10, atol=1e-12)


def test_a_product_with_channels_on_two_axes_is_kept_and_reported() -> None:
    torch.manual_seed(0)
    model, x = Attention(linear_attention, 1).eval(), torch.randn(2, 3, 4, 4)
    traced = trace(model, x)
    reasons = {place.reason for place in traced.unfollowed}
    assert reasons == {"matmul makes a tensor with channels on two axes"}
    assert torch.allclose(
        slim(traced, draw_plan(traced, 0))(x), carried(traced, draw_plan(traced, 0), x), atol=1e-5
    )


@pytest.mark.parametrize(
    ("step", "reason"),
    [
        (lambda x: torch.einsum("nchw,ncij", x, x), "einsum of a form that has no rule"),
        (lambda x: torch.einsum("ncii->nci", x), "einsum along a diagonal"),
        (
            lambda x: F.scaled_dot_product_attention(x.flatten(2), x.flatten(2), x.flatten(2)),
            "along the channel axis",
        ),
        (lambda x: x.flatten(2).transpose(1, 2) @ torch.ones(8, 2), "keeps all of its channels"),
    ],
)
def test_products_without_a_rule_keep_their_channels(
    step: Callable[[Tensor], Tensor], reason: str
) -> None:
    class Product(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 8, 1)

        def forward(self, x: Tensor) -> Tensor:
            return step(self.conv(x)).flatten(1).sum(1)

    traced = trace(Product().eval(), torch.randn(1, 3, 4, 4))
    assert not traced.groups
    assert reason in traced.unfollowed[0].reason


def test_stacked_tensors_share_their_channels() -> None:
    class Selective(nn.Module):
        """Selective kernels: branches on a new axis, weighted by softmax over it."""

        def __init__(self) -> None:
            super().__init__()
            self.one, self.two = nn.Conv2d(3, 6, 1), nn.Conv2d(3, 6, 1)
            self.last = nn.Conv2d(6, 4, 1)

        def forward(self, x: Tensor) -> Tensor:
            both = torch.stack([self.one(x), self.two(x)], dim=1)
            weight = both.mean((3, 4), keepdim=True).softmax(dim=1)
            return self.last((both * weight).sum(1)).mean((2, 3))

    model, x = Selective().eval().double(), torch.randn(2, 3, 4, 4, dtype=torch.float64)
    traced = trace(model, x)
    assert [(g.name, g.width) for g in traced.groups] == [("one", 6)]
    plan = draw_plan(traced, 3)
    found = slim(traced, plan, fold_constants=False)(x)
    assert torch.allclose(found, carried(traced, plan, x), rtol=1e-10, atol=1e-12)
