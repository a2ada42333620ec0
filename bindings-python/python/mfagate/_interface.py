"""A WireGuard interface of the app's own."""

from __future__ import annotations

from collections.abc import Awaitable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol, Union

from ._callbacks import Callbacks, Method
from ._native import PeerConfig


@dataclass(frozen=True)
class Activity:
    """What an interface knows of a peer's traffic, in bytes with WireGuard's own."""

    key: str
    last_handshake: datetime | None
    received: int
    sent: int


class InterfaceBackend(Protocol):
    """A WireGuard interface. Each method may be a plain function or a coroutine function.

    What returns has done it: an exception says that it is not known, and the core then removes.
    """

    def install(self, peers: Sequence[PeerConfig], /) -> Union[None, Awaitable[None]]:
        """Puts each peer on the interface with exactly this key and these networks."""

    def remove(self, peers: Sequence[str], /) -> Union[None, Awaitable[None]]:
        """Takes the peers of these public keys off. Returns when none of their packets pass."""

    def list(self) -> Union[Iterable[PeerConfig], Awaitable[Iterable[PeerConfig]]]:
        """All peers on the interface: those that were installed, as they were given."""

    def activity(
        self, peers: Sequence[str], /
    ) -> Union[Iterable[Activity], Awaitable[Iterable[Activity]]]:
        """What the interface knows of these peers' traffic; absent peers are left out."""

    def fence(self) -> Union[None, Awaitable[None]]:
        """Takes the whole interface down: no packet passes after it returns."""


def _seen(activity: Iterable[Activity]) -> object:
    return [
        (
            seen.key,
            None if seen.last_handshake is None else round(seen.last_handshake.timestamp() * 1000),
            seen.received,
            seen.sent,
        )
        for seen in activity
    ]


def interface_callbacks(interface: InterfaceBackend) -> Callbacks:
    return Callbacks(
        install=Method(interface.install),
        # In place where the interface can; else the peer is put on it again.
        renew=Method(getattr(interface, "renew", interface.install)),
        remove=Method(interface.remove),
        list=Method(interface.list, after=lambda peers: list(peers)),
        activity=Method(interface.activity, after=_seen),
        fence=Method(interface.fence),
    )
