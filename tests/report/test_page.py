"""The page as a browser parses it: whole, without markup from a run folder, without a network."""

import base64
import hashlib
import json
import re
from html.parser import HTMLParser

import pytest

from edgeprune.report.page import GENERATOR, render
from edgeprune.report.run_files import read_run
from tests.run_folders import REQUEST, check, front_rows, layers, record

EVIL = "</script><script>alert(1)</script><img src=x onerror=alert(2)>\"'&\u202e\u2028{{7*7}}"


class Parsed(HTMLParser):
    """Elements, texts and the content of scripts."""

    def __init__(self, text):
        super().__init__()
        self.elements, self.texts, self.open = [], [], []
        self.scripts = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in ("meta", "link", "img", "br"):
            self.open.append(tag)
        if tag == "script":
            self.scripts.append("")

    def handle_endtag(self, tag):
        assert self.open.pop() == tag  # what is opened is closed in order

    def handle_data(self, data):
        if self.open and self.open[-1] == "script":
            self.scripts[-1] += data
        else:
            self.texts.append(data.strip())

    def named(self, tag):
        return [attrs for name, attrs in self.elements if name == tag]


@pytest.fixture
def page(run_folder):
    return Parsed(render([read_run(run_folder())]))


@pytest.fixture
def saying(run_folder):
    """The page of a run folder in which every text is the same."""

    def page(name, text):
        judged = check(notes=[text], machine={text: text, "cpu": text, "isa": [text]})
        judged["versions"] = {text: text}
        for verdict in judged["verdicts"]:
            verdict |= {"evidence": text}
        judged["verdicts"][0] |= {"name": text, "unit": text}
        named = layers()
        for each in (*named["groups"], *named["blocks"]):
            each["name"] = text
        rows = [row | {"why": text, "widths": text} for row in front_rows()]
        asked = dict.fromkeys(("source", "strategy", "device", "weights"), text)
        asked |= {"model": {"name": text, "kwargs": {text: text}}}
        asked |= {"target": {"name": text, "description": text, "proxy_for": text}}
        content = record(notes=[text], reason=text, request=REQUEST | asked)
        folder = run_folder(name, run=content, check=judged, layers=named, front=rows)
        (folder / f"{name}.txt").write_text("")
        return render([read_run(folder)])

    return page


def test_a_page_is_whole_and_names_what_made_it(page):
    assert page.open == []
    assert GENERATOR.count('"') == 4 and {"name": "generator", "content": "edgeprune report"} in (
        page.named("meta")
    )
    headings = [text for text in page.texts if text]
    assert any("0.45x its dense latency" in text for text in headings)
    ids = [attrs["id"] for _, attrs in page.elements if "id" in attrs]
    assert len(ids) == len(set(ids))
    links = {attrs["href"][1:] for attrs in page.named("a")}
    labels = {attrs["aria-labelledby"] for attrs in page.named("section")}
    assert links | labels <= set(ids)


def test_nothing_is_fetched_and_only_our_own_scripts_may_run(page):
    (policy,) = [m["content"] for m in page.named("meta") if "http-equiv" in m]
    assert "default-src 'none'" in policy and "unsafe-eval" not in policy
    allowed = set(re.findall(r"'sha256-([^']+)'", policy))
    assert "unsafe-inline" not in policy.partition("style-src")[0]
    kinds = [attrs.get("type") for attrs in page.named("script")]
    assert kinds == ["application/json", None, None]
    run = {
        base64.b64encode(hashlib.sha256(s.encode()).digest()).decode() for s in page.scripts[1:]
    }
    assert run == allowed
    fetching = {"src", "srcset", "data", "action"}
    assert not [e for e in page.elements if fetching & set(e[1])]
    assert all(attrs["href"].startswith("#") for _, attrs in page.elements if "href" in attrs)


def test_no_text_of_a_run_folder_becomes_markup_or_a_script(saying):
    text = saying("<img src=x onerror=alert(3)>", EVIL)
    page, harmless = Parsed(text), Parsed(saying("word", "word"))
    assert page.open == []
    assert [name for name, _ in page.elements] == [name for name, _ in harmless.elements]
    names = [list(attrs) for _, attrs in page.elements]
    assert names == [list(attrs) for _, attrs in harmless.elements]
    shown = " ".join(page.texts)
    assert shown.count("alert(1)") > 20 and "{{7*7}}" in shown  # as text, and never evaluated
    assert "\u202e" not in shown + page.scripts[0]
    drawn = json.dumps([each["plot"] for each in json.loads(page.scripts[0]).values()])
    assert "<script" not in drawn and "<img" not in drawn and "&lt;script" in drawn


def test_several_runs_have_a_line_each(run_folder):
    page = Parsed(render([read_run(run_folder(name)) for name in ("a", "b")]))
    assert "2 runs compared" in page.texts
    assert page.texts.count("Repeat this run") == 2


def test_what_is_missing_stands_on_the_page(run_folder):
    page = Parsed(render([read_run(run_folder(check="{", layers=None))]))
    said = " ".join(page.texts)
    assert "Not everything could be read" in said and "check.json is not JSON" in said
    assert "layers.json is missing" in said and "No verdict" in said


def test_every_number_of_a_figure_can_be_read_without_it(page):
    figures = json.loads(page.scripts[0])
    assert len(page.named("details")) == len(figures) == 7
    texts = " ".join(page.texts)
    for number in ("0.520", "97.00", "0.360 ms", "0.3000", "5.000e-01"):
        assert number in texts


def test_very_long_texts_end(run_folder):
    text = render([read_run(run_folder(run=record(notes=["x" * 1_000_000])))])
    assert "x" * 5000 in text and "x" * 7000 not in text
