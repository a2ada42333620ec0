"""Questions, answers and events, as the programs that use them see them."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from ipaddress import IPv4Interface, IPv6Interface
from typing import Any, Literal, Union

from ._errors import Error, InvalidValueError

Interface = Union[IPv4Interface, IPv6Interface]


def moment(millis: int) -> datetime:
    """A time of the core's."""
    return datetime.fromtimestamp(millis / 1000, timezone.utc)


@dataclass(frozen=True)
class Challenge:
    """What to answer, as the protocol has it: ``kind`` is its type, ``fields`` the rest.

    A challenge in which a factor is enrolled has secrets among its fields; they are not printed.
    """

    kind: str
    fields: Mapping[str, Any] = field(default_factory=dict, repr=False)

    @classmethod
    def code(cls, digits: int = 6) -> Challenge:
        """Asks for a code that the user's device shows."""
        return cls("code", {"digits": digits})

    @classmethod
    def password(cls) -> Challenge:
        """Asks for a password or PIN."""
        return cls("password")

    def to_json(self) -> str:
        return json.dumps({"type": self.kind, **self.fields})

    @classmethod
    def from_fields(cls, fields: Mapping[str, Any]) -> Challenge:
        return cls(fields["type"], {name: fields[name] for name in fields if name != "type"})


@dataclass(frozen=True)
class Answer:
    """An answer, as the protocol has it. Never printed."""

    kind: str
    fields: Mapping[str, Any] = field(default_factory=dict, repr=False)

    @classmethod
    def code(cls, code: str) -> Answer:
        """A code: digits, with spaces and hyphens as it was typed."""
        return cls("code", {"code": code})

    @classmethod
    def password(cls, password: str) -> Answer:
        """A password or PIN, also one to be."""
        return cls("password", {"password": password})

    @classmethod
    def recovery_code(cls, code: str) -> Answer:
        """One of the user's recovery codes."""
        return cls("recovery_code", {"code": code})

    @classmethod
    def id_token(cls, token: str) -> Answer:
        """A workload's ID token."""
        return cls("id_token", {"token": token})

    def to_json(self) -> str:
        return json.dumps({"type": self.kind, **self.fields})

    @classmethod
    def from_json(cls, text: str) -> Answer:
        fields = json.loads(text)
        return cls(fields.pop("type"), fields)


@dataclass(frozen=True)
class Choose:
    """Another of the offered factors, instead of an answer."""

    factor: str


@dataclass(frozen=True)
class Offer:
    """A factor that may be used now."""

    factor: str
    kind: str
    label: str
    #: How long answers to it are refused.
    locked_for: timedelta | None = None

    @classmethod
    def from_fields(cls, fields: Mapping[str, Any]) -> Offer:
        locked = fields["locked_for_ms"]
        return cls(
            fields["factor"],
            fields["kind"],
            fields["label"],
            None if locked is None else timedelta(milliseconds=locked),
        )


@dataclass(frozen=True)
class Denied:
    """Why the answer before was refused, and what is left."""

    reason: str
    tries_left: int
    locked_for: timedelta | None = None


@dataclass(frozen=True)
class Question:
    """What a prompt is asked. Answer with an :class:`Answer`, a :class:`Choose`, a ``str`` for what a
    person types, or ``None`` to give up."""

    attempt: str
    challenge: Challenge
    #: The factor; ``None`` while one is enrolled.
    factor: Offer | None
    others: tuple[Offer, ...]
    denied: Denied | None
    expires_in: timedelta

    @classmethod
    def from_json(cls, text: str) -> Question:
        asked = json.loads(text)
        denied = asked["denied"]
        if denied is not None:
            locked = denied["locked_for_ms"]
            denied = Denied(
                denied["reason"].replace("_", "-"),
                denied["tries_left"],
                None if locked is None else timedelta(milliseconds=locked),
            )
        factor = asked["factor"]
        return cls(
            attempt=asked["attempt"],
            challenge=Challenge.from_fields(asked["challenge"]),
            factor=None if factor is None else Offer.from_fields(factor),
            others=tuple(Offer.from_fields(other) for other in asked["others"]),
            denied=denied,
            expires_in=timedelta(milliseconds=asked["expires_in_ms"]),
        )


