"""`python -m mfagate`, as a person at a terminal has it."""

from __future__ import annotations

import asyncio
import contextlib
import re
import signal
import sys
import urllib.request
from pathlib import Path

import mfagate
from support import PAGE, office, within


async def program(*words: object) -> asyncio.subprocess.Process:
    pipe = asyncio.subprocess.PIPE
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", "mfagate", *map(str, words), stdin=pipe, stderr=pipe
    )


async def said(running: asyncio.subprocess.Process, what: str) -> str:
    """Reads until the program has said something; gives what it said until then."""
    assert running.stderr is not None
    text = ""
    while not re.search(what, text, re.DOTALL):
        piece = await running.stderr.read(4096)
        assert piece, f"it ended without {what!r}: {text}"
        text += piece.decode()
    return text


def enter(running: asyncio.subprocess.Process, line: str) -> None:
    assert running.stdin is not None
    running.stdin.write(f"{line}\n".encode())


@within(120)
async def test_a_person_connects_by_a_code_and_leaves_by_a_signal(tmp_path: Path) -> None:
    async with office(tmp_path) as o:
        file = tmp_path / "office.toml"
        (await o.device()).write(file)
        host, port = o.page
        running = await program("connect", file, "--forward", f"127.0.0.1:0={host}:{port}")
        await said(running, "Code .phone, totp.: ")
        enter(running, "000000")
        await said(running, r"Tries left: \d.*: $")
        enter(running, o.code())
        at = re.search(rf"{host}:{port} at (\S+)\n", await said(running, " at .*\n"))
        assert at is not None
        with await asyncio.to_thread(urllib.request.urlopen, f"http://{at[1]}/") as page:
            assert page.read() == PAGE
        running.send_signal(signal.SIGINT)
        assert await running.wait() == 0
        assert o.gate.sessions() == []


@within(120)
async def test_who_gives_up_or_is_stopped_at_the_question_has_no_session(tmp_path: Path) -> None:
    async with office(tmp_path) as o:
        file = tmp_path / "office.toml"
        (await o.device()).write(file)
        running = await program("connect", file)
        await said(running, ": $")
        assert running.stdin is not None
        running.stdin.close()
        assert await running.wait() == 1
        running = await program("connect", file)
        await said(running, ": $")
        running.send_signal(signal.SIGTERM)
        assert await running.wait() == 130
        assert o.gate.sessions() == []


@within(120)
async def test_a_session_that_is_revoked_ends_the_program(tmp_path: Path) -> None:
    async with office(tmp_path) as o:
        file = tmp_path / "office.toml"
        (await o.device()).write(file)
        host, port = o.page
        running = await program("connect", file, "--forward", f"127.0.0.1:0={host}:{port}")
        await said(running, ": $")
        enter(running, o.code())
        at = re.search(r" at (\S+)\n", await said(running, " at .*\n"))
        assert at is not None
        await o.gate.revoke()
        # A client asks the gate once nothing comes back through the tunnel.
        with contextlib.suppress(OSError):
            await asyncio.to_thread(urllib.request.urlopen, f"http://{at[1]}/", timeout=60)
        assert await running.wait() == 5


@within(120)
async def test_check_says_whether_the_gate_is_there(tmp_path: Path) -> None:
    file = tmp_path / "office.toml"
    async with office(tmp_path) as o:
        (await o.device()).write(file)
        running = await program("check", file)
        text = await said(running, "Gate: .*\n")
        assert "10.9.0.2/32" in text
        assert "there\n" in text
        assert await running.wait() == 0
    running = await program("check", file)
    assert await running.wait() == 4
    running = await program("check", tmp_path / "none.toml")
    assert "none.toml" in await said(running, "\n$")
    assert await running.wait() == 1
