"""An SSH server on this machine's loopback (asyncssh): a device that is here and yet remote."""

import asyncio
import getpass
import os
import sys
import tempfile
import threading
from collections.abc import Iterator
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
        for name in ("id_ed25519", "host_key"):
            key = asyncssh.generate_private_key("ssh-ed25519")
            key.write_private_key(keys / name)
            key.write_public_key(keys / f"{name}.pub")
            (keys / name).chmod(0o600)
        thread = threading.Thread(target=loop.run_forever, daemon=True)
        thread.start()
        listener = asyncio.run_coroutine_threadsafe(_listen(keys), loop).result(10)
        port = listener.get_port()
        known = (keys / "host_key.pub").read_text("utf-8")
        (keys / "known_hosts").write_text(f"[127.0.0.1]:{port} {known}", "utf-8")
        os.environ["HOME"] = folder
        try:
            yield f"ssh://{getpass.getuser()}@127.0.0.1:{port}?python={sys.executable}"
        finally:
            os.environ.pop("HOME")
            if home is not None:
                os.environ["HOME"] = home
            loop.call_soon_threadsafe(listener.close)
            loop.call_soon_threadsafe(loop.stop)
            thread.join(10)


async def _listen(keys: Path) -> Any:
    return await asyncssh.listen(
        "127.0.0.1",
        0,
        server_host_keys=[str(keys / "host_key")],
        authorized_client_keys=str(keys / "id_ed25519.pub"),
        process_factory=_serve,
        encoding=None,
    )


async def _serve(process: Any) -> None:
    pipe = asyncio.subprocess.PIPE
    child: Any = await asyncio.create_subprocess_shell(
        process.command, stdin=pipe, stdout=pipe, stderr=pipe
    )
    feeding = asyncio.create_task(_feed(process.stdin, child.stdin))
    try:
        await asyncio.gather(
            _feed(child.stdout, process.stdout, close=False),
            _feed(child.stderr, process.stderr, close=False),
        )
        process.exit(await child.wait())
        await process.wait_closed()
    finally:
        feeding.cancel()
        child.stdin.close()
        await child.wait()


async def _feed(source: Any, sink: Any, *, close: bool = True) -> None:
    while data := await source.read(65536):
        with suppress(OSError, asyncssh.Error):
            sink.write(data)
            await sink.drain()
    if close:
        sink.close()
