"""Story (b): a device key signs, and the app owns the tunnel.

python story_b.py office.toml device.pem
"""

import asyncio
import sys
from collections.abc import Sequence

import mfagate


class Tunnel:
    """The app's own WireGuard. Here it keeps the peers; an app hands them to a kernel interface."""

    def __init__(self) -> None:
        self.peers: dict[str, mfagate.PeerConfig] = {}

    def install(self, peers: Sequence[mfagate.PeerConfig]) -> None:
        for peer in peers:
            self.peers[peer.key] = peer
            print("up", peer.key, peer.endpoint, *map(str, peer.allowed_ips))

    def remove(self, peers: Sequence[str]) -> None:
        for key in peers:
            if self.peers.pop(key, None) is not None:
                print("down", key)

    def list(self) -> Sequence[mfagate.PeerConfig]:
        return tuple(self.peers.values())

    def activity(self, peers: Sequence[str]) -> Sequence[mfagate.Activity]:
        return [mfagate.Activity(key, None, 0, 0) for key in peers if key in self.peers]

    def fence(self) -> None:
        self.peers.clear()


async def main(path: str, pem: str) -> None:
    # [snippet: device_key]
    profile = mfagate.Profile.read(path)
    key = mfagate.SoftwareKey.read(pem)
    async with mfagate.Client(profile, interface=Tunnel()) as client:
        connected = await client.connect(mfagate.device_key(key, profile))
        print("connected for", connected.ends_in)
    # [end]


asyncio.run(main(*sys.argv[1:]))
