"""The commands of the command line: each parses, calls one function, prints and exits."""

import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from edgeprune import __version__
from edgeprune.cli import options
from edgeprune.cli.export_command import export_app
from edgeprune.cli.file_commands import files_app
from edgeprune.cli.requirements import needs_search
from edgeprune.errors import InputError

app = typer.Typer(
    name="edgeprune",
    help="The fastest model that keeps its accuracy on a named edge device, measured.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
targets_app = typer.Typer(rich_markup_mode=None, add_completion=False)
devices_app = typer.Typer(rich_markup_mode=None, add_completion=False, no_args_is_help=True)
app.add_typer(targets_app, name="targets", help="List target profiles, or show one.")
app.add_typer(devices_app, name="devices", help="Reach devices.")
app.add_typer(export_app)
app.add_typer(files_app)  # without a name its commands are the app's own


@app.callback(invoke_without_command=True)
def root(
    context: typer.Context,
    version: Annotated[
        bool,
        # EDGEPRUNE_VERSION may pin what CI installs; it must not end a check with 0.
        typer.Option("--version", help="Print the version.", allow_from_autoenv=False),
    ] = False,
) -> None:
    """Set the defaults of edgeprune.toml."""
    if version:
        typer.echo(f"edgeprune {__version__}")
        raise typer.Exit
    from edgeprune.cli import project_file
    from edgeprune.cli.reports import report_usage

    commands: dict[str, Any] = context.command.commands  # type: ignore[attr-defined]
    known = {name: {str(p.name) for p in c.params} for name, c in commands.items()}
    try:
        project_file.refuse_environment(known, os.environ)
        found = project_file.defaults(known)
    except InputError as error:  # the reports that the command line names hear of it
        report_usage(sys.argv[1:], str(error), error.exit_code)
        raise
    context.default_map = found
    context.obj = project_file.told(str(context.invoked_subcommand), found)
    if context.obj:
        typer.echo(f"edgeprune: {context.obj}", err=True)


@app.command()
def search(
    target: options.TargetName = "mobile-cpu",
    model: options.ModelName = "resnet20",
    weights: Annotated[
        Path | None,
        typer.Option(help="Checkpoint of the dense model; without one it is trained on --data."),
    ] = None,
    new_head: Annotated[
        bool,
        typer.Option(
            "--new-head",
            help="Take --weights without a classifier of this size: a new one is trained, with "
            "the rest, on --data.",
        ),
    ] = False,
    data: options.Images = None,
    out: options.RunFolderPath = None,
    overwrite: options.Overwrite = False,
    mean: options.Mean = None,
    std: options.Deviation = None,
    image_size: options.Side = None,
    model_arg: options.ModelArguments = None,
    max_latency_ratio: options.LatencyRatio = None,
    max_macs_ratio: options.MacsRatio = None,
    max_params_ratio: options.ParamsRatio = None,
    max_latency_ms: options.LatencyMs = None,
    max_accuracy_drop: options.AccuracyDrop = None,
    family: options.FamilyRatios = None,
    epochs: options.Epochs = 10,
    baseline_epochs: Annotated[
        int | None,
        typer.Option(
            help="Number of passes of the dense model's training where no --weights are given; "
            "30 by default, fewer on the digits.",
            min=1,
        ),
    ] = None,
    seed: options.Seed = 0,
    device: options.Uri = None,
    strategy: Annotated[
        str | None,
        typer.Option(
            help="How channels are chosen: joint (default), gwcs, smoea, random, uniform, l1, bn, "
            "taylor or depth."
        ),
    ] = None,
    evaluations: Annotated[
        int | None,
        typer.Option(help="Number of networks to score; 160 by default, 48 on the digits.", min=1),
    ] = None,
    finalists: Annotated[
        int | None,
        typer.Option(
            help="Networks to distil before one is chosen; 4 by default, 3 on the digits.",
            min=1,
        ),
    ] = None,
    compensate: Annotated[
        options.Compensation,
        typer.Option(
            help="How layers that stay take over what was removed, without labels: refit solves "
            "for all of them, fold for those that read narrowed ones, none leaves them; auto "
            "refits before at most 200 steps of training. None also scores networks unfolded."
        ),
    ] = options.Compensation.auto,
    wavelet: Annotated[
        str,
        typer.Option(
            help="Wavelet of the wavelet criterion, such as haar, db2 or sym4; none for pixels."
        ),
    ] = "haar",
    genome: Annotated[
        options.GenomeKind,
        typer.Option(
            help="What the strategy gwcs evolves: widths, their channels looked up in the wavelet "
            "order, or the bits of all channels."
        ),
    ] = options.GenomeKind.widths,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the unfinished run in --out.")
    ] = False,
    lr: options.Rate = None,
    batch: options.Batch = None,
    kd_temperature: options.Temperature = None,
    kd_weight: options.Weight = None,
    label_smoothing: options.Smoothing = None,
    ema: options.Ema = None,
) -> None:
    """Search, slim, fine-tune, export and measure; without options on the embedded digits."""
    needs_search("search")
    from edgeprune.cli import console
    from edgeprune.prune.images.held import IMAGENET, Normalisation
    from edgeprune.prune.models.zoo import ModelSpec
    from edgeprune.prune.saliency.curvature import WaveletOptions
    from edgeprune.prune.search.engine.population import Settings
    from edgeprune.prune.search.strategies import registry
    from edgeprune.run import defaults, pipeline
    from edgeprune.run.family import Family
    from edgeprune.run.request import Request
    from edgeprune.target import load_target

    if weights and not data:
        raise InputError("--weights without --data: name the images it was trained for")
    if family and not (max_latency_ratio is None and max_latency_ms is None):
        raise InputError("--family limits the latency; leave --max-latency-ratio and -ms out")
    profile, source = load_target(target), data or "digits"
    request = Request(
        target=profile,
        model=ModelSpec(model, kwargs=dict(model_arg or ())),
        budget=defaults.budget(
            profile,
            latency_elsewhere=bool(family or max_latency_ms),
            latency=max_latency_ratio,
            macs=max_macs_ratio,
            params=max_params_ratio,
            accuracy_drop=max_accuracy_drop,
        ),
        weights=weights,
        new_head=new_head,
        source=source,
        size=defaults.side(model, image_size, profile),
        normalisation=Normalisation(mean or IMAGENET.mean, std or IMAGENET.std),
        out=out,
        overwrite=overwrite,
        resume=resume,
        baseline=defaults.dense_recipe(source, baseline_epochs, seed),
        recovery=defaults.recovery_recipe(
            source,
            epochs=epochs,
            seed=seed,
            lr=lr,
            batch=batch,
            temperature=kd_temperature,
            alpha=kd_weight,
            label_smoothing=label_smoothing,
            ema=ema,
        ),
        search=Settings(seed=seed),
        effort=defaults.effort(source, evaluations, finalists),
        wavelet=WaveletOptions(wavelet=wavelet),
        device=device or profile.device.uri,
        strategy=strategy or registry.DEFAULT,
        compensate=compensate.value,
        genome=genome.value,
        family=family or (),
        latency_ms=max_latency_ms,
    )
    with console.progress() as progress:
        outcome = pipeline.run_search(request, progress)
    if isinstance(outcome, Family):
        console.show_family(outcome, request, target)
    else:
        console.show_outcome(outcome, request, target)
    raise typer.Exit(outcome.exit_code)


