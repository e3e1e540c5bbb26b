"""An SSH server on this machine's loopback (asyncssh): a device that is here and yet remote."""

import asyncio
import getpass
import os
import sys
import tempfile
import threading
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import asyncssh


@contextmanager
def serving() -> Iterator[str]:
    """Serve the current user with keys made for this moment; yields the device's address.

    HOME is another folder meanwhile, so that no key or known host of the user is read or written.
    """
    home, loop = os.environ.get("HOME"), asyncio.new_event_loop()
    with tempfile.TemporaryDirectory() as folder:
        keys = Path(folder) / ".ssh"
        keys.mkdir(mode=0o700)
        make_keys(keys)
        thread = threading.Thread(target=loop.run_forever, daemon=True)
        thread.start()
        opening = listen(keys, "id_ed25519.pub", lambda process: run(process, process.command))
        listener = asyncio.run_coroutine_threadsafe(opening, loop).result(10)
        port = listener.get_port()
        know(keys, port)
        os.environ["HOME"] = folder
        try:
            yield f"ssh://{getpass.getuser()}@127.0.0.1:{port}?python={sys.executable}"
        finally:
            os.environ.pop("HOME")
            if home is not None:
                os.environ["HOME"] = home
            asyncio.run_coroutine_threadsafe(_closed(listener), loop).result(10)
            loop.call_soon_threadsafe(loop.stop)
            thread.join(10)
            loop.close()


async def _closed(listener: Any) -> None:
    """Close a server, and let what it still serves end."""
    listener.close()
    await listener.wait_closed()
    others = asyncio.all_tasks() - {asyncio.current_task()}
    await asyncio.wait(others, timeout=5) if others else None


def make_keys(folder: Path) -> None:
    """Write the key of a user and that of a host, private and public."""
    for name in ("id_ed25519", "host_key"):
        key = asyncssh.generate_private_key("ssh-ed25519")
        key.write_private_key(folder / name)
        key.write_public_key(folder / f"{name}.pub")
        (folder / name).chmod(0o600)


def know(folder: Path, port: int, key: str = "host_key") -> None:
    """Write the known host that a server on this port is, by its public key."""
    public = (folder / f"{key}.pub").read_text("utf-8")
    (folder / "known_hosts").write_text(f"[127.0.0.1]:{port} {public}", "utf-8")


async def listen(folder: Path, authorized: str, serve: Callable[[Any], Awaitable[None]]) -> Any:
    """Listen on a free port with the host's key; ``authorized`` names a file of users' keys."""
    return await asyncssh.listen(
        "127.0.0.1",
        0,
        server_host_keys=[str(folder / "host_key")],
        authorized_client_keys=str(folder / authorized),
        process_factory=serve,
        encoding=None,
    )


async def run(process: Any, command: str, environment: Mapping[str, str] | None = None) -> None:
    """Run a command of a session in a real shell, until both have ended."""
    pipe = asyncio.subprocess.PIPE
    child: Any = await asyncio.create_subprocess_shell(
        command, stdin=pipe, stdout=pipe, stderr=pipe, env=environment
    )
    # asyncssh's own redirection may end the session before all of stderr went through.
    feeding = asyncio.create_task(_feed(process.stdin, child.stdin))
    try:
        await asyncio.gather(
            _drain(child.stdout, process.stdout), _drain(child.stderr, process.stderr)
        )
        process.exit(await child.wait())
        await process.wait_closed()
    finally:
        feeding.cancel()
        child.stdin.close()
        await child.wait()


async def _feed(source: Any, sink: Any) -> None:
    with suppress(OSError, asyncssh.Error):
        while data := await source.read(65536):
            sink.write(data)
            await sink.drain()
    sink.close()


async def _drain(source: Any, sink: Any) -> None:
    while data := await source.read(65536):
        with suppress(OSError, asyncssh.Error):
            sink.write(data)
