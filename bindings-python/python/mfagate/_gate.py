"""The gate: decides who is on its WireGuard interface."""

from __future__ import annotations

import os
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from datetime import datetime, timedelta
from types import TracebackType
from typing import Any, Protocol, Union

from . import _native
from ._callbacks import Callbacks, Method
from ._client import Forward
from ._interface import InterfaceBackend, interface_callbacks
from ._native import KeyRing, Onboarding, Policy, PrivateKey, Profile, TotpSecret
from ._types import (
    Answer,
    Challenge,
    Factor,
    GateEvent,
    Proof,
    Session,
    Token,
    User,
    VerifierContext,
    moment,
)

Verdict = Union[bool, Proof]
Asked = Union[Challenge, tuple[Challenge, bytes]]


class Verifier(Protocol):
    """Checks answers for one kind of factor. Each method may be a plain or a coroutine function.

    ``verify`` returns ``True``, ``False`` or a :class:`Proof`, and nothing else: another value, an
    exception and a call that takes too long all mean *not admitted*. Attributes named
    ``phishing_resistant``, ``user_verified`` and ``replay_resistant`` say what the factor proves.
    """

    @property
    def kind(self) -> str:
        """The kind of factor, by its stable name."""

    def challenge(self, context: VerifierContext, /) -> Union[Asked, Awaitable[Asked]]:
        """What to ask; with it, what to remember until the answer."""

    def verify(
        self, context: VerifierContext, answer: Answer, /
    ) -> Union[Verdict, Awaitable[Verdict]]:
        """Whether the answer is right."""


class KeyedStore(Protocol):
    """A key-value store with a compare-and-set over several keys. The whole of a gate's store is given
    over these four calls. Each may be a plain or a coroutine function.

    Keys and values are bytes; keys are ordered byte by byte. A version is a number that is another
    each time that its key's value changed, also after the key was removed and written again.
    """

    def read(
        self, keys: Sequence[bytes], /
    ) -> Union[Any, Awaitable[Any]]:  # Sequence[tuple[bytes, int] | None]
        """For each key, its value and version, or ``None``. All as of one moment."""

    def commit(
        self,
        expected: Sequence[tuple[bytes, int | None]],
        writes: Sequence[tuple[bytes, bytes | None]],
        /,
    ) -> Union[bool, Awaitable[bool]]:
        """Where every key has the version that is expected (``None``: is not there), makes every write
        (``None`` removes), durably and all or nothing, and returns ``True``; else ``False``."""

    def scan(
        self, prefix: bytes, after: bytes | None, limit: int, /
    ) -> Union[Any, Awaitable[Any]]:  # tuple[Sequence[tuple[bytes, bytes, int]], bool]
        """The keys with the prefix that are after ``after``, in order, at most ``limit``, each with its
        value and version; and whether there may be more."""

    def changes(self, key: bytes, after: int | None, /) -> Union[None, Awaitable[None]]:
        """Returns once the key's version is not ``after``, or earlier: to sleep for a quarter of a
        second will do."""


def _verifier(verifier: str | Verifier) -> str | tuple[str, Callbacks]:
    if isinstance(verifier, str):
        return verifier
    proves = {
        name: bool(getattr(verifier, name, False))
        for name in ("phishing_resistant", "user_verified", "replay_resistant")
    }

    def asked(value: Any) -> object:
        challenge, state = value if isinstance(value, tuple) else (value, None)
        if not isinstance(challenge, Challenge):
            raise TypeError("a verifier asks with a Challenge")
        return challenge.to_json(), state

    def verdict(value: object) -> object:
        if value is True:
            value = Proof()
        if isinstance(value, Proof):
            return {**proves, "counter": value.counter, "replace_secret": value.replace_secret}
        if value is not False:
            raise TypeError("a verifier returns True, False or a Proof")
        return value

    def answered(context: str, answer: str) -> tuple[VerifierContext, Answer]:
        return VerifierContext.from_json(context), Answer.from_json(answer)

    return verifier.kind, Callbacks(
        challenge=Method(
            verifier.challenge, lambda text: (VerifierContext.from_json(text),), asked
        ),
        verify=Method(verifier.verify, answered, verdict),
    )


