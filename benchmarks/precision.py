"""int8 searched, and fp32 searched then quantised: ``python benchmarks/precision.py SHARED``.

SHARED holds ``data/cifar10-jpeg.tar.xz`` and ``data/checkpoints/resnet20-jpeg45k.pt``. For each
share of the dense int8 latency two runs of the commands: ``search --target mobile-cpu-int8``, and
``search --target mobile-cpu`` at that share of fp32 followed by ``export --precision int8``; the
second once more, where it is slower, for the share at which it should be as fast. All files are
then timed in turn against the dense fp32 file, and their accuracies read off what the exports
recorded on the 10,000 test images. ``--speed`` does large networks with random weights instead:
latency, memory and integer convolutions of ``export --precision int8``. Results are kept in
``--work``, so that a stopped benchmark goes on.
"""

import argparse
import resource
import subprocess
import sys
import tarfile
from datetime import UTC, datetime
from pathlib import Path

import torch

from edgeprune.deploy.artifact import seal
from edgeprune.deploy.devices.device import Local
from edgeprune.deploy.devices.fingerprint import check_device
from edgeprune.deploy.gate.check import Options
from edgeprune.deploy.timing.protocol import compare_many
from edgeprune.prune.models.zoo import ModelSpec, build
from edgeprune.target import load_target

COMMAND = [sys.executable, "-m", "edgeprune"]
NETS = ("torchvision/resnet18", "torchvision/vgg16")
EQUAL = 1.03  # times as slow is as fast
# Untrained networks agree on no classes, and a budget is none of their business.
UNTRAINED = 'schema = 1\nname = "untrained"\n[parity]\nagreement = 0\nsqnr_db = 0\n'


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("shared", type=Path)
    parser.add_argument("--work", type=Path, default=Path("precision"))
    parser.add_argument("--shares", type=float, nargs="*", default=[0.65, 0.5])
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--speed", action="store_true")
    asked = parser.parse_args()
    asked.work.mkdir(parents=True, exist_ok=True)
    device = check_device("local://")
    print(
        f"{device.machine['cpu']}, {device.machine['cores']} cores, "
        f"{' '.join(device.machine['isa'])}, onnxruntime {device.machine['onnxruntime']}, "
        f"{datetime.now(UTC):%Y-%m-%d}"
    )
    if asked.speed:
        for name in NETS:
            speed(name, asked.work)
        return
    searched(asked.shared, asked.work, asked.shares, asked.epochs)


def searched(shared: Path, work: Path, shares: list[float], epochs: int) -> None:
    images, weights = (
        unpacked(shared, work),
        shared / "data" / "checkpoints" / "resnet20-jpeg45k.pt",
    )
    given = ["--model", "resnet20", "--weights", str(weights), "--data", str(images)]
    given += ["--epochs", str(epochs)]
    files: dict[str, Path] = {}
    gain = None
    for share in shares:
        plain = quantised(work, share, images, given)
        if gain is None:
            dense = work / "dense-int8.onnx"
            if not dense.exists():
                run("export", str(plain / "dense.pt"), "--precision", "int8", "--data",
                    str(images), "-o", str(dense))  # fmt: skip
            gain = ratios([dense], plain / "dense.onnx")[0][0]
            files["int8 dense"] = dense
        own = work / f"int8-{share:g}"
        if not (own / "check.json").exists():
            run("search", "--target", "mobile-cpu-int8", "--max-latency-ratio",
                f"{share * gain:.3f}", "--out", str(own), "--overwrite", *given)  # fmt: skip
        files[f"int8 slim, searched at int8, {share * gain:.3f}x asked"] = own / "model.onnx"
        files[f"searched at fp32 for {share:g}x, then quantised"] = plain / "int8.onnx"
        # What quantising leaves of a ratio is not known before: the control is searched again
        # for the fp32 ratio at which it would be as fast as the network that was searched at int8.
        pair = [own / "model.onnx", plain / "int8.onnx"]
        (ours, *_), (control, *_) = ratios(pair, plain / "dense.onnx")
        if control > EQUAL * ours:
            faster = round(share * ours / control, 2)
            again = quantised(work, faster, images, given)
            files[f"searched at fp32 for {faster:g}x, then quantised"] = again / "int8.onnx"
    reference = work / f"fp32-{shares[0]:g}" / "dense.onnx"
    dense_accuracy = recorded(reference).accuracy_dense or 0.0
    print(f"\ndense fp32: {dense_accuracy:.2%} of the test images\n")
    print("| model | latency over dense fp32 | accuracy | lost | MACs |\n|---|---|---|---|---|")
    for name, (value, low, high) in zip(
        files, ratios(list(files.values()), reference), strict=True
    ):
        found = recorded(files[name])
        accuracy = found.accuracy_slim or 0.0
        lost = 100 * (dense_accuracy - accuracy)
        print(
            f"| {name} | {value:.3f} [{low:.3f}, {high:.3f}] | {accuracy:.2%} | {lost:.2f} | "
            f"{found.macs:,} |"
        )