#: What a person types for each kind of challenge.
_TYPED: dict[str, Callable[[str], Answer]] = {
    "code": Answer.code,
    "sent_code": Answer.code,
    "register_totp": Answer.code,
    "password": Answer.password,
    "choose_password": Answer.password,
    "recovery_code": Answer.recovery_code,
    "keep_recovery_codes": Answer.recovery_code,
    "address": lambda text: Answer("address", {"address": text}),
}

Reply = Union[Answer, Choose, str, None]


def reply_to_json(question: Question, reply: object) -> str | None:
    """What the core takes for a prompt's reply."""
    if reply is None:
        return None
    if isinstance(reply, str):
        typed = _TYPED.get(question.challenge.kind)
        if typed is None:
            raise InvalidValueError("this challenge is not answered by a text")
        reply = typed(reply)
    if isinstance(reply, Answer):
        return reply.to_json()
    if isinstance(reply, Choose):
        return json.dumps({"choose": reply.factor})
    raise TypeError("a prompt answers with an Answer, a Choose, a str or None")


@dataclass(frozen=True)
class Connected:
    """A tunnel that is up."""

    session: str
    #: This device's own addresses inside the tunnel.
    addresses: tuple[Interface, ...]
    ends_in: timedelta

    @classmethod
    def from_fields(cls, fields: Mapping[str, Any]) -> Connected:
        return cls(fields["session"], tuple(fields["addresses"]), fields["ends_in"])


@dataclass(frozen=True)
class Status:
    """Where a client stands. What does not belong to its phase is ``None``."""

    phase: Literal["idle", "signing-in", "connecting", "connected", "closing"]
    session: str | None = None
    ends_in: timedelta | None = None
    #: ``live``, ``silent``, ``unreachable`` or ``untried``.
    health: str | None = None
    is_renewing: bool | None = None
    waits_for_user: bool | None = None


class Event:
    """What a client tells. Match on its classes."""


@dataclass(frozen=True)
class Enrolled(Event):
    """The factor is enrolled."""

    factor: str


@dataclass(frozen=True)
class Failed(Event):
    """The attempt is over without a new lease."""

    error: Error


@dataclass(frozen=True)
class Granted(Event):
    """The gate granted a session; the tunnel follows."""

    session: str


@dataclass(frozen=True)
class TunnelUp(Event):
    """The tunnel is up."""

    session: str
    addresses: list[Interface]
    ends_in: timedelta


@dataclass(frozen=True)
class Renewed(Event):
    """The lease lasts longer now. The tunnel stayed up."""

    session: str
    addresses: list[Interface]
    ends_in: timedelta


@dataclass(frozen=True)
class Live(Event):
    """Packets come through the tunnel."""


@dataclass(frozen=True)
class Ending(Event):
    """The lease ends soon."""

    ends_in: timedelta
    #: What it takes to go on: ``nothing``, ``request`` (a call of ``renew``) or ``factor``.
    needs: str


@dataclass(frozen=True)
class MfaRequired(Event):
    """The gate will not renew the lease without the user."""

    ends_in: timedelta


@dataclass(frozen=True)
class Unreachable(Event):
    """The gate can't be reached. The tunnel stays until the lease ends."""

    error: Error
    ends_in: timedelta


@dataclass(frozen=True)
class Reachable(Event):
    """The gate is reached again and says that the session is live."""


@dataclass(frozen=True)
class TunnelSilent(Event):
    """The session is live, but no packets come through the tunnel."""


@dataclass(frozen=True)
class EndpointMoved(Event):
    """The tunnel's packets go to another address from now on."""

    endpoint: str


@dataclass(frozen=True)
class Ended(Event):
    """The tunnel is down and the session over."""

    session: str
    #: A stable name, such as ``session-revoked``.
    reason: str
    explanation: str
    requires_sign_in: bool


