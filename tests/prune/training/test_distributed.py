"""Two real processes: the same weights in both, and those of one process alone."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from edgeprune.errors import InputError, MachineError
from edgeprune.prune.training.distributed import Ranks, together
from edgeprune.prune.training.evaluation import evaluate
from edgeprune.prune.training.loop import Setting, train_in
from edgeprune.prune.training.recipe import Recipe
from edgeprune.prune.training.state import Keep
from tests.images import grey_noise

ROOT = Path(__file__).parents[3]
RECIPE = Recipe(epochs=3, batch=15, lr=0.1, ema=0.5)
"""15 images for two processes: their shares differ."""


class _Network(nn.Module):
    """Small, with a weight that is never used, as users' networks have them."""

    def __init__(self, norm: nn.Module) -> None:
        super().__init__()
        self.convolution, self.norm = nn.Conv2d(3, 4, 3, bias=False), norm
        self.head, self.unused = nn.Linear(4, 2), nn.Linear(3, 3)

    def forward(self, x: Tensor) -> Tensor:
        features = self.norm(self.convolution(x)).relu().mean((2, 3))
        return self.head(features)  # type: ignore[no-any-return]


def _network(kind: str) -> nn.Module:
    torch.manual_seed(1)
    return _Network({"group": nn.GroupNorm(2, 4), "batch": nn.BatchNorm2d(4)}[kind])


def _talking() -> set[str]:
    """Numbers of the threads that hold tensors while they are exchanged on the CPU."""
    tasks = Path("/proc/self/task")  # only Linux says
    return {task.name for task in tasks.glob("*") if "gloo_runloop" in (task / "comm").read_text()}


def work(folder: Path, device: torch.device | None) -> None:
    """What each of the processes does; started by the tests below."""
    threads: set[str] = set()
    try:
        _work(folder, device, threads)
    finally:  # one that drops a tensor while Python shuts down would abort the process
        assert not threads & _talking(), "threads outlive the processes' exchange"


def _work(folder: Path, device: torch.device | None, threads: set[str]) -> None:
    with together() as joined:
        assert joined.agree(0)  # a thread that has worked has its name
        threads |= _talking()
        ranks = joined if device is None else Ranks(joined.rank, joined.count, device)
        for kind in ("group", "batch"):
            setting = Setting(ranks=ranks, teacher=_network("group"))
            trained = train_in(_network(kind), grey_noise(120), RECIPE, setting)
            torch.save(trained.model.state_dict(), folder / f"{kind}{ranks.rank}.pt")
        assert trained.history["processes"] == 2
        left = Setting(teacher=_network("group"), ranks=ranks, keep=Keep(folder / "left.state"))
        resumed = train_in(_network("group"), grey_noise(120), RECIPE, left)
        torch.save(resumed.model.state_dict(), folder / f"resumed{ranks.rank}.pt")
        mine = Keep(folder / f"mine{ranks.rank}.state")
        if ranks.leads:
            train_in(_network("group"), grey_noise(120), RECIPE, Setting(keep=mine))
        with pytest.raises(MachineError, match="not every process sees"):
            train_in(_network("group"), grey_noise(120), RECIPE, Setting(ranks=ranks, keep=mine))
        with pytest.raises(InputError, match="batch of 2 images cannot be shared by 3"):
            setting = Setting(ranks=Ranks(0, 3, ranks.device))
            train_in(_network("group"), grey_noise(120), Recipe(batch=2), setting)
        with ranks.in_turn():
            assert ranks.leads or (folder / "been").exists()
            (folder / "been").touch()
        with ranks.in_turn():
            assert ranks.leads, "the others leave when the first fails"
            raise InputError("said once")


def _start(folder: Path, device: str) -> list[tuple[int, str]]:
    """Run two processes to their ends; returns their exit codes and what they said."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    shared = os.environ | {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    shared |= {"OMP_NUM_THREADS": "1", "LOCAL_RANK": "0"}
    if not device:
        shared["CUDA_VISIBLE_DEVICES"] = ""
    words = [sys.executable, "-W", "error", "-m", __name__, str(folder), device]
    processes = [
        subprocess.Popen(
            words, cwd=ROOT, env=shared | {"RANK": rank}, stderr=subprocess.PIPE, text=True
        )
        for rank in "01"
    ]
    said = [process.communicate(timeout=120)[1] for process in processes]
    return [(process.returncode, text) for process, text in zip(processes, said, strict=True)]


def _weights(path: Path) -> dict[str, Tensor]:
    return dict(torch.load(path, weights_only=True))


def _farthest(left: dict[str, Tensor], right: dict[str, Tensor]) -> float:
    assert list(left) == list(right)
    return max(float((left[name] - right[name]).double().abs().max()) for name in left)


def _leave_after_a_pass(path: Path) -> None:
    """What one process leaves when it is stopped after its first pass."""

    def stop(step: str, done: int, total: int) -> None:
        if done == 8:
            raise InterruptedError

    ranks = Ranks(device=torch.device("cpu"))
    with pytest.raises(InterruptedError):
        setting = Setting(teacher=_network("group"), progress=stop, ranks=ranks, keep=Keep(path))
        train_in(_network("group"), grey_noise(120), RECIPE, setting)


def test_two_processes_train_the_network_that_one_does(tmp_path: Path) -> None:
    _leave_after_a_pass(tmp_path / "left.state")
    (first, said), (second, silence) = _start(tmp_path, "")
    assert (first, second) == (2, 2), said + silence
    assert said.strip().splitlines()[-1].endswith("said once")
    assert silence == ""
    alone = Setting(ranks=Ranks(device=torch.device("cpu")), teacher=_network("group"))
    for kind, tolerance in (("group", 1e-5), ("batch", 0.2)):
        both = [_weights(tmp_path / f"{kind}{rank}.pt") for rank in "01"]
        assert _farthest(*both) == 0
        single = train_in(_network(kind), grey_noise(120), RECIPE, alone).model
        start = _network(kind).state_dict()
        assert _farthest(both[0], single.state_dict()) < tolerance
        assert _farthest(both[0], start) > 2 * tolerance
        if kind == "group":
            resumed = [_weights(tmp_path / f"resumed{rank}.pt") for rank in "01"]
            assert _farthest(*resumed) == 0
            assert _farthest(resumed[0], single.state_dict()) < tolerance
    found = _network("batch")
    found.load_state_dict(both[0])
    assert evaluate(found, grey_noise(120)).accuracy > 0.95


def test_a_launcher_that_is_not_there_is_one_clear_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.delenv("MASTER_ADDR", raising=False)
    with pytest.raises(MachineError, match=r"process 0 of 2.*never reached"), together():
        raise AssertionError("not reached")
    monkeypatch.setenv("WORLD_SIZE", "two")
    with pytest.raises(MachineError, match="WORLD_SIZE is 'two'"), together():
        raise AssertionError("not reached")


def test_alone_nothing_is_shared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    with together() as ranks:
        assert (ranks.rank, ranks.count, ranks.leads) == (0, 1, True)
    network = _network("batch")
    assert ranks.spread(network) is network
    assert ranks.sum(torch.tensor(3.0)) == 3
    assert ranks.agree(7)


if __name__ == "__main__":
    try:
        work(Path(sys.argv[1]), torch.device(sys.argv[2]) if sys.argv[2] else None)
    except InputError as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(error.exit_code)
