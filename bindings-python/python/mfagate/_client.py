"""The client: signs in, brings the tunnel up, keeps it up, takes it down."""

from __future__ import annotations

import asyncio
import http.client
import socket
import urllib.request
from collections.abc import Awaitable, Callable, Mapping
from datetime import timedelta
from types import TracebackType
from typing import Any, Union

from . import _native
from ._callbacks import Callbacks, Method
from ._errors import Error, FaultError
from ._interface import InterfaceBackend, interface_callbacks
from ._native import HandoverKey, Onboarding, Profile
from ._types import Connected, Event, Question, Reply, Status, event_from, reply_to_json

#: Asks the user for an answer: a plain function, which may block, or a coroutine function.
Prompt = Callable[[Question], Union[Reply, Awaitable[Reply]]]


def prompt_callbacks(prompt: Prompt) -> Callbacks:
    asked: list[Question] = []

    def before(text: str) -> tuple[Question]:
        question = Question.from_json(text)
        asked[:] = [question]
        return (question,)

    return Callbacks(
        answer=Method(prompt, before, lambda reply: reply_to_json(asked[0], reply))
    )


def _give_up(_: Question) -> None:
    return None


class Client:
    """A client of one location.

    Use it as an ``async with`` block: leaving the block signs out. The tunnel is inside this process,
    without root and without a TUN device, unless an ``interface`` is given.
    """

    def __init__(
        self,
        profile: Profile | Onboarding,
        *,
        interface: InterfaceBackend | None = None,
        posture: Mapping[str, str] | None = None,
        warn_before: timedelta | None = None,
        renews: bool = True,
    ) -> None:
        """Makes a client; nothing happens before the first call.

        ``posture`` is told to the gate's authoriser. ``warn_before`` is how long before its end the
        session is told to be ending. With ``renews=False`` only :meth:`renew` renews it.
        """
        self._start: Onboarding | None = None
        if isinstance(profile, Onboarding):
            self._start = profile
            profile = profile.profile
        self.profile = profile
        self._interface = interface
        self._posture = dict(posture or {})
        self._warn_before = warn_before
        self._renews = renews
        self._client: _native.Client | None = None
        self._closed = False

    def _options(self) -> dict[str, Any]:
        interface = self._interface
        warn_before = self._warn_before
        return {
            "interface": None if interface is None else interface_callbacks(interface),
            "posture": self._posture,
            "warn_before": None if warn_before is None else warn_before.total_seconds(),
            "renews": self._renews,
        }

    def _native(self) -> _native.Client:
        if self._client is None:
            if self._closed:
                raise FaultError("the client is closed: make a new one", code="client-stopped")
            self._client = _native.Client(self.profile, self._options())
        return self._client

    async def __aenter__(self) -> Client:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            await self.close()
        except Error:
            # What went wrong inside the block says more than what followed from it.
            if error is None:
                raise

    async def connect(self, prompt: Prompt) -> Connected:
        """Signs in and brings the tunnel up, asking the user by ``prompt``.

        With an :class:`Onboarding`, the user's first factor is enrolled first. With a live session, it
        is given more time while the tunnel stays up. Cancelling it gives the attempt up.
        """
        client, start = self._native(), self._start
        callbacks = prompt_callbacks(prompt)
        if start is not None and start.kind is not None:
            label = start.label or start.kind
            call = client.onboard(start.kind, label, start.expose_token(), callbacks)
        else:
            call = client.connect(callbacks)
        connected = Connected.from_fields(await _told(call, callbacks))
        self._start = None
        return connected

    async def renew(self, prompt: Prompt = _give_up) -> Connected:
        """Gives the live session more time. Asks only where the gate asks for a factor."""
        callbacks = prompt_callbacks(prompt)
        return Connected.from_fields(await _told(self._native().renew(callbacks), callbacks))

    async def enrol(
        self, kind: str, label: str, prompt: Prompt, *, token: str | None = None
    ) -> str:
        """Enrols a factor, with a one-time token or after the user's other factors; returns its id."""
        callbacks = prompt_callbacks(prompt)
        call = self._native().enrol(kind, label, token, callbacks)
        return str(await _told(call, callbacks))

    def status(self) -> Status:
        """Where the client stands now."""
        if self._client is None:
            return Status("idle")
        phase, fields = self._client.status()
        return Status(phase, **fields)

    def events(self) -> Events:
        """The events from now on, as an asynchronous iterator. Each reader gets all of them."""
        return Events(self._native().events())

    async def sign_out(self) -> None:
        """Signs out. Returns when the tunnel is down and the gate has been told."""
        if self._client is not None:
            await self._client.sign_out()

    async def close(self) -> None:
        """Signs out and stops the client for good; readers of events come to their end."""
        client, self._client = self._client, None
        self._closed = True
        if client is not None:
            await client.close()

    async def save_session(self, key: HandoverKey) -> bytes:
        """The live session, sealed: another client of this device can :meth:`resume` it.

        Save again after each renewal, and :meth:`detach` before another client goes on with it.
        """
        return await self._native().save_session(key)

    async def resume(self, saved: bytes, key: HandoverKey) -> Connected:
        """Goes on with a saved session, without a sign-in. The first call of a client.

        Where that can't be, the error says why, and the client may :meth:`connect`.
        """
        if self._client is not None or self._closed:
            raise FaultError("resume comes first: make a new client", code="client-in-use")
        options = self._options()
        resumed = await _native.Client.resume(self.profile, options, saved, key)
        self._client, fields, error = resumed
        if fields is None:
            raise error or FaultError("the session was not resumed")
        return Connected.from_fields(fields)

    def detach(self) -> None:
        """Stops without signing out: the session stays live at the gate until its own end."""
        self._closed = True
        if self._client is not None:
            self._client.detach()
            self._client = None

    def network_changed(self) -> None:
        """Says that the device's network changed, so that the client looks again at once."""
        self._native().network_changed()

    def woke(self) -> None:
        """Says that the device woke up: where the policy says so, the session ends."""
        self._native().woke()

    def set_quiet(self, is_quiet: bool) -> None:
        """Says that the app reports wake-ups and network changes from now on, or does so no more."""
        self._native().set_quiet(is_quiet)

    async def open_connection(
        self, host: str, port: int
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A TCP connection through the tunnel, as asyncio streams. ``host`` is an IP address."""
        return await asyncio.open_connection(sock=await self.dial(host, port))

    async def dial(self, host: str, port: int) -> socket.socket:
        """A TCP connection through the tunnel, as a socket. ``host`` is an IP address."""
        stream = await self._native().dial(_joined(host, port))
        return socket.socket(fileno=stream.detach())

    def create_connection(
        self, address: tuple[str, int], timeout: float | None = None
    ) -> socket.socket:
        """As :meth:`dial`, for a thread without an event loop: what ``socket.create_connection`` is."""
        limit = 30.0 if timeout is None else timeout
        stream = self._native().dial_blocking(_joined(*address), limit)
        connection = socket.socket(fileno=stream.detach())
        connection.settimeout(timeout)
        return connection

    def opener(self) -> urllib.request.OpenerDirector:
        """Opens URLs of ``http`` through the tunnel, as ``urllib.request`` does. It blocks its thread."""
        client = self

        class Connection(http.client.HTTPConnection):
            def connect(self) -> None:
                limit = self.timeout if isinstance(self.timeout, (int, float)) else None
                self.sock = client.create_connection((self.host, self.port), limit)

        class Handler(urllib.request.HTTPHandler):
            def http_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
                return self.do_open(Connection, req)

        # No proxy of the system's: what is inside the tunnel stays inside.
        return urllib.request.build_opener(Handler, urllib.request.ProxyHandler({}))

    async def forward(self, target: str, *, at: str = "127.0.0.1:0") -> Forward:
        """Passes connections to a loopback address on to ``target`` inside the tunnel."""
        return Forward(await self._native().forward(at, target))

    async def socks5(self, *, at: str = "127.0.0.1:0") -> Forward:
        """Serves SOCKS5 at a loopback address: any program that knows it reaches the tunnel."""
        return Forward(await self._native().socks5(at))

    def __repr__(self) -> str:
        return f"<mfagate.Client of {self.profile.location!r}, {self.status().phase}>"


def _joined(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


async def _told(call: Awaitable[Any], callbacks: Callbacks) -> Any:
    """Waits for a call that may ask; what the prompt itself raised is the cause of its failure."""
    try:
        return await call
    except Error as error:
        if callbacks.error is not None:
            raise error from callbacks.error
        raise


class Events:
    """A client's events, as an asynchronous iterator. It ends when the client has stopped."""

    def __init__(self, reader: _native.EventReader) -> None:
        self._reader = reader

    def __aiter__(self) -> Events:
        return self

    async def __anext__(self) -> Event:
        told = await self._reader.next()
        if told is None:
            raise StopAsyncIteration
        return event_from(*told)


class Forward:
    """A listener that passes connections on until it is closed. Its block closes it."""

    def __init__(self, forward: _native.Forward) -> None:
        self._forward = forward
        self.host, self.port = forward.address

    @property
    def url(self) -> str:
        """Where it listens, as a URL of HTTP."""
        return f"http://{_joined(self.host, self.port)}"

    def close(self) -> None:
        """Ends it and the connections through it."""
        self._forward.close()

    def __enter__(self) -> Forward:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