def store_callbacks(store: KeyedStore) -> Callbacks:
    return Callbacks(
        read=Method(store.read),
        commit=Method(store.commit),
        scan=Method(store.scan),
        changes=Method(store.changes),
    )


class Gate:
    """A gate that runs. Leaving its ``async with`` block takes every peer off the interface."""

    def __init__(self, gate: _native.Gate) -> None:
        self._gate = gate
        #: Enrols users, devices and factors. It works on after the gate has stopped.
        self.registrar = Registrar(gate.registrar())

    @classmethod
    async def open(
        cls,
        folder: str | os.PathLike[str] | None = None,
        *,
        location: str,
        addresses: Iterable[str],
        verifiers: Iterable[str | Verifier] = ("totp",),
        policy: Policy | None = None,
        networks: Iterable[str] = (),
        listen: str = "[::]:51820",
        endpoint: str | None = None,
        serve: str | None = None,
        control: Iterable[str] = (),
        store: KeyedStore | None = None,
        private_key: PrivateKey | None = None,
        key_ring: KeyRing | None = None,
        interface: InterfaceBackend | None = None,
        callback_timeout: timedelta = timedelta(seconds=10),
    ) -> Gate:
        """Starts a gate with what is in ``folder``: key, key ring, SQLite store. They are made where
        they are not there yet. Or with a ``store`` of your own, its private key and its key ring.

        ``addresses`` are the gate's own inside the tunnel, with their networks. WireGuard listens at
        ``listen``, inside this process unless there is an ``interface``. ``serve`` is where the control
        channel is served over HTTP; ``control`` are the URLs by which clients reach it. ``verifiers``
        are names (``totp``, ``device-key``, ``password``, ``recovery-codes``) or objects of your own,
        each call of which may take ``callback_timeout``.
        """
        options = {
            "location": location,
            "folder": None if folder is None else os.fspath(folder),
            "store": None if store is None else store_callbacks(store),
            "private_key": private_key,
            "key_ring": key_ring,
            "policy": policy,
            "verifiers": [_verifier(verifier) for verifier in verifiers],
            "addresses": list(addresses),
            "networks": list(networks),
            "interface": None if interface is None else interface_callbacks(interface),
            "listen": listen,
            "endpoint": endpoint,
            "serve": serve,
            "control": list(control),
            "limit": callback_timeout.total_seconds(),
        }
        return cls(await _native.open_gate(options))

    async def __aenter__(self) -> Gate:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    @property
    def location(self) -> str:
        """The location that it serves."""
        return self._gate.location

    @property
    def public_key(self) -> str:
        """The location's public key, which clients know it by."""
        return self._gate.public_key

    @property
    def control(self) -> list[str]:
        """The URLs by which clients reach the control channel."""
        return self._gate.control

    @property
    def endpoint(self) -> str | None:
        """Where clients reach the location's WireGuard."""
        return self._gate.endpoint

    def sessions(self) -> list[Session]:
        """The live sessions."""
        return [
            Session(
                session=view["session"],
                peer=view["peer"],
                user=view["user"],
                addresses=tuple(view["addresses"]),
                verified_at=moment(view["verified_at"]),
                not_after=moment(view["not_after"]),
            )
            for view in self._gate.sessions()
        ]

    async def revoke(
        self, *, session: str | None = None, peer: str | None = None, user: str | None = None
    ) -> list[str]:
        """Ends the sessions of one session, peer or user, or all. Returns when their peers are out."""
        return await self._gate.revoke(*_scope(session, peer, user))

    async def recheck(
        self, *, session: str | None = None, peer: str | None = None, user: str | None = None
    ) -> list[str]:
        """Ends the sessions that the store or the policy no longer backs."""
        return await self._gate.recheck(*_scope(session, peer, user))

    async def set_policy(self, policy: Policy) -> None:
        """Changes the rules. Live leases are held to them and never lengthened."""
        await self._gate.set_policy(policy)

    def events(self) -> GateEvents:
        """The events from now on, as an asynchronous iterator."""
        return GateEvents(self._gate.events())

    async def forward(self, at: str, target: str) -> Forward:
        """Passes TCP connections to an address inside the tunnel on to a target outside."""
        return Forward(await self._gate.forward(at, target))

    async def close(self) -> None:
        """Stops serving, takes every peer off the interface and stops. Sessions stay in the store."""
        await self._gate.close()

    def __repr__(self) -> str:
        return f"<mfagate.Gate of {self.location!r}>"


