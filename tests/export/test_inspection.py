from edgeprune.deploy.table import probe as probing
from edgeprune.export import inspection
from edgeprune.prune.models.zoo import ModelSpec
from edgeprune.target import load_target


def test_a_named_network_is_traced_with_its_shortcuts_rewritten():
    trace = inspection.traced(ModelSpec("resnet20"), (32, 32))
    assert trace.groups[0].width == 16
    assert not trace.unfollowed


def test_probing_gets_the_target_and_the_device(monkeypatch):
    asked = []
    monkeypatch.setattr(probing, "probe", lambda *given: asked.append(given))
    target, told = load_target("mobile-cpu"), []
    inspection.probed(
        ModelSpec("resnet20"), 16, target, "local://", rebuild=True, progress=told.append
    )
    (network, profile, options), = asked  # fmt: skip
    assert profile == target
    assert network.full and options.rebuild and options.device.uri == "local://"


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
