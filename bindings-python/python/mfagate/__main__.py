"""``python -m mfagate``: connects from a terminal, and checks a profile.

=======  ==================================================================================
status   of ``connect``
=======  ==================================================================================
0        stopped by a signal after it was connected, and signed out
1        anything else that failed, or the user gave up
3        the gate said no
4        the gate was not reached, or could not be told of the end
5        the session was over by itself
130      stopped by a signal before it was connected
=======  ==================================================================================
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import signal
import sys
import termios
import urllib.error
import urllib.request
from collections.abc import Coroutine, Iterator
from pathlib import Path
from typing import Any, TypeVar

from ._client import Client, Events
from ._errors import DeniedError, Error, LockedOutError, NotAvailableError, UserCancelledError
from ._native import Onboarding, Profile, __version__
from ._types import Choose, Ended, Ending, Offer, Question, Renewed, Reply

_T = TypeVar("_T")

FAILED, DENIED, UNREACHABLE, ENDED, STOPPED = 1, 3, 4, 5, 130

#: Where a gate's control channel is, below its URL.
_PATH = "/mfagate/v1"

#: What is typed for each kind of challenge, and whether others may read it.
_ASKED = {
    "code": ("Code", True),
    "sent_code": ("Code from the message", True),
    "password": ("Password", False),
    "recovery_code": ("Recovery code", False),
    "register_totp": ("Code that the app shows then", True),
    "choose_password": ("New password", False),
    "keep_recovery_codes": ("One of these codes", False),
    "address": ("Address for codes", True),
}


class _Lines:
    """Lines of the standard input, for one reader at a time. Waiting for one can be cancelled."""

    def __init__(self) -> None:
        self._read = b""
        self._is_over = False

    async def next(self) -> str | None:
        """The next line without its end, or ``None`` after the last."""
        loop = asyncio.get_running_loop()
        while b"\n" not in self._read and not self._is_over:
            readable = asyncio.Event()
            try:
                loop.add_reader(0, readable.set)
            except PermissionError:  # a file, which can always be read
                readable.set()
            try:
                await readable.wait()
            finally:
                loop.remove_reader(0)
            piece = os.read(0, 4096)
            self._is_over = not piece
            self._read += piece
        line, found, self._read = self._read.partition(b"\n")
        return line.decode(errors="replace").rstrip("\r") if found or line else None


@contextlib.contextmanager
def _unseen() -> Iterator[None]:
    """What is typed is not shown, where it is typed at a terminal."""
    if not sys.stdin.isatty():
        yield
        return
    before = termios.tcgetattr(0)
    without_echo = [*before]
    without_echo[3] = before[3] & ~termios.ECHO
    termios.tcsetattr(0, termios.TCSADRAIN, without_echo)
    try:
        yield
    finally:
        termios.tcsetattr(0, termios.TCSADRAIN, before)
        _say("")


def _say(text: str, end: str = "\n") -> None:
    # What a gate sends may hold what steers a terminal.
    shown = "".join(letter if letter.isprintable() else "?" for letter in text)
    sys.stderr.write(shown + end)
    sys.stderr.flush()


class _Asking:
    """Asks at the terminal: a line for each answer, a number for another factor."""

    def __init__(self) -> None:
        self._lines = _Lines()

    async def __call__(self, question: Question) -> Reply:
        if question.denied is not None:
            _say(f"Refused ({question.denied.reason}). Tries left: {question.denied.tries_left}.")
        elif (uri := question.challenge.fields.get("uri")) is not None:
            _say(f"Add this to an authenticator app: {uri}")
        for code in question.challenge.fields.get("codes", ()):
            _say(f"  {code}")
        others = question.others
        for number, other in enumerate(others, 1):
            _say(f"  {number}: {_named(other)} instead")
        asked = _ASKED.get(question.challenge.kind)
        if asked is None:
            _say(f"{_named(question.factor)} can't be used here. Choose another, or press Enter to give up.")
            typed = await self._line("Number", is_seen=True)
        else:
            what, is_seen = asked
            typed = await self._line(f"{what} ({_named(question.factor)})", is_seen=is_seen)
        if typed.isdecimal() and 0 < int(typed) <= len(others):
            return Choose(others[int(typed) - 1].factor)
        return typed if typed and asked else None

    async def _line(self, what: str, *, is_seen: bool) -> str:
        _say(f"{what}: ", end="")
        with contextlib.nullcontext() if is_seen else _unseen():
            return (await self._lines.next() or "").strip()


def _named(factor: Offer | None) -> str:
    return "a new factor" if factor is None else f"{factor.label}, {factor.kind}"


async def _connect(arguments: argparse.Namespace) -> int:
    stopped = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    start = Onboarding.read(arguments.file)
    client = Client(start)
    events = client.events()
    try:
        status = await _session(client, start, events, arguments, stopped)
    finally:
        try:
            await client.close()
        except NotAvailableError as error:
            _say(error.explanation)
            return UNREACHABLE
    return status


async def _session(
    client: Client,
    start: Onboarding,
    events: Events,
    arguments: argparse.Namespace,
    stopped: asyncio.Event,
) -> int:
    is_first = start.kind is not None
    ask = _Asking()
    connected = await _unless(stopped, client.connect(ask))
    if connected is None:
        return STOPPED
    if is_first:
        # The token is used up: from now on the file is a profile.
        client.profile.write(arguments.file)
    addresses = ", ".join(str(address.ip) for address in connected.addresses)
    _say(f"Connected as {addresses} for {connected.ends_in}.")
    with contextlib.ExitStack() as served:
        if arguments.socks is not None:
            socks = served.enter_context(await client.socks5(at=arguments.socks))
            _say(f"SOCKS5 at {socks.host}:{socks.port}")
        for local, _, inside in (text.partition("=") for text in arguments.forward):
            forward = served.enter_context(await client.forward(inside, at=local))
            _say(f"{inside} at {forward.host}:{forward.port}")
        if not arguments.forward and arguments.socks is None:
            _say("Nothing uses this tunnel: say what it is for with --socks or --forward.")
        return await _unless(stopped, _until_over(client, events, ask)) or 0


async def _until_over(client: Client, events: Events, ask: _Asking) -> int:
    """Waits for the session's end, and asks in time for what it takes to go on."""
    async for event in events:
        match event:
            case Ending(ends_in=left, needs="factor"):
                _say(f"The session ends in {left}.")
                with contextlib.suppress(UserCancelledError):
                    await client.connect(ask)
            case Renewed(ends_in=left):
                _say(f"Renewed for {left}.")
            # One that another took the place of has ended too.
            case Ended(explanation=why) if client.status().phase != "connected":
                _say(why)
                break
    return ENDED


