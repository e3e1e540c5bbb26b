"""A user's own small network and images, in a folder of their own."""

import sys

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

FACTORY = """
from torch import nn

class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(16, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16)
        self.conv2, self.bn2 = nn.Conv2d(16, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16)

    def forward(self, x):
        return (x + self.bn2(self.conv2(self.bn1(self.conv1(x)).relu()))).relu()

def net(num_classes):
    return nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU(),
        Block(), nn.MaxPool2d(2), Block(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        nn.Linear(16, num_classes),
    )
"""


@pytest.fixture(scope="module")
def here(tmp_path_factory):
    """A working folder with a user's own network, digits 0 and 1 as PNG files, and a cache."""
    folder = tmp_path_factory.mktemp("work")
    (folder / "mynets.py").write_text(FACTORY)
    scans = load_digits()
    for label in (0, 1):
        images = scans.images[scans.target == label]
        for number, image in enumerate(images):
            split = "test" if number % 4 == 0 else "train"
            path = folder / "data" / split / f"digit{label}" / f"{number:03d}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            pixels = np.repeat((image * 15).astype(np.uint8)[:, :, None], 3, 2)
            Image.fromarray(pixels).resize((16, 16)).save(path)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
        yield folder
    sys.modules.pop("mynets", None)
