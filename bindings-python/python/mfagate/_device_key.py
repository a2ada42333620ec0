"""Device keys: in software, or behind a signer of the app's own."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Literal, Protocol, Union

from . import _native
from ._callbacks import Callbacks, Method
from ._native import Profile, SoftwareKey
from ._types import Answer, Question


class Signer(Protocol):
    """A device key that can sign: in a token, a TPM, a key store."""

    @property
    def public_key(self) -> bytes:
        """The public key, as a DER SubjectPublicKeyInfo: P-256 or Ed25519."""

    @property
    def protection(self) -> Literal["software", "hardware", "hardware-user-verified"]:
        """How the key is kept. It proves nothing, so say what is true."""

    def sign(self, message: bytes, /) -> Union[bytes, Awaitable[bytes]]:
        """Signs the message: ES256 over its SHA-256, in DER or as r ‖ s, or Ed25519."""


def device_key(key: SoftwareKey | Signer, profile: Profile) -> Callable[[Question], Awaitable[Answer]]:
    """A prompt that answers questions to a device key, and enrols it where that is asked. What it signs
    names the profile's own location and peer, no matter who asks."""

    async def answer(question: Question) -> Answer:
        if isinstance(key, SoftwareKey):
            prover = _native.DeviceKeyProver.software(key, profile)
        else:
            callbacks = Callbacks(sign=Method(key.sign))
            prover = _native.DeviceKeyProver.own(
                key.public_key, key.protection, callbacks, profile
            )
        text = await prover.answer(question.attempt, question.challenge.to_json())
        return Answer.from_json(text)

    return answer
