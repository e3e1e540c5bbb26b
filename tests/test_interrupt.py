"""What is remembered of Ctrl-C and SIGTERM, and how the command then ends."""

import os
import signal

import pytest

from edgeprune.interrupt import Interrupt


@pytest.fixture
def watched():
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    found = Interrupt()
    found.watch()
    yield found
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize(
    ("number", "ending"),
    [(signal.SIGINT, ("interrupted", 130)), (signal.SIGTERM, ("terminated", 143))],
)
def test_a_signal_is_remembered_even_when_the_exception_is_swallowed(watched, number, ending):
    assert watched.number is None
    with pytest.raises(KeyboardInterrupt):
        os.kill(os.getpid(), number)
    assert watched.number == number
    assert watched.ending() == ending


def test_advice_follows_the_word():
    stopped = Interrupt()
    stopped.advice = "--resume goes on"
    assert stopped.ending() == ("interrupted; --resume goes on", 130)
