"""A store written in Python: the core's conformance suite, and a gate on it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from datetime import timedelta
from pathlib import Path

import pytest

import mfagate
from mfagate import _native
from mfagate._callbacks import Callbacks, Method
from mfagate._gate import store_callbacks
from support import office, within


class MemoryStore:
    """Values in a dictionary. Each call touches it in one step of the event loop."""

    def __init__(self) -> None:
        self.values: dict[bytes, tuple[bytes, int]] = {}
        self.last = 0

    async def read(self, keys: Sequence[bytes]) -> list[tuple[bytes, int] | None]:
        return [self.values.get(key) for key in keys]

    async def commit(
        self,
        expected: Sequence[tuple[bytes, int | None]],
        writes: Sequence[tuple[bytes, bytes | None]],
    ) -> bool:
        for key, version in expected:
            found = self.values.get(key)
            if (None if found is None else found[1]) != version:
                return False
        for key, value in writes:
            self.last += 1
            if value is None:
                self.values.pop(key, None)
            else:
                self.values[key] = (value, self.last)
        return True

    async def scan(
        self, prefix: bytes, after: bytes | None, limit: int
    ) -> tuple[list[tuple[bytes, bytes, int]], bool]:
        keys = sorted(key for key in self.values if key.startswith(prefix))
        found = [key for key in keys if after is None or key > after]
        page = [(key, *self.values[key]) for key in found[:limit]]
        return page, len(found) > limit

    async def changes(self, key: bytes, after: int | None) -> None:
        for _ in range(25):
            found = self.values.get(key)
            if (None if found is None else found[1]) != after:
                return
            await asyncio.sleep(0.01)


@within(600)
async def test_a_store_in_python_is_conformant() -> None:
    async def make() -> Callbacks:
        return store_callbacks(MemoryStore())

    await _native.check_store(Callbacks(fresh=Method(make)), 60.0)


@within(120)
async def test_a_store_that_forgets_a_write_is_found_out() -> None:
    class Forgetful(MemoryStore):
        async def commit(
            self,
            expected: Sequence[tuple[bytes, int | None]],
            writes: Sequence[tuple[bytes, bytes | None]],
        ) -> bool:
            return await super().commit(expected, writes[:-1])

    async def make() -> Callbacks:
        return store_callbacks(Forgetful())

    with pytest.raises(mfagate.Error):
        await _native.check_store(Callbacks(fresh=Method(make)), 60.0)


def own(store: mfagate.KeyedStore) -> dict[str, object]:
    return {
        "store": store,
        "private_key": mfagate.PrivateKey.generate(),
        "key_ring": mfagate.KeyRing.generate(),
    }


@within(120)
async def test_a_gate_admits_from_a_store_in_python(tmp_path: Path) -> None:
    store = MemoryStore()
    async with office(tmp_path, **own(store)) as o:
        async with mfagate.Client(await o.device()) as client:
            await client.connect(o.prompt)
            assert len(o.gate.sessions()) == 1
            # What a store holds is sealed: neither a code's secret nor a preshared key is in it.
            uri = o.secret.expose_uri("office", "alice")
            secret = uri.split("secret=")[1].split("&")[0].encode()
            assert secret not in b"".join(value for value, _ in store.values.values())


def hangs(*_: object) -> bool:
    time.sleep(5)
    return True


def raises(error: BaseException) -> Callable[..., bool]:
    def commit(*_: object) -> bool:
        raise error

    return commit


@pytest.mark.parametrize(
    "commit",
    [
        pytest.param(lambda *_: None, id="nothing"),
        pytest.param(lambda *_: 1, id="a-number"),
        pytest.param(lambda *_: "yes", id="a-text"),
        pytest.param(raises(OSError("disk")), id="an-error"),
        pytest.param(raises(SystemExit(0)), id="the-end"),
        pytest.param(raises(KeyboardInterrupt()), id="an-interrupt"),
        pytest.param(raises(asyncio.CancelledError()), id="a-cancellation"),
        pytest.param(hangs, id="nothing-in-time"),
    ],
)
@within(120)
async def test_a_commit_that_is_not_true_admits_no_one(
    tmp_path: Path, commit: Callable[..., object]
) -> None:
    store = MemoryStore()
    options = own(store)
    options["callback_timeout"] = timedelta(seconds=1)
    broken = False

    async def works(*arguments: object) -> bool:
        return await MemoryStore.commit(store, *arguments)  # type: ignore[arg-type]

    def judged(*arguments: object) -> object:
        return commit(*arguments) if broken else works(*arguments)

    store.commit = judged  # type: ignore[assignment, method-assign]
    async with office(tmp_path, **options) as o:
        async with mfagate.Client(await o.device()) as client:
            broken = True
            with pytest.raises(mfagate.Error):
                await client.connect(o.prompt)
            assert o.gate.sessions() == []
            assert client.status().phase != "connected"
            broken = False
