"""What a run is judged by, accuracy, output error or a score, in words and in table cells."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol, TypeVar

from edgeprune.report.records import ACCURACY, OUTPUT_ERROR, SCORE


@dataclass(frozen=True, kw_only=True)
class Tile:
    """One key figure."""

    name: str
    value: str
    detail: str


class Pair(Protocol):
    """A result of the dense network and of the slim one."""

    @property
    def dense(self) -> float:
        """The dense network's."""

    @property
    def slim(self) -> float:
        """The slim one's."""


P = TypeVar("P", bound=Pair)


def figure_in(results: Mapping[str, P]) -> tuple[str, P] | None:
    """The result that the task is judged by, and its name; None where there is none."""
    names = (name for name in (ACCURACY, OUTPUT_ERROR, SCORE) if name in results)
    return next(((name, results[name]) for name in names), None)


def shown_figure(name: str, value: float) -> str:
    """A figure with its unit."""
    return f"{value:.4g}" if name == SCORE else f"{value:.2f} %"


def figure_cells(results: Mapping[str, Pair]) -> tuple[str, str, str]:
    """The figure of the dense network and of the slim one, and what is lost, but of an error."""
    found = figure_in(results)
    if found is None:
        return "", "", ""
    name, pair = found
    lost = {ACCURACY: f"{pair.dense - pair.slim:.2f}", SCORE: f"{pair.dense - pair.slim:.4g}"}
    return shown_figure(name, pair.dense), shown_figure(name, pair.slim), lost.get(name, "")


def kept(figure: str, found: Pair) -> str:
    """What became of the figure, in words that follow "with"."""
    if figure == OUTPUT_ERROR:
        return f"an output error of {shown_figure(figure, found.slim)}"
    if figure == SCORE:
        return f"a score of {found.slim:.4g}, dense {found.dense:.4g}"
    points = found.slim - found.dense
    if abs(points) < 0.005:
        return f"the same {found.slim:.2f} % accuracy"
    more = "less than dense" if points < 0 else "more than dense"
    return f"{found.slim:.2f} % accuracy, {abs(points):.2f} points {more}"


def tile(figure: str, found: Pair) -> Tile:
    """The key figure of the test images."""
    names = {ACCURACY: "Test accuracy", OUTPUT_ERROR: "Output error", SCORE: "Score"}
    details = {
        ACCURACY: f"{found.slim - found.dense:+.2f} points, dense {found.dense:.2f} %",
        OUTPUT_ERROR: "largest relative error of an output, on the test images",
        SCORE: f"dense {found.dense:.4g}, on the test images",
    }
    return Tile(name=names[figure], value=shown_figure(figure, found.slim), detail=details[figure])


def on_images(figure: str, value: float, images: str) -> str:
    """A figure of a network on the images of that name."""
    return (
        f"{shown_figure(figure, value)} {'of' if figure == ACCURACY else 'on'} the {images} images"
    )
