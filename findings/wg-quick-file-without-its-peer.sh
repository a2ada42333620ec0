#!/bin/sh
# Seen with wireguard-tools 0.6.0 (of February 2026) and wgconfig 1.2.0 (of March 2026), the two readers of wg-quick's
# files on PyPI, Python 3.11, in November 2026.
#
# wg(8), "CONFIGURATION FILE FORMAT": section and key names are case-insensitive, and what follows
# a `#` on any line is a comment. `wg setconf` of wireguard-tools 1.0.20210914 takes each file below.
#
# - A comment behind a section's name (`[Peer] # office`) makes `wireguard_tools` drop the section
#   with all that is in it and raise nothing: a file with one peer has none, and behind
#   `[Interface] # laptop` the private key is gone. Written out again, the file is a tunnel to
#   nowhere, or one with no key.
# - A comment behind a DNS server turns that into a search domain of the name `10.9.0.1 # inner`.
# - `PersistentKeepalive = off` and `FwMark = 0xca6c`, both in wg(8), are a ValueError.
# - `wgconfig` takes all of these, and loses keys in small letters instead: the peer of
#   `publickey = …` stands in its table under `None`.
#
# So a file that people may give to other programs has comments on lines of their own, wg(8)'s
# capitals, and numbers where a number will do.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" --quiet install wireguard-tools==0.6.0 wgconfig==1.2.0
cat > "$folder/see.py" <<'PYTHON'
import sys, tempfile
from base64 import b64encode
from os import urandom
from pathlib import Path

from wgconfig import WGConfig
from wireguard_tools import WireguardConfig

PRIVATE, PUBLIC = (b64encode(urandom(32)).decode() for _ in range(2))
PLAIN = f"""[Interface]
PrivateKey = {PRIVATE}
Address = 10.9.0.2/32
DNS = 10.9.0.1

[Peer]
PublicKey = {PUBLIC}
AllowedIPs = 10.9.0.0/24
"""


def file(text):
    path = Path(tempfile.mkdtemp(dir=sys.argv[1])) / "tunnel.conf"
    path.write_text(text)
    return path


def one(text):
    """What wireguard_tools makes of it: whether there is a key, how many peers, search domains."""
    try:
        with file(text).open() as opened:
            read = WireguardConfig.from_wgconfig(opened)
    except ValueError as error:
        return f"ValueError: {error}"
    return bool(read.private_key), len(read.peers), list(read.search_domains)


def other(text):
    """What wgconfig makes of it: whether there is a key, and whose peers."""
    read = WGConfig(str(file(text)))
    read.read_file()
    known = {PUBLIC: "the peer", None: "None"}
    return "PrivateKey" in read.interface, [known[key] for key in read.peers]


small = PLAIN.replace("PublicKey", "publickey").replace("AllowedIPs", "allowedips")
cases = {
    "as wg(8) writes it": PLAIN,
    "[Peer] # office": PLAIN.replace("[Peer]", "[Peer] # office"),
    "[Interface] # laptop": PLAIN.replace("[Interface]", "[Interface] # laptop"),
    "DNS = 10.9.0.1 # inner": PLAIN.replace("10.9.0.1\n", "10.9.0.1 # inner\n"),
    "PersistentKeepalive = off": PLAIN + "PersistentKeepalive = off\n",
    "FwMark = 0xca6c": PLAIN.replace("DNS", "FwMark = 0xca6c\nDNS"),
    "publickey = …": small,
}
expected = {
    "as wg(8) writes it": ((True, 1, []), (True, ["the peer"])),
    "[Peer] # office": ((True, 0, []), (True, ["the peer"])),
    "[Interface] # laptop": ((False, 1, []), (True, ["the peer"])),
    "DNS = 10.9.0.1 # inner": ((True, 1, ["10.9.0.1 # inner"]), (True, ["the peer"])),
    "PersistentKeepalive = off": (
        "ValueError: invalid literal for int() with base 10: 'off'",
        (True, ["the peer"]),
    ),
    "FwMark = 0xca6c": (
        "ValueError: invalid literal for int() with base 10: '0xca6c'",
        (True, ["the peer"]),
    ),
    "publickey = …": ((True, 1, []), (True, ["None"])),
}
changed = False
for name, text in cases.items():
    seen = (one(text), other(text))
    print(f"{name}\n  wireguard_tools: {seen[0]}\n  wgconfig:        {seen[1]}")
    if seen != expected[name]:
        print(f"  CHANGED: it was {expected[name]}")
        changed = True
sys.exit(changed)
PYTHON
"$folder/venv/bin/python" "$folder/see.py" "$folder"
