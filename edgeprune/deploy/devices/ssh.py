"""Runs jobs on another machine over ssh (asyncssh) and leaves nothing behind there.

Three channels on one connection: a guardian that makes the temporary folder and removes it as
soon as its stdin closes (which a lost connection does too), one upload of all files, and the
runner. Host keys are checked against known_hosts; the user's ssh config names keys and agent.
"""

import asyncio
import shlex
from collections.abc import AsyncGenerator, Awaitable, Generator, Mapping
from contextlib import asynccontextmanager, closing, suppress
from types import ModuleType
from typing import Any, TypeVar
from urllib.parse import parse_qs, urlsplit

from edgeprune.deploy.devices.answers import Lines
from edgeprune.deploy.devices.job import RUNNER, File, Job, Line, content_of
from edgeprune.deploy.devices.reply import broken_off, parsed, silent
from edgeprune.errors import InputError, MachineError

CONNECT_SECONDS = 15  # to connect, to make the folder, and to end
MOST_SAID = 1 << 16  # bytes of stderr
CHUNK = 1 << 20  # bytes sent within one timeout
T = TypeVar("T")
GUARDIAN = (
    "trap '' HUP INT TERM; umask 077; "
    'd=$(mktemp -d "${TMPDIR:-/tmp}/edgeprune-XXXXXXXX") || exit 1; '
    'echo "$d"; cat > /dev/null; rm -rf "$d"'
)
# One channel for all files, and nothing but the Python that runs the runner (-I: no module of the
# login folder hides the library's). A line with name and size comes before the bytes of each.
UNPACK = (
    "import pathlib, sys\n"
    "source = sys.stdin.buffer\n"
    "for line in iter(source.readline, b''):\n"
    "    name, size = line.decode().split()\n"
    "    pathlib.Path(sys.argv[1], name).write_bytes(source.read(int(size)))\n"
)


