"""The commands on a network by name: its channel groups, its latency table on a device."""

from typing import Annotated

import typer

from edgeprune.cli import options
from edgeprune.cli.command import Command
from edgeprune.cli.requirements import needs_search

networks_app = typer.Typer()


@networks_app.command(cls=Command)
def channels(
    model: options.ModelName = "resnet20",
    classes: options.Classes = 10,
    image_size: options.ImageSides = None,
    model_arg: options.ModelArguments = None,
) -> None:
    """Show which channels of a model must be pruned together."""
    needs_search("channels")
    from edgeprune.cli import console
    from edgeprune.export.inspection import traced
    from edgeprune.prune.models.zoo import ModelSpec
    from edgeprune.run.defaults import side

    spec = ModelSpec(model, classes, dict(model_arg or ()))
    usual = side(model, None)
    console.show_channels(traced(spec, image_size or (usual, usual)))


@networks_app.command(cls=Command)
def probe(
    target: options.TargetName = "mobile-cpu",
    model: options.ModelName = "resnet20",
    classes: options.Classes = 10,
    image_size: options.Side = None,
    model_arg: options.ModelArguments = None,
    device: options.Uri = "local://",
    rebuild: Annotated[
        bool,
        typer.Option(
            "--rebuild",
            help="Measure everything again, whatever is known.",
            rich_help_panel=options.DEVICE,
        ),
    ] = False,
) -> None:
    """Measure the latency table of a model's search space on a device."""
    needs_search("probe")
    from edgeprune.cli import console
    from edgeprune.cli.progress_display import shown
    from edgeprune.export.inspection import probed
    from edgeprune.prune.models.zoo import ModelSpec
    from edgeprune.run.defaults import side
    from edgeprune.target import load_target

    spec, profile = ModelSpec(model, classes, dict(model_arg or ())), load_target(target)
    size = side(model, image_size, profile)
    with shown() as progress:
        report = probed(spec, size, profile, device, rebuild=rebuild, progress=progress)
    console.show_probe(report)
