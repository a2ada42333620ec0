"""The interpreter may end at any moment, and what was opened and closed leaves nothing behind."""

from __future__ import annotations

import asyncio
import gc
import multiprocessing
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import mfagate
from support import office, within

#: How many programs end; more of them take longer.
PROGRAMS = int(os.environ.get("MFAGATE_EXITS", "20"))

HEAD = f"""
import asyncio, sys, time
from pathlib import Path
sys.path.insert(0, {str(Path(__file__).parent)!r})
import mfagate
from support import office
"""

#: Each ends with work under way on both sides.
ENDS = {
    "awaited-once": """
async def main():
    async with office(Path(sys.argv[1])) as o:
        await o.device()
asyncio.run(main())
""",
    "connected-and-left": """
async def main():
    async with office(Path(sys.argv[1])) as o:
        client = mfagate.Client(await o.device())
        await client.connect(o.prompt)
        reader, writer = await client.open_connection(*o.page)
        waiting = asyncio.create_task(anext(client.events()))
        await asyncio.sleep(0)
        sys.exit(0)
asyncio.run(main())
""",
    "a-prompt-that-hangs": """
async def main():
    async with office(Path(sys.argv[1])) as o:
        client = mfagate.Client(await o.device())
        asked = asyncio.Event()
        loop = asyncio.get_running_loop()
        def prompt(question):
            loop.call_soon_threadsafe(asked.set)
            time.sleep(3600)
        connecting = asyncio.create_task(client.connect(prompt))
        await asked.wait()
        connecting.cancel()
asyncio.run(main())
""",
    "a-storm-of-results": """
async def main():
    async with office(Path(sys.argv[1])) as o:
        calls = [asyncio.ensure_future(o.gate.registrar.users()) for _ in range(200)]
        await asyncio.wait(calls, return_when=asyncio.FIRST_COMPLETED)
        sys.exit(0)
asyncio.run(main())
""",
}


def _busy() -> None:
    while True:
        pass


@pytest.mark.parametrize("name", ENDS)
def test_a_program_ends_as_it_says(name: str, tmp_path: Path) -> None:
    program = HEAD + ENDS[name]
    count = -(-PROGRAMS // len(ENDS))

    def run(n: int) -> None:
        folder = tmp_path / str(n)
        folder.mkdir()
        command = [sys.executable, "-X", "faulthandler", "-c", program, str(folder)]
        ended = subprocess.run(command, capture_output=True, timeout=300)
        assert ended.returncode == 0, (ended.returncode, ended.stderr.decode())

    context = multiprocessing.get_context("spawn")
    loops = [context.Process(target=_busy, daemon=True) for _ in range(os.cpu_count() or 1)]
    for loop in loops:
        loop.start()
    try:
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(run, range(count)))
    finally:
        for loop in loops:
            loop.kill()
            loop.join()


def _resident() -> int:
    """Memory that no file has, in KiB."""
    status = Path("/proc/self/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("RssAnon"))


@within(600)
async def test_clients_opened_and_closed_leave_nothing(tmp_path: Path) -> None:
    count = int(os.environ.get("MFAGATE_CLIENTS", "200"))
    async with office(tmp_path) as o:
        profile = await o.device()

        async def some(count: int) -> int:
            for _ in range(count):
                async with mfagate.Client(profile) as client:
                    assert client.events() is not None
                    assert client.status().phase == "idle"
            gc.collect()
            await asyncio.sleep(0.2)
            return _resident()

        before = await some(count // 2)
        files = len(os.listdir("/proc/self/fd"))
        after = await some(count)
        # A leak of 4 KiB for each client would be more than that.
        assert after - before < 4 * count, (before, after)
        assert len(os.listdir("/proc/self/fd")) <= files + 2