@dataclass(frozen=True)
class SignOutUnconfirmed(Event):
    """The tunnel is down, but the gate could not be told."""


@dataclass(frozen=True)
class CancelUnconfirmed(Event):
    """An attempt was given up, but the gate could not be told."""


@dataclass(frozen=True)
class RemovalFailed(Event):
    """The interface did not take the tunnel down. The client keeps trying."""


@dataclass(frozen=True)
class Lagged(Event):
    """The reader was too slow and has missed events: ask for the status."""

    missed: int


_EVENTS: dict[str, type[Event]] = {
    "enrolled": Enrolled,
    "failed": Failed,
    "granted": Granted,
    "tunnel-up": TunnelUp,
    "renewed": Renewed,
    "live": Live,
    "ending": Ending,
    "mfa-required": MfaRequired,
    "unreachable": Unreachable,
    "reachable": Reachable,
    "tunnel-silent": TunnelSilent,
    "endpoint-moved": EndpointMoved,
    "ended": Ended,
    "sign-out-unconfirmed": SignOutUnconfirmed,
    "cancel-unconfirmed": CancelUnconfirmed,
    "removal-failed": RemovalFailed,
    "lagged": Lagged,
}


def event_from(name: str, fields: Mapping[str, Any]) -> Event:
    """The event of that name. A newer core may have others: they are plain events."""
    return _EVENTS[name](**fields) if name in _EVENTS else Event()


@dataclass(frozen=True)
class GateEvent:
    """What a gate tells: ``kind`` such as ``admitted``, ``ended`` or ``denied``, and what belongs to it."""

    kind: str
    session: str | None = None
    peer: str | None = None
    user: str | None = None
    factor: str | None = None
    reason: str | None = None
    not_after: datetime | None = None
    ends_in: timedelta | None = None
    factors: tuple[str, ...] = ()
    tries_left: int | None = None
    moved_from: str | None = None
    moved_to: str | None = None


@dataclass(frozen=True)
class Session:
    """A live session of a gate's."""

    session: str
    peer: str
    user: str
    addresses: tuple[Interface, ...]
    verified_at: datetime
    not_after: datetime


@dataclass(frozen=True)
class Factor:
    """An enrolled factor, without its secret."""

    id: str
    kind: str
    label: str


@dataclass(frozen=True)
class User:
    """A user whom the store knows."""

    name: str
    is_enabled: bool
    groups: tuple[str, ...]


@dataclass(frozen=True)
class Token:
    """A one-time token for an enrolment. Hand its text over as you would a password."""

    id: str
    not_after: datetime
    text: str = field(repr=False)


@dataclass(frozen=True)
class VerifierContext:
    """What a verifier may know of the attempt that it serves."""

    location: str
    peer: str
    user: str
    attempt: str
    now: datetime
    expires: datetime
    factor: Factor
    #: The greatest counter that the factor has used.
    last_counter: int | None
    #: The factor's secret, opened.
    secret: bytes = field(repr=False)
    #: What the verifier asked to remember when it asked.
    state: bytes | None = field(repr=False)

    @classmethod
    def from_json(cls, text: str) -> VerifierContext:
        told = json.loads(text)
        attempt, factor, state = told["attempt"], told["factor"], told["state"]
        return cls(
            location=attempt["location"],
            peer=attempt["peer"],
            user=attempt["user"],
            attempt=attempt["id"],
            now=moment(attempt["now"]),
            expires=moment(attempt["expires"]),
            factor=Factor(factor["id"], factor["kind"], factor["label"]),
            last_counter=factor["last_counter"],
            secret=base64.b64decode(told["secret"]),
            state=None if state is None else base64.b64decode(state),
        )


@dataclass(frozen=True)
class Proof:
    """A right answer, and what it takes with it, for a verifier that has more to say than ``True``."""

    #: A number that only grows: each is accepted once, as a one-time password's step.
    counter: int | None = None
    #: The factor's secret from now on, where the answer changes it.
    replace_secret: bytes | None = field(default=None, repr=False)
