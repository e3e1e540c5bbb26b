import os
import signal

import pytest

from edgeprune.errors import InputError, MachineError, PromiseError
from edgeprune.interrupt import interrupt
from edgeprune.run import pipeline


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (InputError("x"), 2, "x"),
        (PromiseError("y"), 1, "y"),
        (MachineError("z"), 3, "z"),
        (KeyboardInterrupt(), 130, ""),
        (MemoryError(), 3, "out of memory"),
        (OSError(28, "No space left on device", "f"), 3, "f: No space left"),
        (ZeroDivisionError("n/0"), 70, "internal error"),
    ],
)
def test_exit_codes(run, monkeypatch, error, code, said):
    def fail(*args, **kwargs):
        raise error

    monkeypatch.setattr(pipeline, "run_search", fail)
    found = run("search")
    assert found[0] == code
    assert said in found[2]
    assert "Traceback" not in found[2]


@pytest.mark.parametrize(
    ("number", "code", "word"),
    [(signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 143, "terminated")],
)
def test_an_interrupt_that_surfaces_as_another_error_is_still_one(
    run, monkeypatch, number, code, word
):
    def confused(*args, **kwargs):
        interrupt.advice = "--resume goes on"
        try:
            os.kill(os.getpid(), number)
        except KeyboardInterrupt:
            raise ImportError("a library made this of it") from None

    monkeypatch.setattr(interrupt, "number", None)
    monkeypatch.setattr(interrupt, "advice", "")
    monkeypatch.setattr(pipeline, "run_search", confused)
    ended, _, err = run("search")
    assert (ended, err) == (code, f"edgeprune: {word}; --resume goes on\n")
