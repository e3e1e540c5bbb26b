"""The commands on a network by name: its channel groups, its latency table on a device."""

from functools import partial
from typing import Annotated

import typer

from edgeprune.cli import options
from edgeprune.cli.command import Command
from edgeprune.requirements import needs_search

networks_app = typer.Typer()


@networks_app.command(cls=Command)
def channels(
    model: options.ModelName = "resnet20",
    classes: options.Classes = 10,
    image_size: options.ImageSize = None,
    model_arg: options.ModelArguments = None,
    keep: options.Keep = None,
    only: options.Only = None,
    json: options.Json = None,
) -> None:
    """Show which channels of a model must be pruned together."""
    needs_search("edgeprune channels")
    from edgeprune.cli import console, records
    from edgeprune.cli.output import document, ready, tell
    from edgeprune.export.inspection import traced
    from edgeprune.prune.models.zoo import ModelSpec
    from edgeprune.prune.space.selection import Selection, left_whole, refuse_unmatched
    from edgeprune.run.defaults import size_of

    spec = ModelSpec(model, classes, dict(model_arg or ()))
    selection = Selection(keep=tuple(keep or ()), only=tuple(only or ()))
    ready(json)
    found = traced(spec, size_of(model, image_size))
    refuse_unmatched(selection, found.model, model)
    left = left_whole(found, selection)
    plain = {"model": model, **records.channels(found, left)}
    show = partial(console.show_channels, found, left, left.notes(selection, len(found.groups)))
    tell(document("edgeprune.channels/1", plain), json, show)


@networks_app.command(cls=Command)
def probe(
    target: options.TargetName = "mobile-cpu",
    model: options.ModelName = "resnet20",
    classes: options.Classes = 10,
    image_size: options.ImageSize = None,
    model_arg: options.ModelArguments = None,
    device: options.Uri = None,
    rebuild: Annotated[
        bool,
        typer.Option(
            "--rebuild",
            help="Measure everything again, whatever is known.",
            rich_help_panel=options.DEVICE,
        ),
    ] = False,
    json: options.Json = None,
) -> None:
    """Measure the latency table of a model's search space on a device."""
    needs_search("edgeprune probe")
    from edgeprune.cli import console, records
    from edgeprune.cli.output import document, ready, tell
    from edgeprune.cli.progress_display import shown
    from edgeprune.export.inspection import probed
    from edgeprune.prune.models.zoo import ModelSpec
    from edgeprune.run.defaults import size_of
    from edgeprune.target import load_target

    spec, profile = ModelSpec(model, classes, dict(model_arg or ())), load_target(target)
    size, uri = size_of(model, image_size, profile), device or profile.device.uri
    ready(json)
    with shown() as progress:
        report = probed(spec, size, profile, uri, rebuild=rebuild, progress=progress)
    plain = {"model": model, "target": profile.name, **records.probe(report)}
    tell(document("edgeprune.probe/1", plain), json, lambda: console.show_probe(report))
