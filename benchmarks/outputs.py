"""A segmentation network slimmed without labels: ``python benchmarks/outputs.py --latency 0.6``.

torchvision's FCN on half a small ResNet is trained for a short time on discs and squares that this
script draws. Then ``edgeprune.search(task="outputs")`` sees the images alone. Printed on images
that no step has seen: relative error of the outputs and the network's own measure, the mean
intersection over union, of the dense network, the slim one as it was cut and recalibrated, and
after the distillation; the measured latency ratio.
"""

import argparse
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

import torch
from torch.utils.data import TensorDataset

sys.path.insert(0, str(Path(__file__).parents[1]))

import edgeprune
from edgeprune.deploy.devices.fingerprint import check_device
from edgeprune.documents import read_json
from edgeprune.prune.images.in_memory import hold
from edgeprune.prune.slimming.proof import proven
from edgeprune.prune.slimming.slim import slim
from edgeprune.prune.space.plan import PruningPlan
from edgeprune.prune.training.batchnorm import recalibrate
from edgeprune.prune.training.tasks import task_of
from tests.shapes import fcn, mean_iou, shapes, trained

SIDE = 32  # pixels


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--latency", type=float, default=0.6, help="limit of the latency ratio")
    parser.add_argument("--epochs", type=int, default=10, help="passes of the distillation")
    parser.add_argument("--evaluations", type=int, default=24)
    parser.add_argument("--steps", type=int, default=200, help="of the dense training")
    asked = parser.parse_args()
    device = check_device("local://").machine
    print(f"{device['cpu']}, {device['cores']} cores, {datetime.now(UTC):%Y-%m-%d}")
    train, test = shapes(600, 0, SIDE), shapes(200, 1, SIDE)
    dense = trained(fcn(), train, asked.steps)
    print(f"the dense network was trained for {asked.steps} steps", flush=True)
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "run"
        run = edgeprune.search(
            dense,
            (TensorDataset(train.tensors[0]), TensorDataset(test.tensors[0])),
            task="outputs",
            max_latency_ratio=asked.latency,
            evaluations=asked.evaluations,
            finalists=2,
            epochs=asked.epochs,
            out=out,
        )
        plan = PruningPlan.from_plain(read_json(out / "plan.json"))
    seconds = time.monotonic() - began
    data = hold((train, test), labelled=False)
    cut = recalibrate(slim(proven(dense, torch.zeros(1, 3, SIDE, SIDE)), plan), data.train)
    images, masks = torch.round(test.tensors[0] * 255) / 255, test.tensors[1]
    task = task_of("outputs")
    print(f"{'':24} {'output error':>12} {'mIoU':>7}")
    named = {"dense": dense, "slim, recalibrated": cut, "slim, distilled": run.model}
    for name, network in named.items():
        error = task.measured(network, dense, data.test)
        with torch.no_grad():
            own = mean_iou(network, images, masks)
        print(f"{name:24} {100 * error:10.2f} % {100 * own:5.1f} %")
    latency = next(v for v in run.report.verdicts if v.name == "latency")
    print(f"{latency.outcome}: latency {latency.value_text}, limit {latency.limit_text}")
    print(f"search, distillation, export and check: {seconds:.0f} s")


if __name__ == "__main__":
    main()
