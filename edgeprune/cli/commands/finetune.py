"""The command finetune: trains a model.pt further by the recipe of a search."""

from pathlib import Path
from typing import Annotated

import typer

from edgeprune.cli import options
from edgeprune.cli.command import Command
from edgeprune.requirements import needs_search

finetune_app = typer.Typer()


@finetune_app.command(cls=Command)
def finetune(
    checkpoint: Annotated[Path, typer.Argument(metavar="FILE", help="The model.pt of a search.")],
    data: options.Images = None,
    teacher: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Network to distil from, as a model.pt or weights; the dense.pt beside the "
            "checkpoint by default.",
            rich_help_panel=options.WHAT,
        ),
    ] = None,
    trust_factory: options.Trust = False,
    epochs: options.Epochs = 10,
    steps: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            help="Number of training steps in all, 0 or more; takes the place of --epochs.",
            min=0,
            rich_help_panel=options.RECOVERY,
        ),
    ] = None,
    lr: options.Rate = None,
    batch: options.Batch = None,
    kd_temperature: options.Temperature = None,
    kd_weight: options.Weight = None,
    label_smoothing: options.Smoothing = None,
    ema: options.Ema = None,
    seed: options.Seed = 0,
    recalibrate: Annotated[
        bool,
        typer.Option(
            "--recalibrate",
            help="Estimate BatchNorm's statistics afresh first.",
            rich_help_panel=options.RECOVERY,
        ),
    ] = False,
    save_every: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            help="Steps between two saved states, 1 or more; one epoch by default.",
            min=1,
            rich_help_panel=options.RECOVERY,
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="File to write; NAME-finetuned.pt by default.",
            rich_help_panel=options.OUTPUT,
        ),
    ] = None,
    overwrite: options.Overwrite = False,
    resume: Annotated[
        bool,
        typer.Option(
            "--resume",
            help="Go on where this command was interrupted.",
            rich_help_panel=options.OUTPUT,
        ),
    ] = False,
    json: options.Json = None,
) -> None:
    """Fine-tune a model.pt by the recipe of a search; torchrun -m edgeprune for several GPUs."""
    needs_search("edgeprune finetune")
    from edgeprune.cli import records
    from edgeprune.cli.output import document, ready, tell
    from edgeprune.cli.progress_display import shown
    from edgeprune.run import defaults
    from edgeprune.run import finetune as finetuning

    source = data or finetuning.known_images(checkpoint)
    request = finetuning.FinetuneRequest(
        checkpoint=checkpoint,
        recipe=defaults.recovery_recipe(
            source,
            epochs=epochs,
            steps=steps,
            seed=seed,
            lr=lr,
            batch=batch,
            temperature=kd_temperature,
            alpha=kd_weight,
            label_smoothing=label_smoothing,
            ema=ema,
        ),
        source=source,
        teacher=teacher,
        out=out,
        overwrite=overwrite,
        resume=resume,
        recalibrate=recalibrate,
        trust_factory=trust_factory,
        every=save_every,
    )
    ready(json, checkpoint, teacher, out)
    with shown() as progress:
        result = finetuning.finetune(request, progress)
    if result:
        found = document("edgeprune.finetune/1", records.finetuned(result))
        tell(found, json, lambda: typer.echo(result.to_text()))
