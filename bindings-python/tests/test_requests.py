"""``requests`` through a tunnel."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
import requests

import mfagate
import mfagate.requests
from support import PAGE, office, within


@within(120)
async def test_requests_go_through_the_tunnel_and_nowhere_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with office(tmp_path) as o, mfagate.Client(await o.device()) as client:
        await client.connect(o.prompt)
        monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
        host, port = o.page
        url = f"http://{host}:{port}/"
        with mfagate.requests.session(client) as session:
            page = await asyncio.to_thread(session.get, url, timeout=20)
            assert page.content == PAGE
            with pytest.raises(requests.exceptions.InvalidProxyURL):
                session.get(url, proxies={"http": "http://127.0.0.1:9"})
            await client.sign_out()
            with pytest.raises(requests.exceptions.ConnectionError):
                await asyncio.to_thread(session.get, url, timeout=2)
