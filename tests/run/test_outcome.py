"""What a run came to, and what is read back of it."""

from edgeprune.run.folder import RunFolder
from edgeprune.run.outcome import recall


def test_only_a_finished_run_of_one_model_is_read_back(tmp_path):
    folder = RunFolder(tmp_path)
    assert recall(folder) is None
    folder.record(status="interrupted", results={})
    assert recall(folder) is None
    folder.record(status="done", family=[])
    folder.write("run.json", {"status": "done", "family": []})
    assert recall(folder) is None
