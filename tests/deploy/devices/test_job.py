"""Jobs as JSON, and which lines answer them."""

import json

from edgeprune.deploy.devices.job import Epoch, Job, Variant
from edgeprune.target import Runtime


def test_a_job_travels_as_json() -> None:
    epochs = (Epoch(open=(0,), sequence=(0,), rounds=4),)
    job = Job(
        models=(b"m",), runtime=Runtime(threads=2), epochs=epochs, clock="wall", shapes=((1, 3),)
    )
    assert json.loads(job.to_json(["/x.onnx"])) == {
        "models": ["/x.onnx"],
        "names": ["the model"],
        "options": [{}],
        "shapes": [[1, 3]],
        "values": {},
        "threads": 2,
        "providers": ["CPUExecutionProvider"],
        "optimisation": "all",
        "clock": "wall",
        "graphs": [],
        "memory": [],
        "profiles": [],
        "profile_seconds": 2.0,
        "outputs": [],
        "batches": [],
        "most_bytes": None,
        "epochs": [
            {"open": [0], "sequence": [0], "rounds": 4, "burst": 2, "warmup": 3, "lead_in": 1}
        ],
    }


def test_a_variant_is_its_file_with_options() -> None:
    job = Job(models=(b"m", Variant(b"m", {"threads": 2})), runtime=Runtime())
    assert job.files == (b"m", b"m")
    assert json.loads(job.to_json(["/x.onnx", "/y.onnx"]))["options"] == [{}, {"threads": 2}]


def test_a_job_opens_what_its_parts_name() -> None:
    epochs = (Epoch(open=(4, 1), sequence=(0, 1)), Epoch(open=(1,), sequence=(0,)))
    job = Job(models=(b"m",) * 6, runtime=Runtime(), epochs=epochs, graphs=(0,), memory=(5,))
    assert job.opened == {0, 1, 4, 5}


def test_what_a_device_answers_is_known_before() -> None:
    epochs = (Epoch(open=(1,), sequence=(0,)),) * 2
    job = Job(models=(b"m",) * 2, runtime=Runtime(), epochs=epochs, graphs=(1,), memory=(0,))
    epochs_said = [("epoch", 0), ("epoch", 1)]
    assert job.answers == [("machine", None), ("graph", 1), ("memory", 0), *epochs_said]
