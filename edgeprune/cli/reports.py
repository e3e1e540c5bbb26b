"""The reports of a check: where they go, and that none of an earlier check is left there."""

import os
from collections.abc import Container, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from edgeprune.cli.ending import ending
from edgeprune.cli.output import tell
from edgeprune.errors import EdgepruneError, InputError
from edgeprune.files import disk_errors, write_whole
from edgeprune.interrupt import interrupt

if TYPE_CHECKING:
    from edgeprune.deploy.gate.resolution import SelfTest
    from edgeprune.deploy.gate.verdicts import Report


@dataclass(frozen=True, kw_only=True)
class Reports:
    """Where the reports of one check go.

    Attributes:
        json: File, or ``-`` for stdout, which then holds nothing else.
        junit: File.
        github: Write annotations and a step summary.
    """

    json: str | None
    junit: Path | None
    github: bool

    @property
    def files(self) -> tuple[Path, ...]:
        """The files that are written."""
        named = (Path(self.json) if self.json and self.json != "-" else None, self.junit)
        return tuple(path for path in named if path)

    def clear(self, *read: Path | None) -> None:
        """Remove what earlier checks wrote, so that what is there afterwards is of this one.

        Args:
            read: Files that the check reads; none of them may be one of the reports.

        Raises:
            InputError: a report cannot be written where it should.
            MachineError: the disk refuses.
        """
        wrong = {path: reason for path in self.files if (reason := _refusal(path, read))}
        if wrong:  # a report whose own path is fine hears of the one that is not
            reason = next(iter(wrong.values()))
            self._without(wrong).fail("model", "target", reason, InputError.exit_code)
            raise InputError(reason)
        for path in self.files:
            if path.is_file():
                with disk_errors(path):
                    path.unlink()

    def _without(self, paths: Container[Path]) -> "Reports":
        json = None if self.json and Path(self.json) in paths else self.json
        junit = None if self.junit in paths else self.junit
        return replace(self, json=json, junit=junit)

    @contextmanager
    def of_failures(self, model: Path, target: str) -> Iterator[None]:
        """Report what stops the check, if anything does, and let it pass on."""
        try:
            yield
        except Exception as error:
            # An interrupt may surface as any error.
            if not isinstance(error, typer.Exit) and interrupt.number is None:
                self.fail(model.name, target, *ending(error))
            raise

    def write(self, report: "Report") -> None:
        """Print the verdicts, and write them wherever they are wanted."""
        from edgeprune.deploy.gate import formats

        text = formats.to_text(report)
        tell(report.to_json(), self.json, lambda: typer.echo(text, nl=False))
        if self.junit:
            write_whole(self.junit, formats.to_junit(report).encode())
        if self.github:
            self._annotate(formats.to_annotations(report))
            _append_summary(formats.to_markdown(report))

    def write_self_test(self, found: "SelfTest", model: Path, target: str) -> None:
        """Print a self-test; where this machine cannot gate, JUnit and GitHub hear of it."""
        tell(found.to_json(), self.json, lambda: typer.echo(found.to_text(), nl=False))
        if found.exit_code:
            said = found.to_text().partition("\n")[0]
            self.fail(model.name, target, said, found.exit_code, with_json=False)

    def fail(
        self, model: str, target: str, reason: str, code: int, *, with_json: bool = True
    ) -> None:
        """Write what stopped a check, wherever its reports are wanted and a disk takes them."""
        from edgeprune.deploy.gate.failure import Failure

        failure = Failure(model=model, target=target, reason=reason, exit_code=code)
        if with_json and self.json == "-":
            typer.echo(failure.to_json(), nl=False)
        elif with_json and self.json:
            with suppress(EdgepruneError, OSError):
                write_whole(Path(self.json), failure.to_json().encode())
        if self.junit:
            with suppress(EdgepruneError, OSError):
                write_whole(self.junit, failure.to_junit().encode())
        if self.github:
            self._annotate(failure.to_annotation())

    def _annotate(self, commands: str) -> None:
        typer.echo(commands, nl=False, err=self.json == "-")


def _append_summary(markdown: str) -> None:
    summary = os.environ.get("GITHUB_STEP_SUMMARY")
    try:
        if summary:
            with Path(summary).open("a", encoding="utf-8") as f:
                f.write(markdown)
    except OSError as error:  # the verdict does not hang on it
        typer.echo(f"edgeprune: no step summary: {summary}: {error.strerror}", err=True)


def _refusal(path: Path, read: Sequence[Path | None]) -> str:
    """Why a report cannot be written there; empty where it can."""
    if not path.parent.is_dir():
        return f"{path} cannot be written: there is no folder {path.parent}"
    if path.is_dir():
        return f"{path} is a folder; name a file in it"
    if any(each and _same(path, each) for each in read):
        return f"{path} is a file that is judged; name another for the report"
    return ""


def _same(path: Path, other: Path) -> bool:
    try:
        return path.samefile(other)
    except OSError:  # not there
        return False


def on_github(choice: str) -> bool:
    """Whether ``on``, ``off`` or ``auto`` means annotations here."""
    return choice == "on" or (choice == "auto" and bool(os.environ.get("GITHUB_ACTIONS")))


def report_usage(words: Sequence[str], reason: str, code: int) -> None:
    """Write the reports of a check that ended before its options were known.

    Args:
        words: The command line without the program.
        reason: What was wrong with it, one line.
        code: What it ends with.
    """
    if "check" not in words[:1]:
        return
    options = {name: _option(words, name) for name in ("--json", "--junit", "--github")}
    junit = Path(options["--junit"]) if options["--junit"] else None
    wanted = on_github(options["--github"] or "auto")
    reports = Reports(json=options["--json"], junit=junit, github=wanted)
    others = [
        Path(word)
        for before, word in zip(["", *words[:-1]], words, strict=True)
        if before not in ("--json", "--junit")
    ]
    with suppress(EdgepruneError, OSError, ValueError):  # the usage is the error that is told
        reports.clear(*others)
        reports.fail("model", _option(words, "--target") or "target", reason, code)


def _option(words: Sequence[str], name: str) -> str | None:
    """The last value of an option on a command line; where it is no path, of the environment."""
    found = None
    if name in ("--github", "--target"):
        found = os.environ.get(f"EDGEPRUNE_CHECK_{name[2:].upper()}")
    for word, following in zip(words, [*words[1:], None], strict=True):
        if word == name:
            found = following or found
        elif word.startswith(f"{name}="):
            found = word.partition("=")[2]
    return found
