"""What a run came to, and what is read back of it."""

from torch import nn

from edgeprune.run.folder import RunFolder
from edgeprune.run.outcome import PrunedModel, Recovered, recall


def test_points_lost_are_those_on_the_validation_images():
    recovered = Recovered(nn.Identity(), {"val_dense": 0.95, "val_slim": 0.94}, {})
    assert PrunedModel(None, recovered).lost == 1.0  # not 1.0000000000000009


def test_only_a_finished_run_of_one_model_is_read_back(tmp_path):
    folder = RunFolder(tmp_path)
    assert recall(folder) is None
    folder.record(status="interrupted", results={})
    assert recall(folder) is None
    folder.record(status="done", family=[])
    folder.write("run.json", {"status": "done", "family": []})
    assert recall(folder) is None