def quantised(work: Path, share: float, images: Path, given: list[str]) -> Path:
    """The run folder of a search at fp32, whose network is then quantised to ``int8.onnx``."""
    plain = work / f"fp32-{share:g}"
    if not (plain / "int8.onnx").exists():
        run("search", "--target", "mobile-cpu", "--max-latency-ratio", str(share),
            "--out", str(plain), "--overwrite", *given)  # fmt: skip
        run("export", str(plain / "model.pt"), "--precision", "int8", "--data", str(images),
            "-o", str(plain / "int8.onnx"), "--overwrite")  # fmt: skip
    return plain


def speed(name: str, work: Path) -> None:
    """One large network at 224 pixels, random weights: how much faster int8 is."""
    file = name.rpartition("/")[2]
    weights, target = work / f"{file}.pth", work / "untrained.toml"
    torch.manual_seed(0)
    torch.save(build(ModelSpec(name, 10)).state_dict(), weights)
    target.write_text(UNTRAINED)
    out = work / f"{file}-int8.onnx"
    run("export", str(weights), "--model", name, "--data", "digits", "--image-size", "224",
        "--precision", "int8", "--calibration-images", "256", "--calibration-method", "percentile",
        "--target", str(target), "-o", str(out), "--overwrite")  # fmt: skip
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20
    found = recorded(out).quantisation
    ((value, low, high),) = ratios([out], out.with_name(f"{out.stem}-fp32.onnx"))
    print(
        f"{name} at 224: {value:.3f}x [{low:.3f}, {high:.3f}] of fp32, "
        f"{found.integer_convolutions if found else 0} integer convolutions, "
        f"{len(found.float_convolutions) if found else 0} in float; peak memory so far "
        f"{peak:.2f} GB for 256 images"
    )


def unpacked(shared: Path, work: Path) -> Path:
    root = work / "images"
    if not (root / "train").exists():
        with tarfile.open(shared / "data" / "cifar10-jpeg.tar.xz") as archive:
            archive.extractall(root, filter="data")
    return root


def ratios(files: list[Path], reference: Path) -> list[tuple[float, float, float]]:
    """Measured ratios with their intervals, all in turn with the reference."""
    setting = Options(device=Local(), max_seconds=600).setting(load_target("mobile-cpu"))
    compared = compare_many(files, reference, setting)
    found = [each.interval for each in compared if each.interval]
    return [(each.mid, each.low, each.high) for each in found]


def recorded(path: Path) -> seal.Provenance:
    return seal.verify(path)


def run(*words: str) -> None:
    print("edgeprune", " ".join(words), flush=True)
    done = subprocess.run([*COMMAND, *words], capture_output=True, text=True)
    print(done.stdout)
    if done.returncode not in (0, 1):
        sys.exit(f"exit {done.returncode}: {done.stderr.strip()[-500:]}")


if __name__ == "__main__":
    main()