@app.command()
def finetune(
    checkpoint: Annotated[Path, typer.Argument(help="The model.pt of a search.")],
    data: options.Images = None,
    teacher: Annotated[
        Path | None,
        typer.Option(
            help="Network to distil from, as a model.pt or weights; the dense.pt beside the "
            "checkpoint by default."
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="File to write; NAME-finetuned.pt by default.")
    ] = None,
    overwrite: options.Overwrite = False,
    epochs: options.Epochs = 10,
    steps: Annotated[
        int | None,
        typer.Option(help="Number of training steps in all; takes the place of --epochs.", min=0),
    ] = None,
    lr: options.Rate = None,
    batch: options.Batch = None,
    kd_temperature: options.Temperature = None,
    kd_weight: options.Weight = None,
    label_smoothing: options.Smoothing = None,
    ema: options.Ema = None,
    seed: options.Seed = 0,
    recalibrate: Annotated[
        bool, typer.Option("--recalibrate", help="Estimate BatchNorm's statistics afresh first.")
    ] = False,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on where this command was interrupted.")
    ] = False,
    save_every: Annotated[
        int | None,
        typer.Option(help="Steps between two saved states; one epoch by default.", min=1),
    ] = None,
    trust_factory: options.Trust = False,
) -> None:
    """Fine-tune a model.pt by the recipe of a search; torchrun -m edgeprune for several GPUs."""
    needs_search("finetune")
    from edgeprune.cli import console
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
    with console.progress() as progress:
        result = finetuning.finetune(request, progress)
    if result:
        typer.echo(result.to_text())


