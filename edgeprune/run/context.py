"""The context of one run: all that its steps share, once it is set up."""

from dataclasses import dataclass, field, replace
from functools import cached_property

from torch import nn

from edgeprune.deploy.devices.device import Device
from edgeprune.deploy.precision.trials import Aim
from edgeprune.deploy.table.latency_model import Predictor
from edgeprune.deploy.table.stand_in import StandIn
from edgeprune.export.exported import Exported
from edgeprune.export.int8 import Int8, Int8Model
from edgeprune.export.sealed_file import sample_pixels
from edgeprune.export.slim_export import SlimExport
from edgeprune.progress import Progress
from edgeprune.prune.images.datasets import DataSet, resize_rule
from edgeprune.prune.models.checkpoint import Checkpoint
from edgeprune.prune.search.evaluation.problem import Problem
from edgeprune.prune.space.choice import Choice
from edgeprune.prune.space.macs import CostModel
from edgeprune.prune.space.plan import PruningPlan
from edgeprune.prune.training.dense import DenseModel, dense_record
from edgeprune.prune.training.task import Compared, Task
from edgeprune.run.basis import Basis, Earlier
from edgeprune.run.elsewhere import Elsewhere
from edgeprune.run.folder import RunFolder
from edgeprune.run.measured_search import Timing
from edgeprune.run.request import Request
from edgeprune.run.time_budget import TimeBudget


@dataclass(frozen=True, kw_only=True)
class RunContext:
    """All that the steps of one run share.

    Attributes:
        request: What is wanted.
        folder: The run folder.
        progress: Called as each step goes on.
        device: Where the table, the candidates and the result are measured.
        basis: Images and dense model, which no device changes.
        latency: Predicted latency of any widths, by the measured table.
        stand_in: Whose table that is.
        timing: How candidates are measured against the dense model, as ``edgeprune check`` does.
        problem: What strategies look at.
        int8: How networks become int8; None where the target runs fp32.
        elsewhere: Other processes that do heavy work in place of this one; None without them.
        time: What is left of the time budget.
        beside: The searches for other targets before this one.
    """

    request: Request
    folder: RunFolder
    progress: Progress
    device: Device
    basis: Basis
    latency: Predictor
    stand_in: StandIn
    timing: Timing
    problem: Problem
    int8: Int8 | None = None
    elsewhere: Elsewhere | None = None
    time: TimeBudget = field(default_factory=TimeBudget)
    beside: tuple[Earlier, ...] = ()

    @cached_property
    def dense_int8(self) -> Int8Model | None:
        """The dense model in int8, the control of every int8 result; None in fp32."""
        if self.int8 is None:
            return None
        return self.int8.proven(self.int8.recovered(self.dense.proto, self.aim(self.int8)))

    def aim(self, int8: Int8) -> Aim:
        """When an int8 network of this run has won back enough: on validation images."""
        allowed = self.request.budget.accuracy_drop
        return int8.aim(self.origin.figure, self.images.val, allowed, self.timing.setting)

    @cached_property
    def counts(self) -> CostModel:
        """Exact MACs and parameters of widths."""
        return CostModel(self.problem.trace)

    @property
    def images(self) -> DataSet:
        """Train, validation and test images."""
        return self.basis.images

    @property
    def origin(self) -> DenseModel:
        """Where the dense model came from and what it scores."""
        return self.basis.origin

    @property
    def dense(self) -> Exported:
        """The dense model with its shortcuts rewritten, and as exported."""
        return self.basis.dense

    @property
    def export(self) -> SlimExport:
        """From the dense network or a slim one to its ONNX model."""
        return self.basis.export

    def plan(self, choice: Choice) -> PruningPlan:
        """A choice as the plan that this run writes, with what its user left whole."""
        return choice.plan(self.problem.model).model_copy(
            update={"left_whole": self.problem.space.left.groups}
        )

    @property
    def left_whole(self) -> tuple[str, ...]:
        """What its user left whole, a line each."""
        space = self.problem.space
        return space.left.notes(self.request.selection, len(space.groups))

    @property
    def passed_module(self) -> nn.Module | None:
        """A copy of the module that was passed in Python; None where a name builds it."""
        return self.origin.model if self.request.model.is_instance else None

    @property
    def task(self) -> Task:
        """What networks are trained and judged by."""
        return self.basis.task

    def validated(self, network: nn.Module) -> float:
        """The figure of a network on the validation images."""
        return self.task.measured(network, self.dense.model, self.images.val)

    def tested(self, network: nn.Module) -> Compared:
        """The dense network and another on the test images; nothing may be decided by it."""
        return self.task.compared(self.basis.reference, network, self.images)

    @property
    def record(self) -> Checkpoint:
        """What is known of the dense model, for its file and for that of the slim one."""
        history = {
            "target": self.request.target.model_dump(mode="json", by_alias=True),
            "data": self.images.name,
            "resize": resize_rule(self.request.source, self.images.input_shape[1:]),
            "baseline": self.origin.origin,
            "baseline_saw_validation": self.origin.seen_validation,
            **({"task": self.task.name} if self.task.name != "classification" else {}),
        }
        record = dense_record(self.basis.spec, self.images, self.dense.model)
        return replace(record, history=history, images=sample_pixels(self.images))
