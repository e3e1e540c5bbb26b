"""Export of a model.pt that edgeprune wrote, in the number format of its target."""

from pathlib import Path

from pydantic import ValidationError
from torch import nn

from edgeprune.errors import InputError
from edgeprune.export.file_options import PLAIN, FileOptions
from edgeprune.export.number_format import ship_as_asked
from edgeprune.export.sealed_file import Shipped, exported
from edgeprune.files import refuse_existing
from edgeprune.prune.models import checkpoint
from edgeprune.prune.slimming.reload import load_slim
from edgeprune.target import TargetProfile, load_target
from edgeprune.target_overrides import with_precision


def export_checkpoint(  # noqa: PLR0913 - a file, where to, and what may stand for its code
    path: Path,
    out: Path | None = None,
    target: str | None = None,
    *,
    overwrite: bool = False,
    trust_factory: bool = False,
    into: nn.Module | None = None,
    options: FileOptions = PLAIN,
) -> Shipped:
    """Export a model.pt that edgeprune wrote.

    Args:
        path: The checkpoint.
        out: The ONNX file; ``model.onnx`` beside the checkpoint by default.
        target: Profile by name or path; the one the checkpoint was searched for by default.
        overwrite: Replace ``out``.
        trust_factory: Run the ``module:factory`` that the checkpoint names.
        into: The dense network, in place of building it by name.
        options: What else is asked of the file.

    Raises:
        InputError: the checkpoint, the target or ``out`` is not as it should be.
        PromiseError: the file does not give torch's answers.
    """
    out = out or path.with_name("model.onnx")
    refuse_existing(out, overwrite=overwrite)
    found = load_target(target) if target else _recorded_target(path)
    profile = with_precision(found, options.precision)
    model, record = load_slim(path, trust_factory, into)
    network = exported(model, record, path, options)
    return ship_as_asked(network, record, profile, out, overwrite=overwrite, options=options)


def _recorded_target(path: Path) -> TargetProfile:
    try:
        return TargetProfile.model_validate(checkpoint.read(path).history.get("target"))
    except ValidationError:
        raise InputError(f"{path} records no target of this version; pass --target") from None
