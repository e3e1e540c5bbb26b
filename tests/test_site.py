"""The pages: links and anchors hold, what is generated is current, the strict build can fail."""

import importlib.util
import re
import shutil
import subprocess
import sys
import tomllib

import pytest
import yaml
from markdown_it import MarkdownIt

from tests.documented import ROOT

FILES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]
SPEC = importlib.util.spec_from_file_location("reference", ROOT / ".ci/reference.py")
reference = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(reference)


def tokens(text):
    return MarkdownIt("commonmark").enable("table").parse(text)


def anchors(text):
    """Anchors of headings as GitHub and the site name them."""
    found, before = set(), ""
    for token in tokens(text):
        if before == "heading_open":
            words = re.sub(r"[^\w\s-]", "", token.content.lower())
            found.add(re.sub(r"\s", "-", words.strip()))
        before = token.type
    return found


def broken(path, text):
    """Relative links of a page to files and anchors that are not there."""
    inline = [child for token in tokens(text) for child in token.children or []]
    links = [child.attrs.get("href") or child.attrs.get("src") for child in inline]
    found = []
    for link in filter(None, links):
        name, _, anchor = link.partition("#")
        to = path.parent / name if name else path
        if "://" in link or link.startswith("mailto:"):
            continue
        if not to.exists() or (anchor and anchor not in anchors(to.read_text("utf-8"))):
            found.append(link)
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(path):
    assert broken(path, path.read_text("utf-8")) == []


def test_a_broken_link_is_found():
    text = "[a](none.md) [b](README.md#nothing) [c](README.md#set-up) ![d](no.png) [e](#x)\n# Y"
    assert broken(ROOT / "page.md", text) == ["none.md", "README.md#nothing", "no.png", "#x"]


def test_the_reference_is_what_the_code_says():
    hint = "run `python .ci/reference.py` and commit what it writes"
    assert reference.COMMANDS.read_text("utf-8") == reference.commands(), hint
    assert reference.ACTION.read_text("utf-8") == reference.action(), hint
    page = reference.TARGET.read_text("utf-8")
    assert page == reference.target(page), hint


def test_a_key_that_nobody_described_is_found():
    page = reference.TARGET.read_text("utf-8")
    less = re.sub(r"\| `runtime\.threads`.*\n", "", page)
    with pytest.raises(ValueError, match=r"runtime\.threads"):
        reference.target(less)


def test_the_navigation_has_every_page_once():
    def pages(entry):
        inner = entry.values() if isinstance(entry, dict) else entry
        return [entry] if isinstance(entry, str) else [p for each in inner for p in pages(each)]

    nav = tomllib.loads((ROOT / ".zensical.toml").read_text("utf-8"))["project"]["nav"]
    docs = ROOT / "docs"
    assert sorted(pages(nav)) == sorted(str(p.relative_to(docs)) for p in docs.rglob("*.md"))


def copied(folder):
    shutil.copytree(ROOT / "docs", folder / "docs")
    (folder / "edgeprune").symlink_to(ROOT / "edgeprune")
    shutil.copy(ROOT / ".zensical.toml", folder)


def built(folder):
    command = [sys.executable, "-m", "zensical", "build", "--strict", "-f", ".zensical.toml"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120)


def test_the_site_asks_no_server(tmp_path):
    pytest.importorskip("zensical", reason='pip install -e ".[docs]"')
    copied(tmp_path)
    done = built(tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    pages = sorted((tmp_path / "site").rglob("*.html"))
    assert len(pages) > 20
    asked = re.compile(
        r"<(?:script|img|iframe)[^>]*\ssrc=\"?https?:|<link[^>]*stylesheet[^>]*https?:"
    )
    assert [page.name for page in pages if asked.search(page.read_text("utf-8"))] == []


@pytest.mark.parametrize(
    "damage", ["[a](none.md)", "[a](tutorial.md#none)", "::: edgeprune.api.none"]
)
def test_the_strict_build_refuses(damage, tmp_path):
    pytest.importorskip("zensical", reason='pip install -e ".[docs]"')
    copied(tmp_path)
    page = tmp_path / "docs/index.md"
    page.write_text(page.read_text("utf-8") + "\n\n" + damage + "\n")
    assert built(tmp_path).returncode != 0


def test_the_version_is_one():
    version = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["version"]
    citation = yaml.safe_load((ROOT / ".github/CITATION.cff").read_text("utf-8"))
    assert citation["version"] == version
    assert f"## [{version}]" in (ROOT / "CHANGELOG.md").read_text("utf-8")
