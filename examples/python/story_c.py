"""Story (c): a gate with a store and a verifier that are written in Python.

python story_c.py FOLDER PIN: writes FOLDER/alice.toml, and serves until its input ends.
"""

import asyncio
import hmac
import sys
from pathlib import Path

import mfagate
from story_c_store import Store


# [snippet: own_verifier]
class BadgeVerifier:
    kind = "badge-pin"

    def challenge(self, context: mfagate.VerifierContext) -> mfagate.Challenge:
        return mfagate.Challenge.password()

    def verify(self, context: mfagate.VerifierContext, answer: mfagate.Answer) -> bool:
        typed = str(answer.fields.get("password", ""))
        return hmac.compare_digest(context.secret, typed.encode())
# [end]


def kept(folder: Path) -> tuple[mfagate.PrivateKey, mfagate.KeyRing]:
    """The location's key and the store's key ring, made at the first start."""
    ring, key = folder / "ring.keys", folder / "gate.key"
    if not ring.exists():
        mfagate.KeyRing.generate().write_new(ring)
        key.touch(mode=0o600)
        key.write_text(mfagate.PrivateKey.generate().expose_base64())
    return mfagate.PrivateKey.from_base64(key.read_text()), mfagate.KeyRing.read(ring)


async def main(folder: Path, pin: str) -> None:
    private_key, key_ring = kept(folder)
    async with await mfagate.Gate.open(
        location="office",
        store=Store(str(folder / "gate.db")),
        private_key=private_key,
        key_ring=key_ring,
        verifiers=[BadgeVerifier()],
        policy=mfagate.Policy.from_toml('steps = [{ any_of = ["badge-pin"] }]'),
        addresses=["10.9.0.1/24"],
        listen="127.0.0.1:0",
        serve="127.0.0.1:0",
    ) as gate:
        await gate.registrar.put_user("alice")
        await gate.registrar.add_factor("alice", "badge", "badge-pin", pin.encode())
        (await gate.registrar.enrol_device("alice", "laptop")).write(folder / "alice.toml")
        print("open", flush=True)
        await asyncio.to_thread(sys.stdin.read)


asyncio.run(main(Path(sys.argv[1]), sys.argv[2]))