def _scope(session: str | None, peer: str | None, user: str | None) -> tuple[str, str]:
    given = {"session": session, "peer": peer, "user": user}
    named = [(what, which) for what, which in given.items() if which is not None]
    if len(named) > 1:
        raise TypeError("give one of session, peer and user, or none for all")
    return named[0] if named else ("all", "")


class GateEvents:
    """A gate's events, as an asynchronous iterator."""

    def __init__(self, reader: _native.GateEventReader) -> None:
        self._reader = reader

    def __aiter__(self) -> GateEvents:
        return self

    async def __anext__(self) -> GateEvent:
        told = await self._reader.next()
        if told is None:
            raise StopAsyncIteration
        kind, fields = told
        if "not_after" in fields:
            fields["not_after"] = moment(fields["not_after"])
        if "factors" in fields:
            fields["factors"] = tuple(fields["factors"])
        return GateEvent(kind, **fields)


class Registrar:
    """Enrols users, devices and factors of one location."""

    def __init__(self, registrar: _native.Registrar) -> None:
        self._registrar = registrar

    async def put_user(self, user: str, *, enabled: bool = True) -> None:
        """Adds a user, or enables or disables one."""
        await self._registrar.put_user(user, enabled)

    async def put_groups(self, user: str, groups: Iterable[str]) -> None:
        """Sets the groups that a user is in."""
        await self._registrar.put_groups(user, list(groups))

    async def users(self) -> list[User]:
        """All users."""
        users = await self._registrar.users()
        return [User(name, enabled, tuple(groups)) for name, enabled, groups in users]

    async def enrol_device(
        self, user: str, label: str, *, addresses: Iterable[str] = ()
    ) -> Profile:
        """Makes a device's key pair and gives its profile, which alone has the private key. Without
        addresses it gets the next free ones."""
        return await self._registrar.enrol_device(user, label, list(addresses))

    async def onboard(
        self,
        user: str,
        label: str,
        kind: str,
        *,
        ttl: timedelta = timedelta(days=1),
        addresses: Iterable[str] = (),
    ) -> Onboarding:
        """A device's profile with a one-time token, by which its user enrols a factor of this kind. The
        user is added where there is none of that name."""
        addresses = list(addresses)
        return await self._registrar.onboard(user, label, addresses, kind, ttl.total_seconds())

    async def add_totp(self, user: str, label: str, secret: TotpSecret) -> str:
        """Enrols a secret of one-time passwords; returns the factor's id."""
        return await self._registrar.add_totp(user, label, secret)

    async def add_factor(self, user: str, label: str, kind: str, secret: bytes) -> str:
        """Enrols a factor of any kind by its secret; returns its id."""
        return await self._registrar.add_factor(user, label, kind, secret)

    async def factors(self, user: str) -> list[Factor]:
        """The user's factors."""
        return [Factor(*factor) for factor in await self._registrar.factors(user)]

    async def remove_factor(self, user: str, factor: str) -> None:
        """Removes a factor, but for the user's last active one."""
        await self._registrar.remove_factor(user, factor)

    async def reset_failures(self, user: str, factor: str) -> None:
        """Forgets a factor's failures, and unlocks it."""
        await self._registrar.reset_failures(user, factor)

    async def issue_token(
        self, user: str, kinds: Iterable[str], *, ttl: timedelta = timedelta(days=1)
    ) -> Token:
        """A one-time token, by which the user enrols a factor of one of these kinds."""
        issued = await self._registrar.issue_token(user, list(kinds), ttl.total_seconds())
        return Token(issued["id"], moment(issued["not_after"]), issued["text"])


def totp_code(secret: TotpSecret, at: datetime | None = None) -> str:
    """What an authenticator app shows: for tests and for machines that hold the secret."""
    millis = time.time_ns() // 1_000_000 if at is None else round(at.timestamp() * 1000)
    return secret.code_at(millis)
