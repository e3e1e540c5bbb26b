"""Building blocks of the figures: marks, escaped labels, colours by name, tables under them."""

import html
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from textwrap import wrap
from typing import Any

from edgeprune.text import one_line

Plain = dict[str, Any]  # a piece of a plotly figure, as plain JSON

# Okabe and Ito's palette by the names that page.css gives light and dark values; each series has
# a symbol of its own beside its colour.
SERIES = ("blue", "vermillion", "green", "purple", "orange", "sky")
SYMBOLS = ("circle", "diamond", "triangle-up", "cross", "star", "hexagon", "triangle-down", "x")
LONGEST = 640  # characters of one text of a label: names from a folder may be of any length
WIDEST = 44  # characters of one line of a label


@dataclass(frozen=True, kw_only=True)
class Mark:
    """What a click on a mark shows.

    Attributes:
        title: What it is.
        facts: Names and values.
        command: Command that makes the model; empty where there is none.
        about: What the command does, or why there is none.
    """

    title: str
    facts: tuple[tuple[str, str], ...]
    command: str = ""
    about: str = ""

    def to_plain(self) -> Plain:
        """As the page's script reads it; the script sets it as text, never as markup."""
        facts = [[one_line(name), one_line(value)] for name, value in self.facts]
        return {
            "title": one_line(self.title),
            "facts": facts,
            "command": one_line(self.command),
            "about": one_line(self.about),
        }

    @property
    def label(self) -> str:
        """What hovering shows: title, facts and command, escaped."""
        facts = [f"{name}: {value}" for name, value in self.facts]
        return label(self.title, *facts, *([f"$ {self.command}"] if self.command else []))


@dataclass(frozen=True, kw_only=True)
class Figure:
    """A figure, the words around it, and its numbers as a table.

    Attributes:
        key: Its place in the page.
        title: Heading.
        lead: How to read it, one or two sentences.
        plot: Data and layout of plotly; None where the run folder lacks what it needs.
        heading: Names of the table's columns.
        rows: The table.
        marks: What a click shows, by the number in a point's ``customdata``.
        lacking: Why there is no plot.
    """

    key: str
    title: str
    lead: str
    plot: Plain | None
    heading: tuple[str, ...] = ()
    rows: tuple[tuple[str, ...], ...] = ()
    marks: tuple[Mark, ...] = ()
    lacking: str = ""


def label(*lines: str) -> str:
    """Lines of a label, escaped: plotly takes some HTML in every text that it draws.

    Long lines are broken, as a label wider than a phone is cut off.
    """
    found = []
    for line in lines:
        plain = one_line(line)
        cut = plain if len(plain) <= LONGEST else plain[:LONGEST] + " ..."
        found += wrap(cut, WIDEST, subsequent_indent="  ", break_on_hyphens=False)
    return "<br>".join(map(html.escape, found))


def short(name: str, most: int = 28) -> str:
    """A name as an escaped label of an axis."""
    plain = one_line(name)
    return html.escape(plain if len(plain) <= most else plain[: most - 1] + "…")


def points(
    name: str, marks: Iterable[tuple[float, float, Mark]], first: int, **marker: Any
) -> Plain:
    """A series of marks.

    Args:
        name: Name in the legend.
        marks: x, y and what a click shows.
        first: Number of the first mark among all marks of the figure.
        marker: Looks: ``color``, ``symbol``, ``size``.
    """
    placed = list(marks)
    return {
        "type": "scatter",
        "mode": "markers",
        "name": short(name, 44),
        "x": [x for x, _, _ in placed],
        "y": [y for _, y, _ in placed],
        "hovertext": [mark.label for _, _, mark in placed],
        "hoverinfo": "text",
        "customdata": list(range(first, first + len(placed))),
        "marker": {"size": 11, "opacity": 1, "line": {"width": 2}, **marker},
        "cliponaxis": False,
    }


def limit_line(axis: str, at: float, words: str) -> tuple[Plain, Plain]:
    """A dashed line over the whole figure, and its words."""
    along, other = ("x", "y") if axis == "x" else ("y", "x")
    line = {
        "type": "line",
        f"{along}0": at,
        f"{along}1": at,
        f"{other}0": 0,
        f"{other}1": 1,
        f"{other}ref": "paper",
        "line": {"color": "muted", "width": 1.5, "dash": "dash"},
        "layer": "below",
    }
    at_edge = {"x": at, "y": 1, "yref": "paper", "yanchor": "bottom", "xanchor": "center"}
    if axis == "y":
        at_edge = {"y": at, "x": 1, "xref": "paper", "xanchor": "right", "yanchor": "bottom"}
    words_plain = {"text": html.escape(words), "showarrow": False, "font": {"color": "muted"}}
    return line, words_plain | at_edge


def rows_axis(names: Sequence[str]) -> Plain:
    """A vertical axis with one named row each, the first on top."""
    return {
        "tickmode": "array",
        "tickvals": list(range(len(names))),
        "ticktext": [short(name) for name in names],
        "range": [len(names) - 0.4, -0.6],
        "showgrid": False,
        "zeroline": False,
    }


def height(rows: int, least: int = 260) -> int:
    """Pixels of a figure with named rows."""
    return max(least, 110 + 26 * rows)
