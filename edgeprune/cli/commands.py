"""The commands: parse, call one function, print, exit code."""

import os
from enum import StrEnum
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgeprune import __version__
from edgeprune.errors import InputError, MachineError

if TYPE_CHECKING:
    from edgeprune.deploy.gate.verdicts import Report

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

SEARCH_EXTRA = ["torch", "torchvision", "onnxscript", "deap", "ptwt", "pywt", "sklearn"]


class Policy(StrEnum):
    """What an undecided budget means."""

    warn = "warn"
    fail = "fail"
    passed = "pass"


class GitHub(StrEnum):
    """Whether to write annotations and a step summary."""

    auto = "auto"
    on = "on"
    off = "off"


TargetName = Annotated[str, typer.Option("--target", help="Target profile: a name or a path.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace what is there.")]
Trust = Annotated[
    bool, typer.Option("--trust-factory", help="Run the module:factory that model.pt names.")
]
ModelName = Annotated[
    str, typer.Option("--model", help="resnet20, vgg16, resnet18, ... or package.module:factory.")
]
Uri = Annotated[str, typer.Option("--device", help="local:// or ssh://user@host[:port].")]
Side = Annotated[int | None, typer.Option(help="Side of the input in pixels.", min=1)]
Three = Annotated[
    tuple[float, float, float] | None, typer.Option(help="Red, green, blue; default ImageNet.")
]


def _limit(text: str) -> float:
    """A number, or infinity for ``none``: the profile's limit is dropped."""
    try:
        return float("inf" if text == "none" else text)
    except ValueError:
        raise typer.BadParameter(f"{text!r} is neither a number nor none") from None


Share = Annotated[
    float | None,
    typer.Option(
        parser=_limit,
        metavar="RATIO",
        help="Share of the dense model's, or none; default: profile.",
    ),
]

Images = Annotated[
    str | None,
    typer.Option("--data", help="digits, cifar10, cifar100 or a folder of image folders."),
]
Rate = Annotated[float | None, typer.Option("--lr", help="Highest learning rate; default 0.05.")]
Batch = Annotated[int | None, typer.Option(help="Images a step; default 128, digits 64.")]
Temperature = Annotated[
    float | None, typer.Option(help="Softens what the teacher says; default 4.")
]
Weight = Annotated[
    float | None, typer.Option(help="Of the teacher, 0 to 1; default 0.7, 0 for labels alone.")
]
Smoothing = Annotated[float | None, typer.Option(help="Of the labels; default 0, off.")]
Ema = Annotated[
    float | None, typer.Option(help="Decay of an average of the weights, 0.999; default off.")
]


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

    commands: dict[str, Any] = context.command.commands  # type: ignore[attr-defined]
    options = {name: {str(p.name) for p in c.params} for name, c in commands.items()}
    context.default_map = project_file.defaults(options)


