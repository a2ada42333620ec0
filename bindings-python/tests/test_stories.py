"""The stories under examples/python, each run as the program that it is."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import mfagate
from support import PAGE, eventually, office, within

STORIES = Path(__file__).parents[2] / "examples" / "python"


@contextlib.asynccontextmanager
async def program(name: str, *arguments: object) -> AsyncIterator[asyncio.subprocess.Process]:
    """A story that runs; it is killed at the end, where it has not ended by itself."""
    pipe = asyncio.subprocess.PIPE
    command = [sys.executable, "-W", "error", str(STORIES / name), *map(str, arguments)]
    story = await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe, stderr=pipe)
    try:
        yield story
    finally:
        if story.returncode is None:
            story.kill()
        await story.communicate()


async def ended(story: asyncio.subprocess.Process, says: str = "") -> str:
    """What a story prints from now on, up to its end."""
    printed, complaints = await story.communicate(says.encode())
    assert story.returncode == 0, complaints.decode()
    return printed.decode()


async def line(story: asyncio.subprocess.Process, begin: str) -> str:
    """The next line that begins so."""
    assert story.stdout is not None
    while printed := (await story.stdout.readline()).decode():
        # What was asked for stands before it, without a line's end.
        if begin in printed:
            return printed
    complaints = await story.stderr.read() if story.stderr else b""
    raise AssertionError(f"it ended without {begin!r}: {complaints.decode()}")


@within(120)
async def test_a_code_and_an_internal_page(tmp_path: Path) -> None:
    async with office(tmp_path) as o:
        profile = tmp_path / "office.toml"
        (await o.device()).write(profile)
        url = f"http://{o.page[0]}:{o.page[1]}/"
        async with program("story_a.py", profile, url) as story:
            assert PAGE.decode() in await ended(story, f"{o.code()}\n")


@within(120)
async def test_a_device_key_and_a_tunnel_of_the_apps(tmp_path: Path) -> None:
    steps = 'steps = [{ any_of = ["device-key", "totp"] }]'
    policy = mfagate.Policy.from_toml(steps)
    async with office(tmp_path, policy=policy, verifiers=["totp", "device-key"]) as o:
        # A user of whom no other factor is offered first.
        await o.gate.registrar.put_user("bob")
        profile = await o.device(user="bob")
        key = mfagate.SoftwareKey.generate()
        token = await o.gate.registrar.issue_token("bob", ["device-key"])
        async with mfagate.Client(profile) as client:
            prompt = mfagate.device_key(key, profile)
            await client.enrol("device-key", "laptop", prompt, token=token.text)
        key.write_new(tmp_path / "device.pem")
        profile.write(tmp_path / "office.toml")
        arguments = (tmp_path / "office.toml", tmp_path / "device.pem")
        async with program("story_b.py", *arguments) as story:
            printed = await ended(story)
        assert f"up {o.gate.public_key} {o.gate.endpoint} 10.9.0.0/24" in printed
        assert "connected for" in printed
        assert f"down {o.gate.public_key}" in printed


@within(120)
async def test_a_gate_with_a_store_and_a_verifier_of_its_own(tmp_path: Path) -> None:
    sessions = []
    for pin in ("4711", "4711", "0815"):
        async with program("story_c.py", tmp_path, "4711") as story:
            await line(story, "open")
            profile = mfagate.Profile.read(tmp_path / "alice.toml")
            (tmp_path / "alice.toml").unlink()
            answers = iter([pin])
            async with mfagate.Client(profile) as client:
                try:
                    connected = await client.connect(lambda _: next(answers, None))
                    sessions.append(connected.session)
                except mfagate.UserCancelledError:
                    assert pin == "0815"
            await ended(story)
    assert len(set(sessions)) == 2


@within(120)
async def test_events_a_revocation_and_another_sign_in(tmp_path: Path) -> None:
    rules = 'lease = "12s"\nrenewal = "off"\nsteps = [{ any_of = ["totp"] }]'
    policy = mfagate.Policy.from_toml(rules)
    async with office(tmp_path, policy=policy) as o:
        (await o.device()).write(tmp_path / "office.toml")
        async with program("story_d.py", tmp_path / "office.toml") as story:
            assert story.stdin is not None
            story.stdin.write(f"{o.code()}\n".encode())
            assert "needs factor" in await line(story, "ends in")
            await o.gate.revoke(user="alice")
            # On a slow machine, the lease may be over first.
            over = await line(story, "over:")
            assert "session-revoked" in over or "session-expired" in over
            assert "signed in again" in await ended(story, f"{o.code()}\n")
        await eventually(lambda: not o.gate.sessions())


@within(120)
async def test_a_killed_process_and_its_session(tmp_path: Path) -> None:
    async with office(tmp_path) as o:
        (await o.device()).write(tmp_path / "office.toml")
        arguments = ("story_e.py", tmp_path / "office.toml", tmp_path)
        async with program(*arguments) as story:
            assert story.stdin is not None
            story.stdin.write(f"{o.code()}\n".encode())
            session = (await line(story, "connected")).split()[-1]
            await line(story, "saved")
            story.kill()
        assert [view.session for view in o.gate.sessions()] == [session]
        async with program(*arguments) as story:
            assert session in await line(story, "resumed")
            await line(story, "saved")


def test_a_story_is_short() -> None:
    for path in STORIES.glob("*.py"):
        assert len(path.read_text().splitlines()) <= 60, path
