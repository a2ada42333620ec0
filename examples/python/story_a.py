"""Story (a): connect with a code and fetch an internal page.

python story_a.py office.toml http://10.9.0.1/
"""

# [snippet: connect]
import asyncio
import sys

import mfagate


async def main(profile: str, url: str) -> None:
    async with mfagate.Client(mfagate.Profile.read(profile)) as client:
        await client.connect(lambda question: input("Code: "))
        page = await asyncio.to_thread(client.opener().open, url)
        print(page.read().decode())


asyncio.run(main(*sys.argv[1:]))
# [end]
