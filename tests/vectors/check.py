#!/usr/bin/env python3
"""Checks channel.json with a second implementation of the protocol.

Written from the protocol chapter and from RFC 7748, RFC 8439, RFC 5869, FIPS 203, the X-Wing draft and
the Noise specification, with Python's standard library alone. It is slow, takes no care of timing, and
is good for nothing but this check.
"""

import base64
import hashlib
import hmac
import json
import pathlib
import sys


# X25519 (RFC 7748, section 5)

P = 2**255 - 19


def x25519(private, public):
    k = int.from_bytes(private, "little")
    k = k & ~7 & (2**255 - 1) | 2**254
    u = int.from_bytes(public, "little") % 2**255
    x2, z2, x3, z3, swap = 1, 0, u, 1, 0
    for t in reversed(range(255)):
        bit = k >> t & 1
        if swap ^ bit:
            x2, x3, z2, z3 = x3, x2, z3, z2
        swap = bit
        a, b, c, d = x2 + z2, x2 - z2, x3 + z3, x3 - z3
        aa, bb, da, cb = a * a, b * b, d * a, c * b
        e = aa - bb
        x3, z3 = (da + cb) ** 2 % P, u * (da - cb) ** 2 % P
        x2, z2 = aa * bb % P, e * (aa + 121665 * e) % P
    if swap:
        x2, z2 = x3, z3
    shared = (x2 * pow(z2, P - 2, P) % P).to_bytes(32, "little")
    if shared == bytes(32):
        raise ValueError("a point of low order")
    return shared


def public_key(private):
    return x25519(private, (9).to_bytes(32, "little"))


# ChaCha20-Poly1305 (RFC 8439)


def chacha20_block(key, counter, nonce):
    def words(data):
        return [int.from_bytes(data[i : i + 4], "little") for i in range(0, len(data), 4)]

    def rotate(x, n):
        return (x << n | x >> 32 - n) & 0xFFFFFFFF

    start = words(b"expand 32-byte k" + key + counter.to_bytes(4, "little") + nonce)
    s = start[:]
    for turn in range(20):
        for i in range(4):
            a, b, c, d = (i + 4 * row if turn % 2 == 0 else (i + row) % 4 + 4 * row for row in range(4))
            s[a] = s[a] + s[b] & 0xFFFFFFFF
            s[d] = rotate(s[d] ^ s[a], 16)
            s[c] = s[c] + s[d] & 0xFFFFFFFF
            s[b] = rotate(s[b] ^ s[c], 12)
            s[a] = s[a] + s[b] & 0xFFFFFFFF
            s[d] = rotate(s[d] ^ s[a], 8)
            s[c] = s[c] + s[d] & 0xFFFFFFFF
            s[b] = rotate(s[b] ^ s[c], 7)
    return b"".join((x + y & 0xFFFFFFFF).to_bytes(4, "little") for x, y in zip(s, start))


