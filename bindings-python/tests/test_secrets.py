"""No secret is in a `repr`, a `str`, an exception or a log."""

from __future__ import annotations

import logging
import pickle
from pathlib import Path

import pytest

import mfagate
from support import office, within


@within(120)
async def test_nothing_prints_a_secret(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    printed: list[str] = []
    code = ""
    async with office(tmp_path) as o:
        onboarding = await o.gate.registrar.onboard("bob", "laptop", "totp")
        token = await o.gate.registrar.issue_token("alice", ["totp"])
        profile = await o.device()

        def prompt(question: mfagate.Question) -> mfagate.Answer:
            nonlocal code
            code = o.code()
            answer = mfagate.Answer.code(code)
            printed.extend([repr(question), repr(answer)])
            return answer

        handover = mfagate.HandoverKey.generate()
        async with mfagate.Client(profile) as client:
            connected = await client.connect(prompt)
            saved = await client.save_session(handover)
            holders = [profile, onboarding, token, handover, o.secret, client, o.gate, connected]
            printed.extend(f"{holder!r} {holder!s}" for holder in holders)
            for holder in (profile, handover, o.secret):
                with pytest.raises(TypeError):
                    pickle.dumps(holder)
        uri = o.secret.expose_uri("office", "alice")
        texts = [profile.expose_toml(), onboarding.expose_toml()]
        keys = [line.split('"')[1] for text in texts for line in text.splitlines() if "private_key" in line]
        assert len(keys) == 2
        secrets = [
            code,
            *keys,
            uri.split("secret=")[1].split("&")[0],
            onboarding.expose_token() or "",
            token.text,
            handover.expose_secret().hex(),
            str(handover.expose_secret()),
            saved.hex(),
        ]
    everything = "\n".join([*printed, caplog.text])
    for secret in secrets:
        assert secret and secret not in everything


def test_a_value_that_is_none_is_not_repeated() -> None:
    for wrong in (
        lambda: mfagate.PrivateKey.from_base64("hunter2"),
        lambda: mfagate.Profile.from_toml("private_key = 'hunter2'"),
        lambda: mfagate.Onboarding.from_toml("token = 'hunter2'"),
        lambda: mfagate.HandoverKey.from_bytes(b"hunter2"),
    ):
        with pytest.raises(mfagate.FaultError) as raised:
            wrong()
        assert "hunter2" not in f"{raised.value!r} {raised.value}"
        assert raised.value.code and raised.value.explanation
