"""The client against a real gate, over the real control channel and a tunnel inside this process."""

from __future__ import annotations

import asyncio
import ipaddress
import urllib.request
from pathlib import Path

import pytest

import mfagate
from support import PAGE, office, within


@within(120)
async def test_a_code_brings_the_tunnel_up(tmp_path: Path) -> None:
    async with office(tmp_path) as o:
        async with mfagate.Client(await o.device()) as client:
            assert client.status().phase == "idle"
            connected = await client.connect(o.prompt)
            assert connected.addresses == (ipaddress.ip_interface("10.9.0.2/32"),)
            assert client.status().session == connected.session
            assert [view.user for view in o.gate.sessions()] == ["alice"]

            reader, writer = await client.open_connection(*o.page)
            writer.write(b"GET / HTTP/1.1\r\nHost: internal\r\n\r\n")
            assert (await reader.read()).endswith(PAGE)
            writer.close()
            await writer.wait_closed()
        assert o.gate.sessions() == []


@within(120)
async def test_a_wrong_code_admits_no_one(tmp_path: Path) -> None:
    asked: list[mfagate.Question] = []

    async def wrong(question: mfagate.Question) -> str | None:
        asked.append(question)
        return "000000" if len(asked) == 1 else None

    async with office(tmp_path) as o:
        async with mfagate.Client(await o.device()) as client:
            with pytest.raises(mfagate.UserCancelledError):
                await client.connect(wrong)
            assert asked[1].denied is not None
            assert asked[1].denied.reason == "wrong"
            assert client.status().phase == "idle"
        assert o.gate.sessions() == []


@within(120)
async def test_ordinary_libraries_reach_an_internal_page(tmp_path: Path) -> None:
    async with office(tmp_path) as o:
        async with mfagate.Client(await o.device()) as client:
            await client.connect(o.prompt)
            host, port = o.page
            url = f"http://{host}:{port}/"
            with await asyncio.to_thread(client.opener().open, url) as page:
                assert page.read() == PAGE
            with await client.forward(f"{host}:{port}") as local:
                with await asyncio.to_thread(urllib.request.urlopen, local.url) as page:
                    assert page.read() == PAGE


@within(120)
async def test_a_program_that_knows_socks_reaches_an_internal_page(tmp_path: Path) -> None:
    async with office(tmp_path) as o, mfagate.Client(await o.device()) as client:
        await client.connect(o.prompt)
        host, port = o.page
        with await client.socks5() as proxy:
            reader, writer = await asyncio.open_connection(proxy.host, proxy.port)
            writer.write(b"\x05\x01\x00")  # RFC 1928: version 5, one method, no authentication
            assert await reader.readexactly(2) == b"\x05\x00"
            target = ipaddress.ip_address(host).packed + port.to_bytes(2, "big")
            writer.write(b"\x05\x01\x00\x01" + target)
            answer = await reader.readexactly(10)
            assert answer[1] == 0
            writer.write(b"GET / HTTP/1.1\r\nHost: internal\r\n\r\n")
            assert (await reader.read()).endswith(PAGE)
            writer.close()
            await writer.wait_closed()
