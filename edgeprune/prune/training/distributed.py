"""Data-parallel training under torchrun: shares of each batch, averaged gradients, exchange."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib import import_module

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from edgeprune.errors import EdgepruneError, MachineError
from edgeprune.prune.models.placement import best_device


@dataclass(frozen=True)
class Ranks:
    """One process of a training, alone or among others.

    Every process takes its share of each batch, gradients are averaged over the whole batch,
    and the first one prints and writes.

    Attributes:
        rank: Number of this process, from 0.
        count: Number of processes.
        device: Device that this process computes on.
    """

    rank: int = 0
    count: int = 1
    device: torch.device = field(default_factory=best_device)

    @property
    def leads(self) -> bool:
        """Whether this process prints and writes."""
        return self.rank == 0

    def spread(self, model: nn.Module) -> nn.Module:
        """The network as one that starts from the first process's weights and shares gradients.

        On CUDA its BatchNorm layers are replaced by ones that see the whole batch; torch has
        none for the CPU, where each process normalises by its own share.
        """
        if self.count == 1:
            return model
        cuda = self.device.type == "cuda"
        if cuda:
            model = nn.SyncBatchNorm.convert_sync_batchnorm(model)  # type: ignore[no-untyped-call]
        # A user's network may hold weights that it never uses: a static graph allows that.
        return DistributedDataParallel(
            model, device_ids=[self.device] if cuda else None, static_graph=True
        )

    def sum(self, value: Tensor) -> Tensor:
        """The sum of a tensor over all processes, on this one's device, without gradient."""
        total = value.detach().clone()
        if self.count > 1:
            dist.all_reduce(total)
        return total

    def level(self, model: nn.Module) -> None:
        """Give every process the first one's BatchNorm statistics."""
        if self.count > 1:
            for buffer in model.buffers():
                dist.broadcast(buffer, 0)

    def agree(self, number: int) -> bool:
        """Whether every process brings the same number."""
        brought = torch.tensor([number, -number], dtype=torch.int64, device=self.device)
        if self.count > 1:
            dist.all_reduce(brought, dist.ReduceOp.MAX)
        return int(brought[0]) == -int(brought[1])

    @contextmanager
    def in_turn(self) -> Iterator[None]:
        """The first process goes first; where it fails it says why, and the others leave."""
        if self.count == 1:
            yield
        elif not self.leads:
            code = self._highest(0)
            if code:
                raise SystemExit(code)
            yield
        else:
            try:
                yield
            except BaseException as error:
                self._highest(getattr(error, "exit_code", EdgepruneError.exit_code))
                raise
            self._highest(0)

    def _highest(self, code: int) -> int:
        """The highest exit code that a process gives."""
        # Not a broadcast: its sender could be gone before the others have read it.
        sent = torch.tensor([code], device=self.device)
        dist.all_reduce(sent, dist.ReduceOp.MAX)
        return int(sent)


@contextmanager
def together() -> Iterator[Ranks]:
    """Join the other processes that torchrun started; alone where there are none.

    NCCL joins processes on CUDA, one device each; gloo joins those on the CPU.

    Raises:
        MachineError: There are fewer devices than processes, they cannot reach each other, or
            another one has stopped.
    """
    count = _from_environment("WORLD_SIZE", 1)
    if count == 1:
        yield Ranks()
        return
    ranks = Ranks(_from_environment("RANK", 0), count, _device())
    # Imported while a group is open, as DDP does, this module keeps that group for ever in its
    # default arguments; a thread of gloo's that lets go of a tensor while Python shuts down then
    # aborts the process.
    import_module("torch.distributed.nn.functional")
    try:
        dist.init_process_group("nccl" if ranks.device.type == "cuda" else "gloo")
        yield ranks
        dist.barrier()  # who ends early would cut off the others' last exchange
    except (RuntimeError, ValueError) as error:
        if isinstance(error, dist.DistError) or not dist.is_initialized() or "gloo" in str(error):
            reason = str(error).strip().splitlines()[0]
            raise MachineError(
                f"process {ranks.rank} of {count} lost the others, or never reached them: {reason}"
            ) from None
        raise
    finally:
        if dist.is_initialized():
            dist.destroy_process_group()


def _device() -> torch.device:
    """The CUDA device with the number of this process on its machine, or the CPU."""
    if not torch.cuda.is_available():
        return torch.device("cpu")
    local, found = _from_environment("LOCAL_RANK", 0), torch.cuda.device_count()
    if local >= found:
        raise MachineError(
            f"torchrun started more processes than there are CUDA devices; "
            f"start it with --nproc-per-node {found}"
        )
    torch.cuda.set_device(local)
    return torch.device("cuda", local)


def _from_environment(name: str, default: int) -> int:
    text = os.environ.get(name, str(default))
    try:
        return max(0, int(text))
    except ValueError:
        raise MachineError(f"{name} is {text!r}, not a number; start it with torchrun") from None
