"""Damaged and hostile inputs through every reader of edgeprune.

    python benchmarks/fuzz.py                    20,000 inputs and more, some minutes
    python benchmarks/fuzz.py --inputs 2000 --only onnx

Hypothesis mutates what edgeprune itself wrote (a short search on the embedded digits makes it)
and what a device answers: bytes flipped, cut and repeated; values replaced by others of another
kind, of a thousand digits, nested without end, with escape sequences and workflow commands. Seeds
are fixed. An input fails when it ends in exit code 70 (an error that nobody foresaw), takes more
than 10 s, lets a control character through to a terminal or a report, or leaves a file behind that
nobody named. The status is 1 when one does; hypothesis shows the smallest such input.
"""

import argparse
import sys
import tempfile
import time
import traceback
from pathlib import Path

from fuzzing import readers, written
from fuzzing.reader import Reader
from fuzzing.survival import Survival
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

ALL = 20_500


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--inputs", type=int, default=ALL, help="in all; shared out by weight")
    parser.add_argument("--only", default="", help="readers whose name has this text")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--shrink", action="store_true", help="look for the smallest failure")
    parser.add_argument("--run", type=Path, help="a finished run folder; else one is made")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        run = asked.run or written.short_search(work / "run")
        chosen = [each for each in readers.all_of(run, work) if asked.only in each.name]
        weight = sum(each.weight for each in chosen)
        print("| reader | inputs | taken | refused | slowest | peak memory | failed |")
        print("|---|---|---|---|---|---|---|")
        failed = [
            fuzz(
                each,
                round(asked.inputs * each.weight / weight),
                asked.seed,
                shrink=asked.shrink,
            )
            for each in chosen
        ]
    for name, reason in zip([each.name for each in chosen], failed, strict=True):
        if reason:
            print(f"\n{name}:\n{reason}")
    return 1 if any(failed) else 0


def fuzz(reader: Reader, inputs: int, number: int, *, shrink: bool) -> str:
    """Put so many inputs through one reader; what failed, or nothing."""
    survival, start, reason = Survival(), time.monotonic(), ""
    options = settings(
        max_examples=max(1, inputs),
        database=None,
        deadline=None,
        phases=(Phase.generate, Phase.shrink) if shrink else (Phase.generate,),
        suppress_health_check=list(HealthCheck),
        report_multiple_bugs=False,
        print_blob=False,
    )

    # Drawn inside, so that hypothesis never writes an input of a megabyte down.
    @seed(number)
    @options
    @given(st.data())
    def each(data: st.DataObject) -> None:
        mutated = data.conjecture_data.draw(reader.inputs)
        try:
            survival.of(lambda: reader.read(mutated), reader.folder)
        except Exception as error:
            error.add_note(f"input: {repr(mutated)[:1500]}")
            raise

    try:
        each()
    except Exception as error:
        # Hypothesis notes the strategy, which may hold a whole model.
        error.__notes__ = [note[:1500] for note in getattr(error, "__notes__", [])]
        lines = traceback.format_exception(error)
        reason = "".join(lines)[-4000:]
    print(
        f"| {reader.name} | {survival.inputs:,} | {survival.taken:,} | {survival.refused:,} | "
        f"{1e3 * survival.slowest:.0f} ms | {survival.peak_mb():.0f} MB | "
        f"{'**yes**' if reason else 'none'} ({time.monotonic() - start:.0f} s) |",
        flush=True,
    )
    return reason


if __name__ == "__main__":
    sys.exit(main())
