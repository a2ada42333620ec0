"""The client for programs without an event loop: each call waits for its end.

One daemon thread of the process runs an event loop for all of them. Prompts are as those of
:class:`mfagate.Client`; a plain function runs on another thread, and may read from a terminal.
"""

from __future__ import annotations

import asyncio
import atexit
import socket
import threading
import urllib.request
from collections.abc import Coroutine, Iterator, Mapping
from datetime import timedelta
from types import TracebackType
from typing import Any, TypeVar

from . import _client
from ._client import Forward, Prompt, _give_up
from ._interface import InterfaceBackend
from ._native import HandoverKey, Onboarding, Profile
from ._types import Connected, Event, Status

_T = TypeVar("_T")

_lock = threading.Lock()
_loop: asyncio.AbstractEventLoop | None = None


def _event_loop() -> asyncio.AbstractEventLoop:
    global _loop
    with _lock:
        if _loop is None:
            _loop = loop = asyncio.new_event_loop()
            thread = threading.Thread(target=loop.run_forever, name="mfagate-loop", daemon=True)
            thread.start()

            def end() -> None:
                loop.call_soon_threadsafe(loop.stop)
                thread.join()
                loop.close()

            atexit.register(end)
        return _loop


def _wait(call: Coroutine[Any, Any, _T]) -> _T:
    future = asyncio.run_coroutine_threadsafe(call, _event_loop())
    try:
        return future.result()
    except BaseException:
        # An interrupt ends the wait; what was waited for ends with it.
        future.cancel()
        raise


class Client:
    """A client of one location. Use it as a ``with`` block: leaving the block signs out."""

    def __init__(
        self,
        profile: Profile | Onboarding,
        *,
        interface: InterfaceBackend | None = None,
        posture: Mapping[str, str] | None = None,
        warn_before: timedelta | None = None,
        renews: bool = True,
    ) -> None:
        """Makes a client, as :class:`mfagate.Client` is made."""
        self._client = _client.Client(
            profile, interface=interface, posture=posture, warn_before=warn_before, renews=renews
        )

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        _wait(self._client.__aexit__(kind, error, trace))

    def connect(self, prompt: Prompt) -> Connected:
        """Signs in and brings the tunnel up, asking the user by ``prompt``."""
        return _wait(self._client.connect(prompt))

    def renew(self, prompt: Prompt = _give_up) -> Connected:
        """Gives the live session more time. Asks only where the gate asks for a factor."""
        return _wait(self._client.renew(prompt))

    def enrol(self, kind: str, label: str, prompt: Prompt, *, token: str | None = None) -> str:
        """Enrols a factor; returns its id."""
        return _wait(self._client.enrol(kind, label, prompt, token=token))

    def status(self) -> Status:
        """Where the client stands now."""
        return self._client.status()

    def events(self) -> Iterator[Event]:
        """The events from now on. Each reader gets all of them; waiting for one blocks."""
        events = self._client.events()

        async def following() -> Event | None:
            return await anext(events, None)

        def read() -> Iterator[Event]:
            while (event := _wait(following())) is not None:
                yield event

        return read()

    def sign_out(self) -> None:
        """Signs out. Returns when the tunnel is down and the gate has been told."""
        _wait(self._client.sign_out())

    def close(self) -> None:
        """Signs out and stops the client for good."""
        _wait(self._client.close())

    def save_session(self, key: HandoverKey) -> bytes:
        """The live session, sealed: another client of this device can :meth:`resume` it."""
        return _wait(self._client.save_session(key))

    def resume(self, saved: bytes, key: HandoverKey) -> Connected:
        """Goes on with a saved session, without a sign-in. The first call of a client."""
        return _wait(self._client.resume(saved, key))

    def detach(self) -> None:
        """Stops without signing out: the session stays live at the gate until its own end."""
        self._client.detach()

    def network_changed(self) -> None:
        """Says that the device's network changed, so that the client looks again at once."""
        self._client.network_changed()

    def create_connection(
        self, address: tuple[str, int], timeout: float | None = None
    ) -> socket.socket:
        """A TCP connection through the tunnel, as ``socket.create_connection`` gives one."""
        return self._client.create_connection(address, timeout)

    def opener(self) -> urllib.request.OpenerDirector:
        """Opens URLs of ``http`` through the tunnel, as ``urllib.request`` does."""
        return self._client.opener()

    def forward(self, target: str, *, at: str = "127.0.0.1:0") -> Forward:
        """Passes connections to a loopback address on to ``target`` inside the tunnel."""
        return _wait(self._client.forward(target, at=at))

    def socks5(self, *, at: str = "127.0.0.1:0") -> Forward:
        """Serves SOCKS5 at a loopback address: any program that knows it reaches the tunnel."""
        return _wait(self._client.socks5(at=at))

    def __repr__(self) -> str:
        return repr(self._client).replace("mfagate.Client", "mfagate.blocking.Client")
