"""The command search: from a dense model to a slim, fine-tuned, exported, measured one."""

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from edgeprune.cli import choices, completion, options, values
from edgeprune.cli.command import Command
from edgeprune.requirements import needs_search

search_app = typer.Typer()
TARGET = "mobile-cpu"
TargetNames = Annotated[
    list[str],
    typer.Option(
        "--target",
        metavar="NAME",
        help="Name or path of a target profile; `edgeprune targets` lists the names. May be "
        "given several times: a model for each, from one search that shares what it scores.",
        autocompletion=completion.targets,
        rich_help_panel=options.WHAT,
    ),
]
Uris = Annotated[
    list[str] | None,
    typer.Option(
        "--device",
        metavar="URI or TARGET=URI",
        help="Where to measure: local://, ssh://user@host[:port], exec:COMMAND (that starts "
        "Python) or dask://HOST:PORT/TARGET; the target's by default, else local://. TARGET=URI "
        "is for one of several targets; may be given several times.",
        autocompletion=completion.devices,
        rich_help_panel=options.DEVICE,
    ),
]


@search_app.command(cls=Command)
def search(
    target: TargetNames = [TARGET],  # noqa: B006  typer wants a list, and copies it
    model: options.ModelName = "resnet20",
    weights: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Checkpoint of the dense model; without one it is trained on --data.",
            rich_help_panel=options.WHAT,
        ),
    ] = None,
    new_head: Annotated[
        bool,
        typer.Option(
            "--new-head",
            help="Take --weights without a classifier of this size: a new one is trained, with "
            "the rest, on --data.",
            rich_help_panel=options.WHAT,
        ),
    ] = False,
    task: options.TaskWord = choices.Task.classification,
    data: options.Images = None,
    mean: options.Mean = None,
    std: options.Deviation = None,
    image_size: options.ImageSize = None,
    model_arg: options.ModelArguments = None,
    keep: options.Keep = None,
    only: options.Only = None,
    max_latency_ratio: options.LatencyRatio = None,
    max_macs_ratio: options.MacsRatio = None,
    max_params_ratio: options.ParamsRatio = None,
    max_latency_ms: options.LatencyMs = None,
    max_accuracy_drop: options.AccuracyDrop = None,
    max_output_error: options.OutputError = None,
    family: options.FamilyRatios = None,
    strategy: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="How channels are chosen: joint (default), gwcs, smoea, random, uniform, l1, bn, "
            "taylor or depth.",
            autocompletion=completion.strategies,
            rich_help_panel=options.SEARCH,
        ),
    ] = None,
    evaluations: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            help="Number of networks to score, 6 or more (random and gwcs: 1); 176 by default, 64 "
            "on the digits. Further ratios of --family have a quarter of it each, a search that "
            "is repeated after measuring a tenth.",
            min=1,
            rich_help_panel=options.SEARCH,
        ),
    ] = None,
    finalists: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            help="Number of networks to distil before one is chosen, 1 or more; 4 by default, 3 "
            "on the digits.",
            min=1,
            rich_help_panel=options.SEARCH,
        ),
    ] = None,
    wavelet: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="Wavelet of the wavelet criterion, such as haar, db2 or sym4; none for pixels.",
            rich_help_panel=options.SEARCH,
        ),
    ] = "haar",
    genome: Annotated[
        choices.GenomeKind,
        typer.Option(
            help="What the strategy gwcs evolves: widths, their channels looked up in the wavelet "
            "order, or the bits of all channels.",
            rich_help_panel=options.SEARCH,
        ),
    ] = choices.GenomeKind.widths,
    time_budget: Annotated[
        float | None,
        typer.Option(
            parser=values.seconds,
            metavar="TIME",
            help="Longest time of the whole run, such as 90s, 30m or 1h30m: the search ends with "
            "the best so far when what follows it needs the rest.",
            rich_help_panel=options.SEARCH,
        ),
    ] = None,
    seed: options.Seed = 0,
    compensate: Annotated[
        choices.Compensation,
        typer.Option(
            help="How layers that stay take over what was removed, without labels: refit solves "
            "for all of them, fold for those that read narrowed ones, none leaves them; auto "
            "refits before at most 200 steps of training. None also scores networks unfolded.",
            rich_help_panel=options.RECOVERY,
        ),
    ] = choices.Compensation.auto,
    epochs: options.Epochs = 10,
    baseline_epochs: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            help="Passes of the dense model's training over the images where no --weights are "
            "given, 1 or more; 30 by default, 12 on the digits.",
            min=1,
            rich_help_panel=options.RECOVERY,
        ),
    ] = None,
    lr: options.Rate = None,
    batch: options.Batch = None,
    kd_temperature: options.Temperature = None,
    kd_weight: options.Weight = None,
    label_smoothing: options.Smoothing = None,
    ema: options.Ema = None,
    workers: Annotated[
        int,
        typer.Option(
            metavar="N",
            help="Compute scores, statistics and the fine-tuning in N processes of one thread "
            "each; 0 for this one. Needs the extra [dask], as --scheduler does.",
            min=0,
            rich_help_panel=options.SEARCH,
        ),
    ] = 0,
    scheduler: Annotated[
        str,
        typer.Option(
            metavar="URL",
            help="Compute them on the workers of a Dask scheduler: tcp://HOST:8786 or tls://.",
            show_default=False,
            rich_help_panel=options.SEARCH,
        ),
    ] = "",
    device: Uris = None,
    precision: options.Precision = None,
    out: options.RunFolderPath = None,
    overwrite: options.Overwrite = False,
    resume: Annotated[
        bool,
        typer.Option(
            "--resume",
            help="Go on with the unfinished run in --out.",
            rich_help_panel=options.OUTPUT,
        ),
    ] = False,
    json: options.Json = None,
) -> None:
    """Search, slim, fine-tune, export and measure; without options on the embedded digits."""
    needs_search("edgeprune search")
    from edgeprune.cli import console, records
    from edgeprune.cli.output import document, ready, tell
    from edgeprune.cli.progress_display import shown
    from edgeprune.run import pipeline
    from edgeprune.run.family import Family
    from edgeprune.run.outcome import Outcome
    from edgeprune.run.search_options import SearchOptions, requests_of
    from edgeprune.run.targets import Targets, search_targets

    asked = SearchOptions(
        model=model,
        weights=weights,
        new_head=new_head,
        task=task.value,
        data=data,
        mean=mean,
        std=std,
        image_size=image_size,
        model_arg=dict(model_arg or ()),
        keep=tuple(keep or ()),
        only=tuple(only or ()),
        max_latency_ratio=max_latency_ratio,
        max_macs_ratio=max_macs_ratio,
        max_params_ratio=max_params_ratio,
        max_latency_ms=max_latency_ms,
        max_accuracy_drop=max_accuracy_drop,
        max_output_error=max_output_error,
        family=family or (),
        strategy=strategy,
        evaluations=evaluations,
        finalists=finalists,
        wavelet=wavelet,
        genome=genome.value,
        time_budget=time_budget,
        seed=seed,
        compensate=compensate.value,
        epochs=epochs,
        baseline_epochs=baseline_epochs,
        lr=lr,
        batch=batch,
        kd_temperature=kd_temperature,
        kd_weight=kd_weight,
        label_smoothing=label_smoothing,
        ema=ema,
        precision=precision,
        out=out,
        overwrite=overwrite,
        resume=resume,
        workers=workers,
        scheduler=scheduler,
    )
    requests = requests_of(asked, target, device or ())
    ready(json, weights)
    found: Targets | Family | Outcome
    with shown() as progress:
        if len(requests) > 1:
            found = search_targets(requests, progress)
        else:
            found = pipeline.run_search(requests[0], progress)
    if isinstance(found, Targets):
        plain = records.targets_run(found)
        show = partial(console.show_targets, found, target)
    elif isinstance(found, Family):
        plain = records.family(found)
        show = partial(console.show_family, found, requests[0], target[0])
    else:
        plain = records.outcome(found)
        show = partial(console.show_outcome, found, requests[0], target[0])
    tell(document("edgeprune.search/1", plain), json, show)
    raise typer.Exit(found.exit_code)
