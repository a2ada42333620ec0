"""The client without an event loop."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

import mfagate
from mfagate import blocking
from support import PAGE, Office, office, within


def signs_in(o: Office, profile: mfagate.Profile) -> None:
    with blocking.Client(profile) as client:
        events = client.events()
        with pytest.raises(mfagate.FaultError):
            client.renew()
        connected = client.connect(o.prompt)
        assert client.status().session == connected.session
        host, port = o.page
        with client.opener().open(f"http://{host}:{port}/") as page:
            assert page.read() == PAGE
        client.sign_out()
        kinds = [type(next(events)) for _ in range(3)]
        assert mfagate.TunnelUp in kinds
    assert [type(event) for event in events][-1] is mfagate.Ended


@within(120)
async def test_a_program_without_a_loop(tmp_path: Path) -> None:
    async with office(tmp_path) as o:
        await asyncio.to_thread(signs_in, o, await o.device())
        assert o.gate.sessions() == []