class Remote:
    """A device at ``ssh://[user@]host[:port][?python=/path/to/python]``."""

    def __init__(self, uri: str) -> None:
        """Parse the address; nothing is contacted yet.

        Raises:
            InputError: not such an address.
        """
        self.uri = uri
        try:
            parts = urlsplit(uri)
            query = parse_qs(parts.query, strict_parsing=bool(parts.query))
            self.host, self.user, self.port = parts.hostname, parts.username, parts.port
        except ValueError as error:
            raise InputError(f"device {uri!r}: {error}") from None
        if not self.host or parts.path not in ("", "/") or set(query) - {"python"}:
            raise InputError(f"device {uri!r} is not ssh://user@host[:port][?python=PATH]")
        if parts.password is not None:
            raise InputError("a password in an address is seen by everybody; use a key or agent")
        self.python = query.get("python", ["python3"])[0]

    def run(self, job: Job) -> Generator[Line]:
        """See ``Device.run``.

        Raises:
            MachineError: unknown host key, refused login, lost connection, full disk, no Python,
                no onnxruntime, wrong architecture, or silence.
        """
        stderr: list[bytes] = []
        with closing(self._lines(job, stderr)) as lines:
            said = lambda: b"".join(stderr).decode(errors="replace")  # noqa: E731
            yield from parsed(lines, self.uri, said, job)

    def _lines(self, job: Job, stderr: list[bytes]) -> Generator[bytes]:
        ssh = _asyncssh()
        answer = self._answer(ssh, job, stderr)

        async def following() -> bytes | None:
            async with _explained(ssh, self.uri):
                return await anext(answer, None)

        with asyncio.Runner() as loop:
            try:
                while (line := loop.run(following())) is not None:
                    yield line
            finally:
                loop.run(_closed(answer))

    async def _answer(
        self, ssh: ModuleType, job: Job, stderr: list[bytes]
    ) -> AsyncGenerator[bytes, None]:
        async with self._connected(ssh) as connection, self._folder(connection) as folder:
            models = {f"{number}.onnx": job.files[number] for number in sorted(job.opened)}
            files = {RUNNER.name: RUNNER, **models}
            await self._upload(connection, files, folder, job.timeout)
            paths = [f"{folder}/{number}.onnx" for number in range(len(job.models))]
            command = f"exec {shlex.quote(self.python)} {shlex.quote(f'{folder}/{RUNNER.name}')}"
            async with self._process(connection, command) as process:
                process.stdin.write(job.to_json(paths).encode() + b"\n")
                lines = Lines(self.uri)
                # Each line in its time, however many pieces it comes in.
                while found := await self._within(job.timeout, _some(lines, process.stdout)):
                    for line in found:
                        yield line
                for line in lines.rest():
                    yield line
                with suppress(TimeoutError):
                    said = process.stderr.read(MOST_SAID)
                    stderr.append(await asyncio.wait_for(said, CONNECT_SECONDS))

    async def _upload(
        self, connection: Any, files: Mapping[str, File], folder: str, seconds: float
    ) -> None:
        command = f"{shlex.quote(self.python)} -I -c {shlex.quote(UNPACK)} {shlex.quote(folder)}"
        async with self._process(connection, command) as process:
            for name, model in files.items():
                content = content_of(model)
                framed = f"{name} {len(content)}\n".encode() + content
                with suppress(OSError):  # the far side gave up reading: its stderr says why
                    for start in range(0, len(framed), CHUNK):
                        process.stdin.write(framed[start : start + CHUNK])
                        await self._within(seconds, process.stdin.drain())
            with suppress(OSError):
                process.stdin.write_eof()
            done = await self._within(seconds, process.wait())
        if done.exit_status != 0:
            said = bytes(done.stderr or b"").decode(errors="replace")
            raise broken_off(self.uri, said or f"the upload ended with {done.exit_status}")

    async def _within(self, seconds: float, answer: Awaitable[T]) -> T:
        try:
            return await asyncio.wait_for(answer, seconds)
        except TimeoutError:
            raise silent(self.uri, seconds) from None

    @asynccontextmanager
    async def _process(self, connection: Any, command: str) -> AsyncGenerator[Any, None]:
        # The login shell over there may be anything; this is written for sh.
        opening = connection.create_process(f"sh -c {shlex.quote(command)}", encoding=None)
        process = await self._within(CONNECT_SECONDS, opening)
        try:
            yield process
        finally:
            process.close()
            await _ended(connection, process)

    @asynccontextmanager
    async def _folder(self, connection: Any) -> AsyncGenerator[str, None]:
        async with self._process(connection, GUARDIAN) as guardian:
            folder = await self._within(CONNECT_SECONDS, guardian.stdout.readline())
            if not folder.strip():
                said = await self._within(CONNECT_SECONDS, guardian.stderr.read(MOST_SAID))
                raise broken_off(self.uri, said.decode(errors="replace"))
            try:
                yield folder.decode(errors="replace").strip()
            finally:
                if not connection.is_closed():
                    guardian.stdin.write_eof()
                    await _ended(connection, guardian)

    @asynccontextmanager
    async def _connected(self, ssh: ModuleType) -> AsyncGenerator[Any, None]:
        connection = await self._connection(ssh)
        try:
            yield connection
        finally:
            connection.close()
            await _ended(connection, connection)

    async def _connection(self, ssh: ModuleType) -> Any:
        named = {"username": self.user, "port": self.port}
        options = await ssh.SSHClientConnectionOptions.construct(
            config=(),  # the default places; without it no config is read
            host=self.host,
            connect_timeout=CONNECT_SECONDS,
            login_timeout=CONNECT_SECONDS,
            keepalive_interval=10,
            **{key: value for key, value in named.items() if value is not None},
        )
        if options.known_hosts is None:  # the one setting by which asyncssh trusts anybody
            raise MachineError(
                f"{self.uri}: the ssh config says UserKnownHostsFile none; edgeprune sends no "
                "model to a host whose key is not checked"
            )
        return await ssh.connect(self.host, options=options)


@asynccontextmanager
async def _explained(ssh: ModuleType, uri: str) -> AsyncGenerator[None, None]:
    try:
        yield
    except ssh.HostKeyNotVerifiable:
        host = uri.partition("?")[0]
        raise MachineError(
            f"{uri}: its host key is not in known_hosts, or another one is; connect once with "
            f"`ssh {host}` and check the key"
        ) from None
    except ssh.PermissionDenied:
        raise MachineError(f"{uri} refused the login; check user, agent and key files") from None
    except (ssh.ConnectionLost, ssh.ChannelOpenError, BrokenPipeError, ConnectionResetError):
        raise MachineError(f"{uri}: the connection was lost while measuring; try again") from None
    except (OSError, TimeoutError) as error:
        raise MachineError(f"{uri} cannot be reached: {_reason(error)}") from None
    except (ssh.Error, ValueError) as error:
        raise MachineError(f"{uri}: ssh failed: {_reason(error)}") from None


def _asyncssh() -> ModuleType:
    try:
        import asyncssh
    except ImportError:
        raise MachineError("ssh:// needs asyncssh: pip install 'edgeprune[ssh]'") from None
    return asyncssh


async def _closed(answer: AsyncGenerator[bytes, None]) -> None:
    await answer.aclose()


async def _ended(connection: Any, closing: Any) -> None:
    """Wait until it is closed; a far side that never says so loses the connection."""
    try:
        await asyncio.wait_for(closing.wait_closed(), CONNECT_SECONDS)
    except TimeoutError:
        connection.abort()


async def _some(lines: Lines, stdout: Any) -> list[bytes]:
    """Lines as they come, at least one; none at the end of stdout."""
    while chunk := await stdout.read(CHUNK):
        if found := list(lines.of(chunk)):
            return found
    return []


def _reason(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__
