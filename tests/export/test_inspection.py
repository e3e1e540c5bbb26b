import numpy as np
import onnx
import torch
from torch import nn

from edgeprune.export import inspection
from edgeprune.export.slim_export import slim_export
from edgeprune.prune.models.zoo import ModelSpec
from edgeprune.prune.slimming.proof import proven
from edgeprune.target import load_target


def test_a_named_network_is_traced_with_its_shortcuts_rewritten():
    trace = inspection.traced(ModelSpec("resnet20"), (32, 32))
    assert trace.groups[0].width == 16
    assert not trace.unfollowed


def test_probing_gets_the_target_and_the_device(monkeypatch):
    asked = []
    monkeypatch.setattr(inspection, "probe", lambda *given: asked.append(given))
    target, told = load_target("mobile-cpu"), []
    inspection.probed(
        ModelSpec("resnet20"), (16, 16), target, "local://", rebuild=True, progress=told.append
    )
    (network, profile, options), = asked  # fmt: skip
    assert profile == target
    assert network.blocks and options.rebuild and options.device.uri == "local://"
    assert options.whole is None


def test_a_graph_that_cannot_be_cut_is_timed_whole(monkeypatch):
    class Reversed(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Conv2d(3, 8, 3, 1, 1), nn.Conv2d(8, 4, 1)
            self.last = nn.Linear(4, 5)

        def forward(self, x):
            return self.last(self.b(torch.relu(self.a(x))[:, ::2].repeat(1, 2, 1, 1)).mean((2, 3)))

    export = slim_export(proven(Reversed().eval(), torch.zeros(1, 3, 8, 8)))
    assert export.opened is None
    network, options = export.network(), inspection.with_whole(export, inspection.Probe())
    assert network.blocks == () and network.graph
    assert "Slice" in options.uncut and "\n" not in options.uncut
    small = [width // 2 for width in network.full]
    thin, dense = (onnx.load_from_string(options.whole(w)) for w in (small, network.full))
    assert weights(thin) < weights(dense)


def weights(proto):
    return sum(int(np.prod(tensor.dims)) for tensor in proto.graph.initializer)


def test_the_input_may_be_oblong_and_have_any_number_of_channels(tmp_path, monkeypatch):
    (tmp_path / "grey.py").write_text(
        "from torch import nn\n\n\ndef net(num_classes, channels):\n"
        "    layers = nn.Conv2d(channels, 8, 3), nn.Flatten(), nn.Linear(1440, num_classes)\n"
        "    return nn.Sequential(*layers)\n"
    )
    monkeypatch.chdir(tmp_path)
    for channels in (1, 4):
        trace = inspection.traced(ModelSpec("grey:net", 10, {"channels": channels}), (12, 20))
        assert [(group.name, group.width) for group in trace.groups] == [("0", 8)]
