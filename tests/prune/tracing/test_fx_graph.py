"""Which errors say something about a model while it is traced, and which do not."""

import pytest
import torch
import torch.nn.functional as F
from torch import fx, nn

from edgeprune.prune.tracing.trace import trace


class Troubled(nn.Module):
    """Raises while it is traced, when all it gets is a proxy."""

    def __init__(self, error: BaseException) -> None:
        super().__init__()
        self.error = error

    def forward(self, x):
        if isinstance(x, fx.Proxy):
            raise self.error
        return F.relu(x)


TROUBLES = [MemoryError("no room"), OSError(28, "no space left"), KeyboardInterrupt()]


@pytest.mark.parametrize("error", TROUBLES, ids=lambda error: type(error).__name__)
def test_trouble_of_the_machine_is_no_property_of_the_model(error):
    model = nn.Sequential(nn.Conv2d(3, 12, 1), Troubled(error), nn.Conv2d(12, 2, 1))
    with pytest.raises(type(error)):
        trace(model.eval(), torch.randn(1, 3, 4, 4))


def test_an_error_of_the_model_makes_its_submodule_opaque():
    troubled = Troubled(ValueError("not with a proxy"))
    model = nn.Sequential(nn.Conv2d(3, 12, 1), troubled, nn.Conv2d(12, 2, 1)).eval()
    traced = trace(model, torch.randn(1, 3, 4, 4))
    assert [u.reason for u in traced.unfollowed if "not with a proxy" in u.reason]


@pytest.mark.parametrize("error", TROUBLES, ids=lambda error: type(error).__name__)
def test_trouble_while_shapes_are_measured_is_no_wrong_input(error, monkeypatch):
    def full(*args, **kwargs):
        raise error

    model = nn.Sequential(nn.Conv2d(3, 12, 1), nn.Conv2d(12, 2, 1)).eval()
    monkeypatch.setattr(nn.Conv2d, "forward", full)
    with pytest.raises(type(error)):
        trace(model, torch.randn(1, 3, 4, 4))