async def _unless(stopped: asyncio.Event, call: Coroutine[Any, Any, _T]) -> _T | None:
    """Waits for a call, and cancels it when the program is told to stop: ``None`` then."""
    task, stop = asyncio.ensure_future(call), asyncio.ensure_future(stopped.wait())
    try:
        await asyncio.wait((task, stop), return_when=asyncio.FIRST_COMPLETED)
        return await task if task.done() else None
    finally:
        task.cancel()
        stop.cancel()
        await asyncio.gather(task, stop, return_exceptions=True)


def _check(arguments: argparse.Namespace) -> int:
    profile = Onboarding.read(arguments.file).profile
    _say(f"Location: {profile.location}, key {profile.location_key}")
    _say(f"This device: key {profile.public_key}")
    for what, values in (("Addresses", profile.addresses), ("Networks", profile.allowed_ips)):
        _say(f"{what}: {', '.join(map(str, values))}")
    _say(f"WireGuard endpoint: {profile.endpoint}")
    answers = [_answers(url) for url in profile.control]
    for url, (is_there, why) in zip(profile.control, answers):
        _say(f"Gate: {url}: {'there' if is_there else why}")
    return 0 if any(is_there for is_there, _ in answers) else UNREACHABLE


def _answers(url: str) -> tuple[bool, str]:
    """Whether something at the gate's address refuses what is no message, as a gate does."""
    request = urllib.request.Request(url.rstrip("/") + _PATH, data=b"", method="POST")
    try:
        with urllib.request.urlopen(request, timeout=15) as answer:
            return False, f"not a gate (HTTP {answer.status})"
    except urllib.error.HTTPError as error:
        is_gate = 400 <= error.code < 500 and error.code != 404
        return is_gate, f"not a gate (HTTP {error.code})"
    except OSError as error:
        return False, str(error)


def _arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m mfagate",
        description="MFA-gated WireGuard connections, inside this process: no root, no TUN device.",
    )
    parser.add_argument("--version", action="version", version=f"mfagate {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    connect = commands.add_parser(
        "connect", help="sign in, and serve the tunnel until Ctrl-C", description=_connect.__doc__
    )
    connect.add_argument("file", type=Path, help="the profile, or a new user's onboarding file")
    connect.add_argument(
        "--socks",
        nargs="?",
        const="127.0.0.1:1080",
        metavar="ADDRESS",
        help="serve SOCKS5 at a loopback address (127.0.0.1:1080)",
    )
    connect.add_argument(
        "--forward",
        action="append",
        default=[],
        metavar="LOCAL=INSIDE",
        help="pass connections to a loopback address on, as 127.0.0.1:8080=10.9.0.1:80",
    )
    connect.set_defaults(run=lambda arguments: asyncio.run(_connect(arguments)))
    check = commands.add_parser("check", help="say what a profile holds, and whether its gate is there")
    check.add_argument("file", type=Path, help="the profile, or a new user's onboarding file")
    check.set_defaults(run=_check)
    return parser


def main(words: list[str] | None = None) -> int:
    """Runs it; gives the exit status."""
    arguments = _arguments().parse_args(words)
    try:
        return int(arguments.run(arguments))
    except (DeniedError, LockedOutError) as error:
        status, why = DENIED, error.explanation
    except NotAvailableError as error:
        status, why = UNREACHABLE, error.explanation
    except UserCancelledError:
        return FAILED
    except (Error, OSError) as error:
        status, why = FAILED, str(error)
    _say(f"mfagate: {why}")
    return status


if __name__ == "__main__":
    sys.exit(main())
