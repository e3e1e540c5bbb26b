import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[1]


def modules():
    found = [path for path in (ROOT / "edgeprune").rglob("*.py") if path.name != "__init__.py"]
    return {path: ast.get_docstring(ast.parse(path.read_text("utf-8"))) for path in found}


def test_the_map_lists_every_file_once_with_its_own_first_line():
    text = (ROOT / "docs/architecture.md").read_text()
    listed = re.findall(r"^- `([\w/]+\.py)`: (.+)$", text, re.M)
    package = ROOT / "edgeprune"
    found = [(str(p.relative_to(package)), d.splitlines()[0]) for p, d in modules().items()]
    assert sorted(listed) == sorted(found)


def test_no_file_holds_two_ideas():
    long = {p.name: len(p.read_text("utf-8").splitlines()) for p in modules()}
    # The runner is one file because it is copied to devices.
    assert {name for name, lines in long.items() if lines > 300} <= {"runner.py"}


def test_each_library_has_one_home():
    homes = {
        "typer": {
            *{path.stem for path in (ROOT / "edgeprune/cli/commands").glob("[!_]*.py")},
            *("app", "command", "main", "options", "reports", "values"),
        },
        "rich": {"console", "progress_display"},
        "deap": {"nsga2"},
        "distributed": {"dask_client", "dask_device", "dask_kept", "dask_workers"},
        "pywt": {"curvature", "transform"},
        "asyncssh": {"ssh"},
        "plotly": {"page"},
        "jinja2": {"page"},
    }
    found = {library: set() for library in homes}
    for path in modules():
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            for library in {name.partition(".")[0] for name in names} & set(homes):
                found[library].add(path.stem)
    assert found == homes
