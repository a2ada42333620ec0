"""A gate in this process, its control channel on loopback, and an internal page behind its tunnel."""

from __future__ import annotations

import asyncio
import contextlib
import functools
from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import mfagate

PAGE = b"the internal page\n"


@dataclass
class Office:
    """A gate and what tests need of it."""

    gate: mfagate.Gate
    secret: mfagate.TotpSecret
    page: tuple[str, int]
    #: How many codes were shown: each is good once.
    shown: int = 0

    def code(self) -> str:
        """A code that is good once more: of this step, the next, and so on."""
        at = datetime.now(timezone.utc) + timedelta(seconds=30 * self.shown)
        self.shown += 1
        return mfagate.totp_code(self.secret, at)

    def prompt(self, _: mfagate.Question) -> str:
        return self.code()

    async def device(self, label: str = "laptop", user: str = "alice") -> mfagate.Profile:
        return await self.gate.registrar.enrol_device(user, label)


async def _serve_page(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
        await reader.readuntil(b"\r\n\r\n")
        head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(PAGE)}\r\nConnection: close\r\n\r\n"
        writer.write(head.encode() + PAGE)
        await writer.drain()
    writer.close()


@contextlib.asynccontextmanager
async def office(folder: Path, **options: Any) -> AsyncIterator[Office]:
    """Opens a gate with one user, `alice`, who has an authenticator app."""
    page = await asyncio.start_server(_serve_page, "127.0.0.1", 0)
    settings: dict[str, Any] = {
        "location": "office",
        "addresses": ["10.9.0.1/24"],
        "listen": "127.0.0.1:0",
        "serve": "127.0.0.1:0",
        **options,
    }
    if "store" not in settings:
        settings["folder"] = folder / "office"
    async with page, await mfagate.Gate.open(**settings) as gate:
        secret = mfagate.TotpSecret.generate()
        await gate.registrar.put_user("alice")
        await gate.registrar.add_totp("alice", "phone", secret)
        host, port = page.sockets[0].getsockname()
        inside = await gate.forward("10.9.0.1:80", f"{host}:{port}")
        with inside:
            yield Office(gate, secret, ("10.9.0.1", 80))


Test = Callable[..., Coroutine[Any, Any, None]]


def within(seconds: float) -> Callable[[Test], Callable[..., None]]:
    """Runs an asynchronous test; it fails where it takes longer."""

    def decorate(test: Test) -> Callable[..., None]:
        @functools.wraps(test)
        def run(*args: Any, **kwargs: Any) -> None:
            async def bounded() -> None:
                await asyncio.wait_for(test(*args, **kwargs), seconds)

            asyncio.run(bounded())

        return run

    return decorate


async def eventually(holds: Callable[[], bool], seconds: float = 30) -> None:
    """Waits until something holds."""
    end = asyncio.get_running_loop().time() + seconds
    while not holds():
        assert asyncio.get_running_loop().time() < end, "it does not come to hold"
        await asyncio.sleep(0.02)
