"""A command talked to over pipes: what it does wrong ends in time, and nothing is left running."""

import sys
import time
from pathlib import Path

import pytest

from edgeprune.deploy.devices.conversation import MOST_SAID, Conversation
from edgeprune.errors import MachineError


def talk(line: str, seconds: float = 20.0) -> Conversation:
    return Conversation(["sh", "-c", line], "pi", seconds)


def running(number: int) -> bool:
    """Whether a process is there and no zombie."""
    try:
        return Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_what_is_sent_comes_back_line_by_line() -> None:
    content = b"".join(b"%d\n" % number for number in range(5000))
    with talk("sort -n") as cat:
        cat.send(content)
        cat.stdin.close()
        assert b"".join(line + b"\n" for line in cat.lines()) == content


def test_the_last_line_needs_no_end() -> None:
    with talk("printf 'a\\n\\nb'") as said:
        assert list(said.lines()) == [b"a", b"", b"b"]


def test_a_line_that_grows_without_end() -> None:
    with (
        talk("exec cat /dev/zero") as flood,
        pytest.raises(MachineError, match="more than 64 MiB"),
    ):
        next(flood.lines())


def test_words_that_trickle_are_no_line() -> None:
    with talk("while sleep 0.05; do printf x; done", 0.5) as slow:
        start = time.monotonic()
        with pytest.raises(MachineError, match="no answer for 0 s"):
            next(slow.lines())
        assert time.monotonic() - start < 2


def test_a_command_that_does_not_read() -> None:
    with (
        talk("exec sleep 100", 0.3) as deaf,
        pytest.raises(MachineError, match="no answer for 0 s"),
    ):
        deaf.send(bytes(1 << 20))


def test_a_flood_on_stderr_is_bounded_in_time_and_memory() -> None:
    with talk("yes words >&2; true", 0.5) as flood:
        with pytest.raises(MachineError, match="no answer"):
            next(flood.lines())
        assert len(flood.said) <= MOST_SAID


def test_the_end_of_stderr_is_kept() -> None:
    with talk("echo first >&2; yes | head -c 200000 >&2; echo last >&2") as failing:
        assert list(failing.lines()) == []
        assert failing.last_words().endswith("y\nlast\n")


def test_stderr_that_somebody_else_holds_open_is_not_waited_for() -> None:
    with talk("echo no python >&2; sleep 100 > /dev/null &") as failing:
        assert list(failing.lines()) == []
        start = time.monotonic()
        assert failing.last_words() == "no python\n"
        assert time.monotonic() - start < 5


@pytest.mark.parametrize("line", ["sleep 100 & echo $!; wait", "sleep 100 & echo $!"])
def test_the_whole_group_ends(line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgeprune.deploy.devices.conversation.GRACE", 0.2)
    with talk(line) as group:
        child = int(next(group.lines()))
        assert running(child)
    deadline = time.monotonic() + 5
    while running(child) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not running(child)
    assert not running(group.process.pid)


def test_one_that_leaves_when_its_stdin_closes_has_the_time_to(tmp_path: Path) -> None:
    with talk(f"cat; sleep 0.2; touch {tmp_path}/tidy"):
        pass
    assert (tmp_path / "tidy").exists()


def test_what_cannot_be_started() -> None:
    with pytest.raises(MachineError, match=r"^pi cannot start measuring"):
        Conversation(["/nowhere/python"], "pi", 1.0)
    with pytest.raises(MachineError, match=r"^pi cannot start measuring"):
        Conversation([sys.executable, "a\0b"], "pi", 1.0)


def test_no_file_stays_open() -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    with talk("echo a") as said:
        list(said.lines())
    assert len(list(Path("/proc/self/fd").iterdir())) == before
