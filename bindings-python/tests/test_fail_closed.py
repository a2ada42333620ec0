"""What an app wrote, and what it may do wrong: no one is admitted for it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

import mfagate
from support import eventually, office, within


class Badge:
    """A verifier whose verdict is any that a test wants."""

    kind = "badge"
    replay_resistant = True

    def __init__(self, verdict: Callable[[], Any]) -> None:
        self.verdict = verdict

    def challenge(self, context: mfagate.VerifierContext) -> mfagate.Challenge:
        assert (context.user, context.location) == ("alice", "office")
        return mfagate.Challenge.password()

    def verify(self, context: mfagate.VerifierContext, answer: mfagate.Answer) -> Any:
        assert (context.secret, answer.fields["password"]) == (b"secret", "typed")
        return self.verdict()


POLICY = 'steps = [{ any_of = ["badge"] }]'


async def tries(folder: Path, verifier: mfagate.Verifier) -> tuple[mfagate.Error | None, int]:
    """Tries to sign in once; what came of it, and how many sessions there are then."""
    asked = 0

    def once(_: mfagate.Question) -> str | None:
        nonlocal asked
        asked += 1
        return "typed" if asked == 1 else None

    policy = mfagate.Policy.from_toml(POLICY)
    limit = timedelta(seconds=1)
    options: dict[str, Any] = {"policy": policy, "callback_timeout": limit}
    async with office(folder, verifiers=[verifier], **options) as o:
        await o.gate.registrar.add_factor("alice", "badge", "badge", b"secret")
        async with mfagate.Client(await o.device()) as client:
            try:
                await client.connect(once)
            except mfagate.Error as error:
                return error, len(o.gate.sessions())
            return None, len(o.gate.sessions())


def fails(error: BaseException) -> Callable[[], Any]:
    def verdict() -> Any:
        raise error

    return verdict


@pytest.mark.parametrize("verdict", [True, mfagate.Proof(counter=7)])
@within(120)
async def test_a_right_answer_admits(tmp_path: Path, verdict: object) -> None:
    assert await tries(tmp_path, Badge(lambda: verdict)) == (None, 1)


@pytest.mark.parametrize("verdict", [False, None, 1, "yes", [True], mfagate.Proof, object()])
@within(120)
async def test_what_is_not_true_admits_no_one(tmp_path: Path, verdict: object) -> None:
    error, sessions = await tries(tmp_path, Badge(lambda: verdict))
    assert error is not None and sessions == 0


@pytest.mark.parametrize(
    "error",
    [ValueError("typed"), SystemExit(0), KeyboardInterrupt(), asyncio.CancelledError()],
    ids=lambda error: type(error).__name__,
)
@within(120)
async def test_a_verifier_that_raises_admits_no_one(
    tmp_path: Path, error: BaseException, caplog: pytest.LogCaptureFixture
) -> None:
    failed, sessions = await tries(tmp_path, Badge(fails(error)))
    assert failed is not None and sessions == 0
    # The type is logged, and nothing of what it says.
    assert type(error).__name__ in caplog.text
    assert "typed" not in caplog.text + str(failed)


@pytest.mark.parametrize("is_async", [False, True])
@within(120)
async def test_a_verifier_that_hangs_admits_no_one(tmp_path: Path, is_async: bool) -> None:
    released, cancelled = threading.Event(), asyncio.Event()

    async def forever() -> bool:
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            cancelled.set()
            raise
        return True

    verdict = forever if is_async else (lambda: released.wait(60))
    error, sessions = await tries(tmp_path, Badge(verdict))
    released.set()
    assert error is not None and sessions == 0
    if is_async:
        await asyncio.wait_for(cancelled.wait(), 30)


@within(120)
async def test_what_a_prompt_raises_is_the_cause(tmp_path: Path) -> None:
    def prompt(_: mfagate.Question) -> str:
        raise LookupError("the user typed hunter2")

    async with office(tmp_path) as o, mfagate.Client(await o.device()) as client:
        with pytest.raises(mfagate.FaultError) as raised:
            await client.connect(prompt)
        assert isinstance(raised.value.__cause__, LookupError)
        assert "LookupError" in str(raised.value) and "hunter2" not in str(raised.value)
        assert raised.value.code == "prompt-failed"
        assert not raised.value.retryable


@pytest.mark.parametrize("reply", [7, b"123456", True, mfagate.Challenge.code()])
@within(120)
async def test_a_reply_of_a_wrong_type_is_none(tmp_path: Path, reply: Any) -> None:
    async with office(tmp_path) as o, mfagate.Client(await o.device()) as client:
        with pytest.raises(mfagate.FaultError) as raised:
            await client.connect(lambda _: reply)
        assert isinstance(raised.value.__cause__, TypeError)
        assert o.gate.sessions() == []


@within(120)
async def test_cancelling_a_sign_in_cancels_its_prompt(tmp_path: Path) -> None:
    asked, cancelled = asyncio.Event(), asyncio.Event()

    async def prompt(_: mfagate.Question) -> None:
        asked.set()
        try:
            await asyncio.sleep(3600)
        finally:
            cancelled.set()

    async with office(tmp_path) as o, mfagate.Client(await o.device()) as client:
        connecting = asyncio.create_task(client.connect(prompt))
        await asked.wait()
        assert client.status().waits_for_user
        connecting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await connecting
        await asyncio.wait_for(cancelled.wait(), 30)
        await eventually(lambda: client.status().phase == "idle")
        # The client is good for another try.
        await client.connect(o.prompt)


@within(120)
async def test_closing_ends_a_call_under_way(tmp_path: Path) -> None:
    asked = asyncio.Event()

    async def prompt(_: mfagate.Question) -> None:
        asked.set()
        await asyncio.sleep(3600)

    async with office(tmp_path) as o:
        client = mfagate.Client(await o.device())
        events = client.events()
        connecting = asyncio.create_task(client.connect(prompt))
        await asked.wait()
        await client.close()
        with pytest.raises(mfagate.Error):
            await connecting
        async for _ in events:
            pass
        with pytest.raises(mfagate.FaultError, match="closed"):
            await client.connect(o.prompt)
        await client.close()


class Broken:
    """An interface on which nothing can be put."""

    def __init__(self, error: BaseException) -> None:
        self.error = error

    def install(self, *_: object) -> None:
        raise self.error

    async def remove(self, *_: object) -> None: ...

    async def fence(self) -> None: ...

    async def list(self) -> tuple[mfagate.PeerConfig, ...]:
        return ()

    def activity(self, *_: object) -> tuple[mfagate.Activity, ...]:
        return ()


@pytest.mark.parametrize("error", [OSError(), SystemExit(), asyncio.CancelledError()], ids=repr)
@within(120)
async def test_a_broken_interface_is_not_connected(tmp_path: Path, error: BaseException) -> None:
    async with office(tmp_path) as o:
        async with mfagate.Client(await o.device(), interface=Broken(error)) as client:
            with pytest.raises(mfagate.Error):
                await client.connect(o.prompt)
            assert client.status().phase != "connected"
            await eventually(lambda: not o.gate.sessions())


@within(120)
async def test_a_revocation_takes_the_tunnel_down(tmp_path: Path) -> None:
    async with office(tmp_path) as o, mfagate.Client(await o.device()) as client:
        events = client.events()
        connected = await client.connect(o.prompt)
        assert await o.gate.revoke(peer=client.profile.public_key) == [connected.session]
        client.network_changed()
        ended = None
        while not isinstance(ended, mfagate.Ended):
            ended = await anext(events)
        assert (ended.session, ended.reason) == (connected.session, "session-revoked")
        assert client.status().phase == "idle"
        with pytest.raises((mfagate.Error, asyncio.TimeoutError)):
            await asyncio.wait_for(client.open_connection(*o.page), 1)


@within(120)
async def test_a_gate_tells_what_happens(tmp_path: Path) -> None:
    async with office(tmp_path) as o, mfagate.Client(await o.device()) as client:
        told = o.gate.events()
        await client.connect(o.prompt)
        admitted = await anext(told)
        assert (admitted.kind, admitted.user) == ("admitted", "alice")
        assert admitted.factors == ("totp",) and admitted.not_after is not None
        await client.sign_out()
        ended = await anext(told)
        assert (ended.kind, ended.session) == ("ended", admitted.session)


@within(120)
async def test_a_session_is_resumed_by_its_own_key_alone(tmp_path: Path) -> None:
    key = mfagate.HandoverKey.generate()
    async with office(tmp_path) as o:
        profile = await o.device()
        client = mfagate.Client(profile)
        connected = await client.connect(o.prompt)
        saved = await client.save_session(key)
        client.detach()
        async with mfagate.Client(profile) as stranger:
            with pytest.raises(mfagate.FaultError):
                await stranger.resume(saved, mfagate.HandoverKey.generate())
            assert stranger.status().phase == "idle"
            stranger.detach()
        async with mfagate.Client(profile) as successor:
            resumed = await successor.resume(saved, key)
            assert resumed.session == connected.session
            _, writer = await successor.open_connection(*o.page)
            writer.close()
            await writer.wait_closed()