@app.command()
def search(
    target: TargetName = "mobile-cpu",
    model: ModelName = "resnet20",
    weights: Annotated[Path | None, typer.Option(help="Checkpoint of the dense model.")] = None,
    data: Images = None,
    out: Annotated[Path | None, typer.Option(help="Run folder.")] = None,
    overwrite: Overwrite = False,
    mean: Three = None,
    std: Three = None,
    image_size: Side = None,
    model_arg: Annotated[
        list[str] | None, typer.Option(help="NAME=VALUE for the model's constructor; repeat.")
    ] = None,
    max_latency_ratio: Share = None,
    max_macs_ratio: Share = None,
    max_params_ratio: Share = None,
    max_latency_ms: Annotated[
        float | None, typer.Option(help="Median on --device; takes the profile's ratio's place.")
    ] = None,
    max_accuracy_drop: Annotated[
        float | None,
        typer.Option(parser=_limit, metavar="POINTS", help="Percentage points, or none."),
    ] = None,
    family: Annotated[
        str | None, typer.Option(help="One model for each latency ratio: 0.7,0.5,0.35.")
    ] = None,
    epochs: Annotated[int, typer.Option(help="Epochs of fine-tuning.", min=0)] = 10,
    baseline_epochs: Annotated[
        int | None, typer.Option(help="Epochs of training without --weights.", min=1)
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of search and fine-tuning.")] = 0,
    device: Uri = "local://",
    strategy: Annotated[
        str | None, typer.Option(help="How channels are chosen; docs/search.md has them.")
    ] = None,
    evaluations: Annotated[
        int | None, typer.Option(help="Networks to score; 400, on digits 150.", min=1)
    ] = None,
    finalists: Annotated[
        int | None,
        typer.Option(help="Networks to distil before one is chosen; 8, on digits 6.", min=1),
    ] = None,
    wavelet: Annotated[
        str | None, typer.Option(help="Of the wavelet criterion: haar, db2, sym4, ...")
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the unfinished run in --out.")
    ] = False,
    lr: Rate = None,
    batch: Batch = None,
    kd_temperature: Temperature = None,
    kd_weight: Weight = None,
    label_smoothing: Smoothing = None,
    ema: Ema = None,
) -> None:
    """Search, slim, fine-tune, export and measure; without options on the embedded digits."""
    _needs_search("search")
    from edgeprune.cli import console
    from edgeprune.cli import options as asking
    from edgeprune.run import pipeline

    if weights and not data:
        raise InputError("--weights without --data: name the images it was trained for")
    request = asking.request(
        asking.Flags(
            target,
            model,
            model_arg or [],
            data or "digits",
            image_size,
            (mean, std),
            (max_latency_ratio, max_macs_ratio, max_params_ratio, max_accuracy_drop),
            max_latency_ms,
            family,
            (epochs, baseline_epochs, seed),
            device,
            strategy,
            resume,
            (evaluations, finalists, wavelet),
            _recipe(lr, batch, (kd_temperature, kd_weight), label_smoothing, ema),
        ),
        weights,
        out,
        overwrite=overwrite,
    )
    with console.progress() as progress:
        outcome = pipeline.run_search(request, progress)
    if isinstance(outcome, pipeline.Family):
        console.show_family(outcome, request, target)
    else:
        console.show_outcome(outcome, request, target)
    raise typer.Exit(outcome.exit_code)


@app.command()
def finetune(
    checkpoint: Annotated[Path, typer.Argument(help="model.pt of a search.")],
    data: Images = None,
    teacher: Annotated[
        Path | None, typer.Option(help="model.pt or weights; default: dense.pt beside it.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="File; default: NAME-finetuned.pt.")] = None,
    overwrite: Overwrite = False,
    epochs: Annotated[int, typer.Option(help="Passes over the images.", min=0)] = 10,
    steps: Annotated[
        int | None, typer.Option(help="Batches in all, in place of --epochs.", min=0)
    ] = None,
    lr: Rate = None,
    batch: Batch = None,
    kd_temperature: Temperature = None,
    kd_weight: Weight = None,
    label_smoothing: Smoothing = None,
    ema: Ema = None,
    seed: Annotated[int, typer.Option(help="Seed of order and augmentation.")] = 0,
    recalibrate: Annotated[
        bool, typer.Option("--recalibrate", help="Estimate BatchNorm's statistics afresh first.")
    ] = False,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on where this command was interrupted.")
    ] = False,
    save_every: Annotated[
        int | None, typer.Option(help="Steps between states; default: each epoch.", min=1)
    ] = None,
    trust_factory: Trust = False,
) -> None:
    """Fine-tune a model.pt by the recipe of a search; torchrun -m edgeprune for several GPUs."""
    _needs_search("finetune")
    from edgeprune.cli import console
    from edgeprune.cli import options as asking
    from edgeprune.run import finetune as retrain

    given = _recipe(lr, batch, (kd_temperature, kd_weight), label_smoothing, ema)
    source = data or retrain.known_images(checkpoint)
    wanted = retrain.Retraining(
        checkpoint,
        asking.recipe(source, {**given, "epochs": epochs, "steps": steps, "seed": seed}),
        source,
        teacher,
        out,
        overwrite,
        resume,
        recalibrate,
        trust_factory,
        save_every,
    )
    with console.progress() as progress:
        done = retrain.retrain(wanted, progress)
    if done:
        typer.echo(done.to_text())


@app.command()
def export(
    checkpoint: Annotated[Path, typer.Argument(help="model.pt of a search.")],
    output: Annotated[Path | None, typer.Option("-o", "--output")] = None,
    target: Annotated[str | None, typer.Option(help="Default: the checkpoint's.")] = None,
    overwrite: Overwrite = False,
    trust_factory: Trust = False,
) -> None:
    """Export a model.pt to a sealed ONNX file that gives torch's answers."""
    _needs_search("export")
    from edgeprune.export.sealed_file import export_checkpoint

    shipped = export_checkpoint(
        checkpoint, output, target, overwrite=overwrite, trust_factory=trust_factory
    )
    typer.echo(
        f"{shipped.path}: {shipped.bytes:,} bytes for {shipped.target.name}, "
        f"{shipped.parity.max_abs:.1e} from torch on {shipped.parity.images} real images"
    )


@app.command()
def check(
    model: Annotated[Path, typer.Argument(help="ONNX file.")],
    target: TargetName = "mobile-cpu",
    baseline: Annotated[Path | None, typer.Option(help="Reference ONNX file.")] = None,
    max_ratio: Annotated[float | None, typer.Option(help="Limit of the latency ratio.")] = None,
    budget: Annotated[
        list[str] | None, typer.Option(help="NAME=VALUE replaces the target's; repeat.")
    ] = None,
    on_inconclusive: Annotated[Policy, typer.Option()] = Policy.warn,
    max_seconds: Annotated[float | None, typer.Option(help="Longest timing.", min=0.1)] = None,
    device: Uri = "local://",
    json: Annotated[str | None, typer.Option(help="Write the report to FILE, or - .")] = None,
    junit: Annotated[Path | None, typer.Option(help="Write JUnit XML.")] = None,
    github: Annotated[GitHub, typer.Option()] = GitHub.auto,
    self_test: Annotated[
        bool, typer.Option("--self-test", help="What can this machine tell apart?")
    ] = False,
) -> None:
    """Measure an ONNX file and say whether it keeps every budget of its target."""
    from edgeprune.deploy.devices import device as devices
    from edgeprune.deploy.gate import check as gate
    from edgeprune.target import load_target, with_budgets

    profile = with_budgets(load_target(target), budget or [])
    for path in (junit, Path(json) if json and json != "-" else None):
        if path and not path.parent.is_dir():
            raise InputError(f"{path} cannot be written: there is no folder {path.parent}")
        if path and path.is_dir():
            raise InputError(f"{path} is a folder; name a file in it")
    options = gate.Options(
        baseline=baseline,
        max_ratio=max_ratio,
        on_inconclusive=on_inconclusive.value,
        max_seconds=max_seconds,
        device=devices.connect(device),
    )
    if self_test:
        from edgeprune.deploy.gate.resolution import self_test as run_self_test

        found = run_self_test(model, profile, options)
        _write_json(found.to_json(), json, found.to_text())
        raise typer.Exit(found.exit_code)
    report = gate.check(model, profile, options)
    _show_report(report, json, junit, github)
    raise typer.Exit(report.exit_code)


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
def show_target(name: str) -> None:
    """Print a profile with every default filled in."""
    from edgeprune.target import load_target

    profile = load_target(name)
    typer.echo(profile.model_dump_json(by_alias=True, indent=2, exclude_none=True))


@devices_app.command("check")
def check_device(
    uri: str, json: Annotated[str | None, typer.Option(help="Write it to FILE, or - .")] = None
) -> None:
    """Reach a device and print its fingerprint."""
    from edgeprune.deploy.devices.fingerprint import check_device as reach

    record = reach(uri)
    _write_json(record.to_json(), json, record.to_text())


@app.command()
def channels(
    model: ModelName = "resnet20",
    classes: Annotated[int, typer.Option(help="Outputs of the model.", min=1)] = 10,
    image_size: Side = None,
    model_arg: Annotated[list[str] | None, typer.Option(help="NAME=VALUE; repeat.")] = None,
) -> None:
    """Show which channels of a model live or die together."""
    _needs_search("channels")
    from edgeprune.cli import console
    from edgeprune.cli import options as asking

    groups, unfollowed = asking.channel_rows(model, classes, image_size, model_arg or [])
    console.table(("group", "width", "stage", "block", "droppable", "tensors"), groups)
    for line in unfollowed:
        typer.echo(f"kept whole: {line}")


@app.command()
def probe(
    target: TargetName = "mobile-cpu",
    model: ModelName = "resnet20",
    classes: Annotated[int, typer.Option(help="Outputs of the model.", min=1)] = 10,
    image_size: Side = None,
    model_arg: Annotated[list[str] | None, typer.Option(help="NAME=VALUE; repeat.")] = None,
    device: Uri = "local://",
    rebuild: Annotated[bool, typer.Option("--rebuild", help="Measure everything again.")] = False,
) -> None:
    """Measure the latency table of a model's search space on a device."""
    _needs_search("probe")
    from edgeprune.cli import console
    from edgeprune.cli import options as asking

    with console.progress() as progress:
        spec = asking.spec(model, classes, model_arg or [])
        report = asking.probe(spec, image_size, target, device, rebuild=rebuild, progress=progress)
    console.show_probe(report)


def _recipe(
    lr: float | None,
    batch: int | None,
    teacher: tuple[float | None, float | None],
    label_smoothing: float | None,
    ema: float | None,
) -> dict[str, float | None]:
    """Options of the recovery recipe under the names that the library gives them."""
    return {
        "lr": lr,
        "batch": batch,
        "temperature": teacher[0],
        "alpha": teacher[1],
        "label_smoothing": label_smoothing,
        "ema": ema,
    }


def _needs_search(command: str) -> None:
    missing = [name for name in SEARCH_EXTRA if not find_spec(name)]
    if missing:
        raise MachineError(
            f"edgeprune {command} needs {missing[0]}, which is not installed: "
            'pip install "edgeprune[search]"'
        )
    # Read once, when torch is first imported: waiting threads give their core away. With a
    # neighbour on it, a spinning pool trains several times slower than one thread does.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def _show_report(report: "Report", json: str | None, junit: Path | None, github: GitHub) -> None:
    from edgeprune.deploy.gate import formats
    from edgeprune.files import write_whole

    _write_json(report.to_json(), json, formats.to_text(report))
    if junit:
        write_whole(junit, formats.to_junit(report).encode())
    if github == GitHub.on or (github == GitHub.auto and os.environ.get("GITHUB_ACTIONS")):
        typer.echo(formats.to_annotations(report), nl=False, err=json == "-")
        _append_summary(formats.to_markdown(report))


def _append_summary(markdown: str) -> None:
    summary = os.environ.get("GITHUB_STEP_SUMMARY")
    try:
        if summary:
            with Path(summary).open("a", encoding="utf-8") as f:
                f.write(markdown)
    except OSError as error:  # the verdict does not hang on it
        typer.echo(f"edgeprune: no step summary: {summary}: {error.strerror}", err=True)


def _write_json(json: str, where: str | None, text: str) -> None:
    """JSON alone on stdout under ``-``, so that it can be piped; else text, and JSON to a file."""
    from edgeprune.files import write_whole

    if where == "-":
        typer.echo(json, nl=False)
        return
    typer.echo(text, nl=False)
    if where:
        write_whole(Path(where), json.encode())