def chacha20(key, nonce, data):
    stream = b"".join(chacha20_block(key, 1 + i, nonce) for i in range((len(data) + 63) // 64))
    return bytes(x ^ y for x, y in zip(data, stream))


def poly1305(key, nonce, associated, ciphertext):
    def padded(data):
        return data + bytes(-len(data) % 16)

    one_time = chacha20_block(key, 0, nonce)[:32]
    r = int.from_bytes(one_time[:16], "little") & 0x0FFFFFFC0FFFFFFC0FFFFFFC0FFFFFFF
    lengths = len(associated).to_bytes(8, "little") + len(ciphertext).to_bytes(8, "little")
    text = padded(associated) + padded(ciphertext) + lengths
    sum_ = 0
    for i in range(0, len(text), 16):
        sum_ = (sum_ + int.from_bytes(text[i : i + 16] + b"\x01", "little")) * r % (2**130 - 5)
    return ((sum_ + int.from_bytes(one_time[16:], "little")) % 2**128).to_bytes(16, "little")


def seal(key, counter, associated, plaintext):
    nonce = bytes(4) + counter.to_bytes(8, "little")  # Noise, section 12.3
    ciphertext = chacha20(key, nonce, plaintext)
    return ciphertext + poly1305(key, nonce, associated, ciphertext)


def unseal(key, counter, associated, message):
    nonce = bytes(4) + counter.to_bytes(8, "little")
    ciphertext, tag = message[:-16], message[-16:]
    if poly1305(key, nonce, associated, ciphertext) != tag:
        raise ValueError("does not verify")
    return chacha20(key, nonce, ciphertext)


# Noise (sections 4.3, 5.2 and 7.5), one handshake with the pattern IK:
#   <- s
#   ...
#   -> e, es, s, ss
#   <- e, ee, se


def blake2s(data):
    return hashlib.blake2s(data).digest()


def noise_hkdf(chaining_key, material):
    temporary = hmac.digest(chaining_key, material, "blake2s")
    one = hmac.digest(temporary, b"\x01", "blake2s")
    return one, hmac.digest(temporary, one + b"\x02", "blake2s")


class Symmetric:
    def __init__(self, name, prologue, location):
        name = name.encode()
        self.h = name + bytes(32 - len(name)) if len(name) <= 32 else blake2s(name)
        self.ck, self.key, self.n = self.h, None, 0
        self.mix_hash(prologue)
        self.mix_hash(location)

    def mix_hash(self, data):
        self.h = blake2s(self.h + data)

    def mix_key(self, material):
        self.ck, self.key = noise_hkdf(self.ck, material)
        self.n = 0

    def encrypt(self, plaintext):
        ciphertext = seal(self.key, self.n, self.h, plaintext)
        self.n += 1
        self.mix_hash(ciphertext)
        return ciphertext

    def decrypt(self, ciphertext):
        plaintext = unseal(self.key, self.n, self.h, ciphertext)
        self.n += 1
        self.mix_hash(ciphertext)
        return plaintext

    def split(self):
        return noise_hkdf(self.ck, b"")


class Client:
    def __init__(self, vectors, static, location, ephemeral):
        self.state = Symmetric(vectors["noise"], vectors["prologue"].encode(), location)
        self.static, self.location, self.ephemeral = static, location, ephemeral

    def first(self, payload):
        ephemeral = public_key(self.ephemeral)
        self.state.mix_hash(ephemeral)
        self.state.mix_key(x25519(self.ephemeral, self.location))
        static = self.state.encrypt(public_key(self.static))
        self.state.mix_key(x25519(self.static, self.location))
        return ephemeral + static + self.state.encrypt(payload)

    def second(self, message):
        self.state.mix_hash(message[:32])
        self.state.mix_key(x25519(self.ephemeral, message[:32]))
        self.state.mix_key(x25519(self.static, message[:32]))
        return self.state.decrypt(message[32:])


class Gate:
    def __init__(self, vectors, static, ephemeral):
        self.state = Symmetric(vectors["noise"], vectors["prologue"].encode(), public_key(static))
        self.static, self.ephemeral = static, ephemeral

    def first(self, message):
        self.client_ephemeral = message[:32]
        self.state.mix_hash(message[:32])
        self.state.mix_key(x25519(self.static, message[:32]))
        self.client = self.state.decrypt(message[32:80])
        self.state.mix_key(x25519(self.static, self.client))
        return self.state.decrypt(message[80:])

    def second(self, payload):
        ephemeral = public_key(self.ephemeral)
        self.state.mix_hash(ephemeral)
        self.state.mix_key(x25519(self.ephemeral, self.client_ephemeral))
        self.state.mix_key(x25519(self.ephemeral, self.client))
        return ephemeral + self.state.encrypt(payload)


# ML-KEM-768 (FIPS 203)

Q, K = 3329, 3


def reverse7(i):
    return int(f"{i:07b}"[::-1], 2)


ZETA = [pow(17, reverse7(i), Q) for i in range(128)]
GAMMA = [pow(17, 2 * reverse7(i) + 1, Q) for i in range(128)]


def bits(data):
    return [byte >> i & 1 for byte in data for i in range(8)]


def encode(width, poly):
    number = sum(c << width * i for i, c in enumerate(poly))
    return number.to_bytes(32 * width, "little")


def decode(width, data):
    number = int.from_bytes(data, "little")
    return [number >> width * i & (1 << width) - 1 for i in range(256)]


def compress(width, poly):
    return [((c << width + 1) + Q) // (2 * Q) & (1 << width) - 1 for c in poly]


def decompress(width, poly):
    return [(c * Q * 2 + (1 << width)) >> width + 1 for c in poly]


def sample_ntt(seed, j, i):
    data, poly, at = hashlib.shake_128(seed + bytes([j, i])).digest(3 * 1024), [], 0
    while len(poly) < 256:
        a, b, c = data[at : at + 3]
        for candidate in (a + 256 * (b % 16), b // 16 + 16 * c):
            if candidate < Q and len(poly) < 256:
                poly.append(candidate)
        at += 3
    return poly


def sample_noise(seed, n):
    b = bits(hashlib.shake_256(seed + bytes([n])).digest(128))
    return [(b[4 * i] + b[4 * i + 1] - b[4 * i + 2] - b[4 * i + 3]) % Q for i in range(256)]


def ntt(poly):
    poly, i, length = poly[:], 1, 128
    while length >= 2:
        for start in range(0, 256, 2 * length):
            for j in range(start, start + length):
                t = ZETA[i] * poly[j + length] % Q
                poly[j], poly[j + length] = (poly[j] + t) % Q, (poly[j] - t) % Q
            i += 1
        length //= 2
    return poly


def inverse_ntt(poly):
    poly, i, length = poly[:], 127, 2
    while length <= 128:
        for start in range(0, 256, 2 * length):
            for j in range(start, start + length):
                t = poly[j]
                poly[j] = (t + poly[j + length]) % Q
                poly[j + length] = ZETA[i] * (poly[j + length] - t) % Q
            i -= 1
        length *= 2
    return [c * 3303 % Q for c in poly]


def add(*polys):
    return [sum(cs) % Q for cs in zip(*polys)]


def multiply(f, g):
    out = []
    for i in range(128):
        a, b, c, d = f[2 * i], f[2 * i + 1], g[2 * i], g[2 * i + 1]
        out += [(a * c + b * d * GAMMA[i]) % Q, (a * d + b * c) % Q]
    return out


def dot(fs, gs):
    return add(*(multiply(f, g) for f, g in zip(fs, gs)))


def matrix(rho):
    return [[sample_ntt(rho, j, i) for j in range(K)] for i in range(K)]


def ml_kem_keys(d, z):
    hashed = hashlib.sha3_512(d + bytes([K])).digest()
    rho, sigma = hashed[:32], hashed[32:]
    s = [ntt(sample_noise(sigma, i)) for i in range(K)]
    e = [ntt(sample_noise(sigma, K + i)) for i in range(K)]
    t = [add(dot(row, s), e[i]) for i, row in enumerate(matrix(rho))]
    ek = b"".join(encode(12, poly) for poly in t) + rho
    return ek, (s, ek, z)


def ml_kem_encrypt(ek, message, seed):
    t, rho = [decode(12, ek[384 * i : 384 * i + 384]) for i in range(K)], ek[384 * K :]
    if any(c >= Q for poly in t for c in poly):
        raise ValueError("not an encapsulation key")
    y = [ntt(sample_noise(seed, i)) for i in range(K)]
    a = matrix(rho)
    u = [
        add(inverse_ntt(dot([a[j][i] for j in range(K)], y)), sample_noise(seed, K + i))
        for i in range(K)
    ]
    mu = decompress(1, decode(1, message))
    v = add(inverse_ntt(dot(t, y)), sample_noise(seed, 2 * K), mu)
    return b"".join(encode(10, compress(10, poly)) for poly in u) + encode(4, compress(4, v))


def ml_kem_encapsulate(ek, message):
    hashed = hashlib.sha3_512(message + hashlib.sha3_256(ek).digest()).digest()
    return ml_kem_encrypt(ek, message, hashed[32:]), hashed[:32]


def ml_kem_decapsulate(dk, ciphertext):
    s, ek, z = dk
    u = [ntt(decompress(10, decode(10, ciphertext[320 * i : 320 * i + 320]))) for i in range(K)]
    v = decompress(4, decode(4, ciphertext[320 * K :]))
    w = add(v, [-c % Q for c in inverse_ntt(dot(s, u))])
    again, secret = ml_kem_encapsulate(ek, encode(1, compress(1, w)))
    if again != ciphertext:
        return hashlib.shake_256(z + ciphertext).digest(32)
    return secret


# X-Wing (draft-connolly-cfrg-xwing-kem)


def combine(ml_kem, x, ciphertext_x, public_x):
    return hashlib.sha3_256(ml_kem + x + ciphertext_x + public_x + rb"\.//^" + b"\\").digest()


def x_wing_keys(seed):
    expanded = hashlib.shake_256(seed).digest(96)
    ek, dk = ml_kem_keys(expanded[:32], expanded[32:64])
    return ek + public_key(expanded[64:]), (dk, expanded[64:])


def x_wing_encapsulate(ek, randomness):
    ciphertext, secret = ml_kem_encapsulate(ek[:1184], randomness[:32])
    ciphertext_x = public_key(randomness[32:])
    shared = x25519(randomness[32:], ek[1184:])
    return ciphertext + ciphertext_x, combine(secret, shared, ciphertext_x, ek[1184:])


def x_wing_decapsulate(dk, ciphertext):
    secret = ml_kem_decapsulate(dk[0], ciphertext[:1088])
    shared = x25519(dk[1], ciphertext[1088:])
    return combine(secret, shared, ciphertext[1088:], public_key(dk[1]))


# The channel


def preshared_key(handshake_hash, grant, kem_secret, share):
    salt = handshake_hash + hashlib.sha256(grant).digest()
    extracted = hmac.digest(salt, kem_secret + share, "sha256")
    return hmac.digest(extracted, b"mfagate/1 psk" + b"\x01", "sha256")


def check(what, made, known):
    if made != known:
        sys.exit(f"{what} differs:\n made  {made!r}\n known {known!r}")


def check_case(vectors, case):
    def secret(name):
        return bytes.fromhex(case[name])

    bodies = [(b, b["text"].encode(), bytes.fromhex(b["body"])) for b in case["bodies"]]
    for _, text, _ in bodies:
        check_length(text)
    (hello, hello_text, hello_body), (greeting, greeting_text, greeting_body) = bodies[:2]
    order = [(b["from"], b["counter"]) for b in (hello, greeting)]
    check("order", order, [("client", None), ("gate", None)])
    location = public_key(secret("location_private_key"))
    check("location_public_key", location.hex(), case["location_public_key"])
    client_key = public_key(secret("client_private_key"))
    check("client_public_key", client_key.hex(), case["client_public_key"])

    client = Client(
        vectors, secret("client_private_key"), location, secret("client_ephemeral_private_key")
    )
    gate = Gate(vectors, secret("location_private_key"), secret("gate_ephemeral_private_key"))
    check("first body", (b"\x01\x01" + client.first(hello_text)).hex(), hello_body.hex())
    check("first text", gate.first(hello_body[2:]), hello_text)
    check("who it is from", gate.client, client_key)
    check("second body", (b"\x01\x01" + gate.second(greeting_text)).hex(), greeting_body.hex())
    check("second text", client.second(greeting_body[2:]), greeting_text)
    check("handshake_hash", client.state.h.hex(), case["handshake_hash"])
    check("handshake_hash", gate.state.h.hex(), case["handshake_hash"])

    attempt = secret("attempt")
    check("attempt", json.loads(greeting_text)["attempt"], attempt.hex())
    keys = dict(zip(("client", "gate"), client.state.split()))
    for place, (record, text, body) in enumerate(bodies[2:]):
        sender, counter = record["from"], record["counter"]
        check("order", (sender, counter), (("client", "gate")[place % 2], place // 2))
        frame = b"\x01\x02" + (attempt if sender == "client" else b"") + counter.to_bytes(8, "big")
        check("body", (frame + seal(keys[sender], counter, b"", text)).hex(), body.hex())
        check("text", unseal(keys[sender], counter, b"", body[len(frame) :]), text)

    kem = {name: bytes.fromhex(value) for name, value in case["kem"].items()}
    encapsulation_key, decapsulation_key = x_wing_keys(kem["seed"])
    check("encapsulation_key", encapsulation_key, kem["encapsulation_key"])
    sent = base64.b64decode(json.loads(hello_text)["encapsulation_key"], validate=True)
    check("encapsulation_key", sent, encapsulation_key)
    made = x_wing_encapsulate(encapsulation_key, kem["randomness"])
    check("ciphertext and secret", made, (kem["ciphertext"], kem["secret"]))
    check("secret", x_wing_decapsulate(decapsulation_key, kem["ciphertext"]), kem["secret"])

    grant_text = bodies[-1][1]
    grant = json.loads(grant_text)["grant"]
    check("ciphertext", base64.b64decode(grant["ciphertext"], validate=True), kem["ciphertext"])
    share = base64.b64decode(grant["share"], validate=True)
    check("share", share.hex(), case["share"])
    check("grant_sha256", hashlib.sha256(grant_text).hexdigest(), case["grant_sha256"])
    psk = preshared_key(client.state.h, grant_text, kem["secret"], share)
    check("preshared_key", psk.hex(), case["preshared_key"])


def check_x_wing(known):
    def sha256(data):
        return hashlib.sha256(data).hexdigest()

    encapsulation_key, decapsulation_key = x_wing_keys(bytes.fromhex(known["seed"]))
    ciphertext, secret = x_wing_encapsulate(encapsulation_key, bytes.fromhex(known["randomness"]))
    made = [sha256(encapsulation_key), sha256(ciphertext), secret.hex()]
    names = ["encapsulation_key_sha256", "ciphertext_sha256", "secret"]
    check(known["source"], made, [known[name] for name in names])
    check(known["source"], x_wing_decapsulate(decapsulation_key, ciphertext), secret)


def check_length(text):
    fills = [2**power for power in range(11, 16)] + [65535 - 98]
    check("length of a text", len(text), next(fill for fill in fills if len(text.rstrip(b" ")) <= fill))


def main():
    file = pathlib.Path(__file__).with_name("channel.json")
    vectors = json.loads(file.read_text())
    for case in vectors["cases"]:
        check_case(vectors, case)
    for place, refusal in enumerate(vectors["refusals"]):
        check("code", refusal["code"], place + 1)
        check("refusal", refusal["body"], bytes([1, 0, refusal["code"]]).hex())
    x_wing = json.loads(file.with_name("x_wing.json").read_text())
    for known in x_wing:
        check_x_wing(known)
    if not vectors["cases"] or not vectors["refusals"] or not x_wing:
        sys.exit("nothing to check")
    print(f"{len(vectors['cases'])} cases and {len(vectors['refusals'])} refusals agree")
    print(f"{len(x_wing)} published answers of X-Wing agree")


if __name__ == "__main__":
    main()
