"""Story (e): the process is killed, and the next one picks its session up.

python story_e.py office.toml FOLDER
"""

import asyncio
import contextlib
import sys
from pathlib import Path

import mfagate


def kept(path: Path) -> mfagate.HandoverKey:
    """The key that seals the session. An app has it in the system's store for secrets."""
    if not path.exists():
        path.touch(mode=0o600)
        path.write_bytes(mfagate.HandoverKey.generate().expose_secret())
    return mfagate.HandoverKey.from_bytes(path.read_bytes())


async def main(profile: str, folder: Path) -> None:
    key, saved = kept(folder / "handover.key"), folder / "session"
    async with mfagate.Client(mfagate.Profile.read(profile)) as client:
        # [snippet: resume]
        try:
            connected = await client.resume(saved.read_bytes(), key)
            print("resumed", connected.session, flush=True)
        except (FileNotFoundError, mfagate.Error):
            connected = await client.connect(lambda question: input("Code: "))
            print("connected", connected.session, flush=True)
        events = client.events()
        saved.write_bytes(await client.save_session(key))
        # [end]
        print("saved", flush=True)
        async for event in events:
            # A renewal changes the tunnel's key.
            if isinstance(event, mfagate.Renewed):
                saved.write_bytes(await client.save_session(key))


with contextlib.suppress(KeyboardInterrupt):
    asyncio.run(main(sys.argv[1], Path(sys.argv[2])))
