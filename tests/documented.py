"""The edgeprune commands of README and docs: found in the pages, parsed by the real parser.

A page is read by markdown-it. A command is what follows the word ``edgeprune`` at the start of a
line of a code block, behind ``&&``, ``|``, ``;``, ``run:`` or ``-m``, and at the start of inline
code; a backslash at the end of a line continues it. Placeholders, by this rule alone: a word in
capitals (``RUN``, ``FILE``, ``NAME``) is a value and ``N`` the number 1, brackets mark what may be
left out, and three dots say that more may follow.

A code block with a command says in the comment above it what runs it: ``<!-- run -->``, where a
test does, or ``<!-- by: FILE -->``, the benchmark or test that exercises it.
"""

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

import typer
from markdown_it import MarkdownIt

from edgeprune.cli.app import app

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
STARTS = {"&&", "||", "|", ";", "run:", "-m"}
MARK = re.compile(r"<!-- (run|by: (\S+)) -->")


@dataclass(frozen=True, kw_only=True)
class Documented:
    """One command of a page: its words behind ``edgeprune``, and what runs it."""

    page: str
    line: int
    words: tuple[str, ...]
    mark: str | None = None  # "run", a path, or None where nothing is said
    inline: bool = False

    @property
    def text(self) -> str:
        return shlex.join(["edgeprune", *self.words])

    def __str__(self) -> str:
        return f"{self.page}:{self.line} {self.text}"


def commands(text: str, page: str) -> list[Documented]:
    """Every command of a page, in its order."""
    found, above = [], ""
    for token in MarkdownIt("commonmark").enable("table").parse(text):
        line = token.map[0] + 1 if token.map else 0
        if token.type == "fence" and token.info != "python":
            match = MARK.search(above)
            mark = (match[2] or match[1]) if match else None
            for offset, words in in_block(token.content):
                place = {"page": page, "line": line + 1 + offset}
                found.append(Documented(**place, words=words, mark=mark))
        for child in token.children or []:
            if child.type == "code_inline" and child.content.startswith("edgeprune "):
                words = tuple(child.content.split()[1:])
                found.append(Documented(page=page, line=line, words=words, inline=True))
        above = token.content if token.type == "html_block" else ""
    return found


def in_block(content: str) -> list[tuple[int, tuple[str, ...]]]:
    """Line and words of every command of a code block."""
    found = []
    lines = content.splitlines()
    for number, first in enumerate(lines):
        if number and lines[number - 1].endswith("\\"):
            continue  # it belongs to the line before
        line, end = first, number
        while line.endswith("\\") and end + 1 < len(lines):
            end += 1
            line = line[:-1] + " " + lines[end]
        found += [(number, words) for words in _in_line(line)]
    return found


def _in_line(line: str) -> list[tuple[str, ...]]:
    lexer = shlex.shlex(line, posix=True, punctuation_chars="|;&")
    lexer.whitespace_split = True
    try:
        words = list(lexer)
    except ValueError:  # output with an apostrophe
        return []
    starts = [n for n, word in enumerate(words) if word == "edgeprune"]
    starts = [n for n in starts if n == 0 or words[n - 1] in STARTS]
    found = []
    for start in starts:
        rest = words[start + 1 :]
        ends = [n for n, word in enumerate(rest) if word in STARTS - {"run:", "-m"}]
        found.append(tuple(rest[: ends[0]] if ends else rest))
    return found


def filled(words: tuple[str, ...]) -> list[str]:
    """The words with placeholders replaced, by the rule above."""
    bare = [word.strip("[]").removesuffix("...") for word in words]
    return ["1" if word == "N" else word for word in bare if word]


def refusal(words: list[str]) -> str | None:
    """What the real parser has against these words; None where it takes them. Nothing is run."""
    command = typer.main.get_command(app)
    _hollow(command)
    try:
        command.main(words, prog_name="edgeprune", standalone_mode=False)
    except typer.TyperException as error:
        return error.format_message()
    return None


def _hollow(command: object) -> None:
    """Take away what a command does, what its groups do, and options that act at once."""
    command.callback = lambda **_: None
    for parameter in command.params:
        if not parameter.expose_value or parameter.is_eager:  # --version, --install-completion
            parameter.callback = None
    for each in getattr(command, "commands", {}).values():
        _hollow(each)


def names(words: tuple[str, ...]) -> bool:
    """Whether nothing but the name of a command is said: a mention in a sentence."""
    command = typer.main.get_command(app)
    for word in words:
        command = getattr(command, "commands", {}).get(word)
        if command is None:
            return False
    return bool(words)


def flags() -> set[str]:
    """Every option that some command has."""
    found, waiting = set(), [typer.main.get_command(app)]
    while waiting:
        command = waiting.pop()
        waiting += getattr(command, "commands", {}).values()
        found |= {flag for p in command.params for flag in getattr(p, "opts", [])}
    return found | {"--help"}


def every_command() -> list[Documented]:
    """The commands of all pages."""
    return [
        each
        for page in PAGES
        for each in commands(page.read_text("utf-8"), str(page.relative_to(ROOT)))
    ]


def options(text: str) -> set[str]:
    """Every long option that inline code names."""
    tokens = MarkdownIt("commonmark").enable("table").parse(text)
    inline = [child for token in tokens for child in token.children or []]
    code = " ".join(child.content for child in inline if child.type == "code_inline")
    return set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", code))