@app.command()
def check(
    context: typer.Context,
    model: Annotated[Path, typer.Argument(help="The ONNX file to judge.")],
    target: options.TargetName = "mobile-cpu",
    baseline: Annotated[
        Path | None,
        typer.Option(
            help="ONNX file of the dense model; the dense.onnx beside the model by default, where "
            "it is the one that the model records."
        ),
    ] = None,
    max_ratio: Annotated[
        float | None,
        typer.Option(help="Highest share of the dense latency; the target's by default."),
    ] = None,
    budget: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=VALUE",
            help="Budget in place of the target's, such as p90_ms=6; may be given several times.",
        ),
    ] = None,
    input_: Annotated[
        list[str] | None,
        typer.Option(
            "--input",
            metavar="NAME=1x3x224x224",
            help="Shape of an input that the file leaves open; NAME=1x1:0.5 also says the value "
            "of its elements, NAME=:16000 the value alone. May be given several times.",
        ),
    ] = None,
    on_inconclusive: Annotated[
        options.Policy,
        typer.Option(help="What an undecided budget does: exit 0 with a word, exit 4, or exit 0."),
    ] = options.Policy.warn,
    max_seconds: Annotated[
        float | None,
        typer.Option(
            help="Longest time for each timed budget in seconds; the target's by default.", min=0.1
        ),
    ] = None,
    device: options.Uri = None,
    json: options.Json = None,
    junit: Annotated[Path | None, typer.Option(help="File for the report as JUnit XML.")] = None,
    github: Annotated[
        options.GitHub,
        typer.Option(help="Write annotations and a step summary: on, off, or under GitHub alone."),
    ] = options.GitHub.auto,
    self_test: Annotated[
        bool,
        typer.Option(
            "--self-test", help="Time the model against itself: how small a ratio shows here?"
        ),
    ] = False,
) -> None:
    """Measure an ONNX file and say whether it keeps every budget of its target."""
    from edgeprune.cli.reports import Reports, on_github
    from edgeprune.deploy.devices.device import connect
    from edgeprune.deploy.gate import check as gate
    from edgeprune.target import load_target, with_budgets, with_inputs

    reports = Reports(json=json, junit=junit, github=on_github(github.value))
    reports.clear(model, baseline)
    with reports.of_failures(model, target):
        named = load_target(target)
        profile = with_inputs(with_budgets(named, budget or []), input_ or [])
        checking = gate.Options(
            baseline=baseline,
            max_ratio=max_ratio,
            on_inconclusive=on_inconclusive.value,
            max_seconds=max_seconds,
            device=connect(device or named.device.uri),
        )
        if self_test:
            from edgeprune.deploy.gate.resolution import self_test as run_self_test

            found = run_self_test(model, profile, checking)
            reports.write_self_test(found, model, profile.name)
            raise typer.Exit(found.exit_code)
        report = gate.check(model, profile, checking)
        if context.obj:  # a checkout may loosen its own gate, but not unseen
            report = replace(report, notes=(*report.notes, context.obj))
        reports.write(report)
    raise typer.Exit(report.exit_code)


