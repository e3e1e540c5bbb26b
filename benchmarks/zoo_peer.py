"""What Torch-Pruning makes of a network of the zoo: ``python benchmarks/zoo_peer.py NAME``."""

import resource
import subprocess
import sys
import warnings
from pathlib import Path

import torch
from torch import nn
from torch.utils._pytree import tree_leaves

sys.path.insert(0, str(Path(__file__).parents[1]))
from benchmarks.zoo_networks import network

PEER_SECONDS = 40
"""CPU time that Torch-Pruning has for one network, its start included."""


def asked_of_peer(name: str) -> str:
    """What :func:`pruned_by_peer` says, in a process of its own with a limit of time."""
    limit = (PEER_SECONDS, PEER_SECONDS)
    asked = subprocess.run(
        [sys.executable, __file__, name],
        capture_output=True,
        text=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_CPU, limit),
    )
    if asked.returncode < 0:
        return f"not done in {PEER_SECONDS} s"
    return asked.stdout.strip().splitlines()[-1] if asked.returncode == 0 else "it crashes"


def pruned_by_peer(name: str) -> str:
    """What Torch-Pruning makes of a network when half of every layer's channels may go.

    Used as its documentation says: ``BasePruner``, the classifier ignored.
    """
    import torch_pruning as tp

    model, x = network(name)
    model, x = model.float(), x.float()
    before, classes = sum(p.numel() for p in model.parameters()), model(x).shape[1]
    step = "its graph cannot be built"
    try:
        classifier = [m for m in tree_leaves(model.get_classifier()) if isinstance(m, nn.Module)]
        pruner = tp.pruner.BasePruner(
            model,
            x,
            importance=tp.importance.MagnitudeImportance(p=1),
            pruning_ratio=0.5,
            ignored_layers=classifier,
        )
        step = "it fails at pruning"
        pruner.step()
        step = "its slim network cannot run"
        after = sum(p.numel() for p in model.parameters())
        found = model(x).shape[1]
    except Exception as error:
        return f"{step}: {type(error).__name__}"
    if found != classes:
        return f"answers {found} classes for {classes}"
    return f"{after / before:.0%} of the parameters" if after < before else "prunes nothing"


if __name__ == "__main__":
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    print(pruned_by_peer(sys.argv[1]))
