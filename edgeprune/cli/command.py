"""The class of every command: -h, -V, -q, -v, --print-config, and the panels of its help."""

import re
import shutil
import sys
from collections.abc import Callable
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup, TyperOption

from edgeprune import __version__
from edgeprune.cli.verbosity import verbosity

GENERAL = "General"
LEAST_COLUMNS = 72
PRINT = "--print-config"
_SHOW = "edgeprune.print-config"
_COMPLETION = "install_completion", "show_completion"
_PER_CHANNEL = "--mean", "--std"
_NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)(e[-+]?\d+)?", re.I)
SETTINGS: dict[str, Any] = {"help_option_names": ["-h", "--help"]}


class _General:
    """What commands and groups share; every one has the same general options."""

    rich_markup_mode: Any

    def get_help_option(self, ctx: Any) -> Any:
        """Show ``--help`` beside the other general options."""
        option = super().get_help_option(ctx)  # type: ignore[misc]
        if option:
            option.rich_help_panel = GENERAL
        return option

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Panels where there is room for them; a narrow terminal would cut options off."""
        if shutil.get_terminal_size().columns < LEAST_COLUMNS:
            self.rich_markup_mode = None
        super().format_help(ctx, formatter)  # type: ignore[misc]

    def get_params(self, ctx: Any) -> Any:
        """All options; what has no panel of its own is general, typer's completion too."""
        found = super().get_params(ctx)  # type: ignore[misc]
        for param in found:
            if isinstance(param, TyperOption):
                param.show_envvar = False  # the epilog of the root says it for all of them
                param.rich_help_panel = param.rich_help_panel or GENERAL
                if param.name in _COMPLETION:
                    param.allow_from_autoenv = False  # else each command would install it
        return found


class Command(_General, TyperCommand):
    """A command with the options that all of them have."""

    def __init__(self, name: str | None, **settings: Any) -> None:
        super().__init__(name, **settings)
        self.params += _common()

    def invoke(self, ctx: Any) -> Any:
        """Run it, after what a project's file sets for it was said; or show its options."""
        if ctx.meta.get(_SHOW):
            from edgeprune.cli import configuration, console

            console.table(("option", "value", "from"), configuration.rows(ctx))
            return None
        if ctx.obj and (said := ctx.obj.told(ctx)):
            verbosity.tell(said)
        return super().invoke(ctx)

    def parse_args(self, ctx: Any, args: list[str]) -> Any:
        """Read the options; to show them no file is needed."""
        needed = [p for p in self.params if p.required]
        try:
            for param in needed:
                param.required = PRINT not in args
            return super().parse_args(ctx, _joined(args))
        finally:
            for param in needed:
                param.required = True


def _joined(args: list[str]) -> list[str]:
    """The numbers behind ``--mean`` and ``--std``, one a channel, as the one value they are."""
    found: list[str] = []
    begun = has_value = False
    for word in args:
        is_number = bool(_NUMBER.fullmatch(word))
        if is_number and has_value:
            found[-1] += f" {word}"
            continue
        found.append(word)
        name, equals, _ = word.partition("=")
        has_value = (is_number and begun) or (name in _PER_CHANNEL and bool(equals))
        begun = word in _PER_CHANNEL
    return found


class Group(_General, TyperGroup):
    """Commands under one name, with the same general options."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.params += _common()


def _common() -> list[Any]:
    """The options that all commands have, as typer makes them of a function's."""
    app = typer.Typer(add_completion=False)
    app.command(context_settings=SETTINGS)(_general_options)
    return list(typer.main.get_command(app).params)


def _flag(*names: str, help: str, callback: Callable[..., None]) -> Any:
    return typer.Option(
        *names,
        help=help,
        callback=callback,
        expose_value=False,
        is_eager=True,  # before the values of other options are looked at
        # EDGEPRUNE_VERSION may pin what CI installs; it must not end a check with 0.
        allow_from_autoenv=False,
        rich_help_panel=GENERAL,
    )


def _quiet(wanted: bool) -> None:
    verbosity.quiet = verbosity.quiet or wanted


def _verbose(wanted: bool) -> None:
    if wanted:
        verbosity.listen()


def _version(wanted: bool) -> None:
    if wanted:
        sys.stdout.write(f"edgeprune {__version__}\n")
        raise typer.Exit


def _show(context: typer.Context, wanted: bool) -> None:
    if wanted:
        context.meta[_SHOW] = True


def _general_options(
    quiet: Annotated[
        bool,
        _flag(
            "-q",
            "--quiet",
            help="Print results and errors alone: no progress, no notes.",
            callback=_quiet,
        ),
    ] = False,
    verbose: Annotated[
        bool,
        _flag(
            "-v",
            "--verbose",
            help="Print every event of a run, and where an internal error comes from.",
            callback=_verbose,
        ),
    ] = False,
    version: Annotated[
        bool,
        _flag("-V", "--version", help="Print the version and exit.", callback=_version),
    ] = False,
    print_config: Annotated[
        bool,
        _flag(
            PRINT, help="Print each option's value and where it is from, and exit.", callback=_show
        ),
    ] = False,
) -> None:
    """Options without a command: their callbacks do all that they do."""
