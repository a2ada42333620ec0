"""Story (c): a store that is written in Python, over a table of SQLite's."""

# [snippet: own_store]
import asyncio
import sqlite3
from collections.abc import Sequence


class Store:
    def __init__(self, path: str) -> None:
        self.db = sqlite3.connect(path, isolation_level=None)
        self.db.execute("PRAGMA synchronous = FULL")
        # A number that is never given twice, also after its row is gone: the version.
        version = "version INTEGER PRIMARY KEY AUTOINCREMENT"
        self.db.execute(f"CREATE TABLE IF NOT EXISTS kv ({version}, key BLOB UNIQUE, value BLOB)")

    async def read(self, keys: Sequence[bytes]) -> list[tuple[bytes, int] | None]:
        query = "SELECT value, version FROM kv WHERE key = ?"
        return [self.db.execute(query, (key,)).fetchone() for key in keys]

    async def commit(
        self,
        expected: Sequence[tuple[bytes, int | None]],
        writes: Sequence[tuple[bytes, bytes | None]],
    ) -> bool:
        with self.db:
            self.db.execute("BEGIN IMMEDIATE")
            found = await self.read([key for key, _ in expected])
            if any((f and f[1]) != version for f, (_, version) in zip(found, expected)):
                return False
            for key, value in writes:
                self.db.execute("DELETE FROM kv WHERE key = ?", (key,))
                if value is not None:
                    self.db.execute("INSERT INTO kv (key, value) VALUES (?, ?)", (key, value))
        return True

    async def scan(
        self, prefix: bytes, after: bytes | None, limit: int
    ) -> tuple[list[tuple[bytes, bytes, int]], bool]:
        query = (
            "SELECT key, value, version FROM kv"
            " WHERE key > ? AND substr(key, 1, ?) = ? ORDER BY key LIMIT ?"
        )
        rows = self.db.execute(query, (after or b"", len(prefix), prefix, limit + 1)).fetchall()
        return rows[:limit], len(rows) > limit

    async def changes(self, key: bytes, after: int | None) -> None:
        await asyncio.sleep(0.25)
# [end]
