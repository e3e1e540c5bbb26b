from edgeprune.deploy.table import probe as probing
from edgeprune.export import inspection
from edgeprune.prune.models.zoo import ModelSpec
from edgeprune.target import load_target


def test_a_named_network_is_traced_with_its_shortcuts_rewritten():
    trace = inspection.traced(ModelSpec("resnet20"), 32)
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
