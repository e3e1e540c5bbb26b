"""Runs docs/tutorial.md as a reader does, and times it: ``python benchmarks/tutorial.py``.

Python blocks whose first line names a file are written to it, blocks of commands (edgeprune
channels, search, inspect and check) are run in order, in an empty folder and with an empty cache.
Every command must end with 0, and all of them within the 15 minutes that the page promises.
"""

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from markdown_it import MarkdownIt

from edgeprune.deploy.devices.fingerprint import check_device

PAGE = Path(__file__).parents[1] / "docs/tutorial.md"
PROMISED = 15 * 60  # seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=Path, help="folder to keep; a temporary one by default")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as passing:
        folder = options.work or Path(passing)
        folder.mkdir(parents=True, exist_ok=True)
        seconds = run(PAGE.read_text("utf-8"), folder)
    device = check_device("local://").fingerprint
    print(f"{seconds:.0f} s in all, {PROMISED} s promised, {device}")
    sys.exit(seconds > PROMISED)


def run(page: str, folder: Path) -> float:
    """Follow a page in a folder; returns the seconds of its commands."""
    commands = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = os.environ | {"PATH": commands, "XDG_CACHE_HOME": str(folder / "cache")}
    total = 0.0
    for token in MarkdownIt().parse(page):
        if token.type != "fence":
            continue
        name = re.match(r"# (\S+\.\w+)\n", token.content)
        if name:
            path = folder / name[1]
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(token.content, "utf-8")
        elif token.info == "sh":
            print(f"$ {token.content.strip()}", flush=True)
            start = time.perf_counter()
            subprocess.run(["sh", "-ec", token.content], cwd=folder, env=environment, check=True)
            total += time.perf_counter() - start
            print(f"{time.perf_counter() - start:.0f} s", flush=True)
    return total


if __name__ == "__main__":
    main()
