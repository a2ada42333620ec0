"""Story (d): watch events, be warned, be revoked, sign in again.

python story_d.py office.toml
"""

import asyncio
import sys
from datetime import timedelta

import mfagate


async def ask(question: mfagate.Question) -> str:
    return await asyncio.to_thread(input, "Code: ")


async def look(client: mfagate.Client) -> None:
    """Has the client ask the gate. An app does so when a request failed, or when the system tells."""
    while True:
        await asyncio.sleep(1)
        client.network_changed()


async def main(path: str) -> None:
    profile = mfagate.Profile.read(path)
    # Warned an hour before the end, or when three quarters of a short lease are over.
    async with mfagate.Client(profile, warn_before=timedelta(hours=1)) as client:
        looking = asyncio.create_task(look(client))
        # [snippet: events]
        events = client.events()
        await client.connect(ask)
        async for event in events:
            match event:
                case mfagate.Ending(ends_in=left, needs=needs):
                    print("ends in", left, "and needs", needs, flush=True)
                case mfagate.Ended(reason=reason):
                    print("over:", reason, flush=True)
                    await client.connect(ask)
                    print("signed in again", flush=True)
                    break
        # [end]
        looking.cancel()


asyncio.run(main(sys.argv[1]))