@app.command()
def report(
    runs: Annotated[
        list[Path], typer.Argument(help="Run folder of a search; several are compared.")
    ],
    output: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--output",
            help="HTML file to write; report.html in the run folder by default, for several "
            "comparison.html here.",
        ),
    ] = None,
) -> None:
    """Draw what a search came to as one HTML page that needs no network; or compare several."""
    from edgeprune.report.command import write_report

    typer.echo(f"report: {write_report(runs, output)}")


@targets_app.callback(invoke_without_command=True)
def targets(context: typer.Context) -> None:
    """List target profiles, or show one."""
    if context.invoked_subcommand:
        return
    from edgeprune.cli import console
    from edgeprune.target import list_targets, load_target

    profiles = [(name, load_target(str(path))) for name, path in list_targets().items()]
    rows = [(name, profile.description, profile.proxy_for or "") for name, profile in profiles]
    console.table(("target", "description", "stands in for"), rows)


@targets_app.command("show")
def show_target(
    name: Annotated[str, typer.Argument(help="Name or path of a target profile.")],
) -> None:
    """Print a profile with every default filled in."""
    from edgeprune.target import load_target

    profile = load_target(name)
    typer.echo(profile.model_dump_json(by_alias=True, indent=2, exclude_none=True))


@devices_app.command("check")
def check_device(
    uri: Annotated[
        str,
        typer.Argument(help="local://, ssh://user@host[:port], exec:COMMAND, emulate://CORE."),
    ],
    json: options.Json = None,
) -> None:
    """Reach a device and print its fingerprint."""
    from edgeprune.cli.reports import tell
    from edgeprune.deploy.devices.fingerprint import check_device as reach

    record = reach(uri)
    tell(record.to_json(), json, record.to_text())


@devices_app.command("emulate")
def emulate_device(
    core: Annotated[
        str, typer.Argument(help="cortex-a53, cortex-a72, cortex-a76 or neoverse-n1.")
    ],
    root: Annotated[
        Path | None,
        typer.Option(help="Folder to build in, about 200 MB; in the user's cache by default."),
    ] = None,
) -> None:
    """Build an Arm core under QEMU, without root rights, for checks of all but its time."""
    from edgeprune.cli import console
    from edgeprune.deploy.devices.arm_root import build

    with console.progress() as progress:
        record = build(core, root, progress)
    typer.echo(record.to_text(), nl=False)


@app.command()
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


@app.command()
def probe(
    target: options.TargetName = "mobile-cpu",
    model: options.ModelName = "resnet20",
    classes: options.Classes = 10,
    image_size: options.Side = None,
    model_arg: options.ModelArguments = None,
    device: options.Uri = None,
    rebuild: Annotated[
        bool, typer.Option("--rebuild", help="Measure everything again, whatever is known.")
    ] = False,
) -> None:
    """Measure the latency table of a model's search space on a device."""
    needs_search("probe")
    from edgeprune.cli import console
    from edgeprune.export.inspection import probed
    from edgeprune.prune.models.zoo import ModelSpec
    from edgeprune.run.defaults import side
    from edgeprune.target import load_target

    spec, profile = ModelSpec(model, classes, dict(model_arg or ())), load_target(target)
    uri = device or profile.device.uri
    size = side(model, image_size, profile)
    with console.progress() as progress:
        report = probed(spec, size, profile, uri, rebuild=rebuild, progress=progress)
    console.show_probe(report)
