"""Renders a report: one HTML file with plotly and its data inside, and a policy of no network."""

import base64
import hashlib
import json
from collections.abc import Sequence
from importlib.resources import files
from typing import Any

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from edgeprune import __version__
from edgeprune.report import history, networks, summary, timed, tradeoff
from edgeprune.report.plots import Figure
from edgeprune.report.records import Run
from edgeprune.text import one_line

GENERATOR = '<meta name="generator" content="edgeprune report">'
MOST_TEXT = 6000  # characters of one text: commands are whole, and a hostile name ends
MOST_ROWS = 600  # of a table under a figure


def render(runs: Sequence[Run]) -> str:
    """The page of one run, or of several side by side."""
    figures = [
        tradeoff.tradeoff(runs),
        timed.ratios(runs),
        timed.runs_in_ms(runs),
        networks.widths(runs),
        networks.latencies(runs),
        networks.damage(runs),
        history.tried(runs),
    ]
    script = _asset("page.js")
    plotly = get_plotlyjs()
    environment = Environment(autoescape=True, undefined=StrictUndefined, finalize=_shown)
    environment.filters["slug"] = lambda text: "".join(c for c in text if c.isalpha())
    said = summary.headline(runs)
    single = len(runs) == 1 and len(runs[0].models) == 1
    return environment.from_string(_asset("page.html")).render(
        generator=Markup(GENERATOR),
        policy=_policy(plotly, script),
        style=Markup(_asset("page.css")),
        plotly=Markup(plotly),
        script=Markup(script),
        data=Markup(_embedded({figure.key: _plain(figure) for figure in figures})),
        title=_title(runs),
        headline=said,
        tiles=summary.tiles(runs[0]) if single else (),
        table=() if single else summary.run_rows(runs),
        verdicts=summary.verdict_rows(runs),
        several=not single,
        notes=summary.notes(runs),
        lacking=[line for run in runs for line in run.lacking],
        figures=figures,
        most_rows=MOST_ROWS,
        facts=[(run.name, summary.facts(run), summary.commands(run)) for run in runs],
        version=__version__,
    )


def _title(runs: Sequence[Run]) -> str:
    return " / ".join(run.name for run in runs[:4]) + (" ..." if len(runs) > 4 else "")


def _plain(figure: Figure) -> dict[str, Any]:
    return {"plot": figure.plot, "marks": [mark.to_plain() for mark in figure.marks]}


def _shown(value: object) -> object:
    """Foreign text as one line that ends; jinja escapes it afterwards."""
    if isinstance(value, str) and not isinstance(value, Markup):
        line = one_line(value)
        return line if len(line) <= MOST_TEXT else line[:MOST_TEXT] + " ..."
    return value


def _embedded(content: object) -> str:
    """JSON inside a script element, which no text in it can end.

    Raises:
        ValueError: NaN or infinity, which the readers leave out.
    """
    text = json.dumps(content, allow_nan=False, separators=(",", ":"))
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def _policy(*scripts: str) -> str:
    """A Content-Security-Policy: nothing is fetched, and only these scripts run."""
    digests = [base64.b64encode(hashlib.sha256(text.encode()).digest()) for text in scripts]
    allowed = " ".join(f"'sha256-{digest.decode()}'" for digest in digests)
    return (
        f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'; "
        "img-src data: blob:; base-uri 'none'; form-action 'none'"
    )


def _asset(name: str) -> str:
    return (files("edgeprune.report") / name).read_text("utf-8")
