//! The seeds of the fuzz target are answers that are right, so that what is made of them gets far.

use std::path::PathBuf;

use super::*;

/// The attempt that the fuzz target takes them for.
fn attempt() -> Attempt {
    Attempt {
        id: AttemptId::from_bytes([3; 32]),
        ..Attempt::of("alice")
    }
}

fn corpus() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../tests/fuzz/corpus/webauthn")
}

/// Takes a seed apart: so many parts after a byte and the time, and the rest.
fn read(name: &str, parts: usize) -> (Vec<SecretBytes>, String) {
    let seed = std::fs::read(corpus().join(name)).unwrap();
    let mut rest = &seed[9..];
    let parts = (0..parts)
        .map(|_| {
            let (len, after) = rest.split_first_chunk().unwrap();
            let (part, after) = after.split_at(u16::from_le_bytes(*len).into());
            rest = after;
            SecretBytes::new(part.to_vec())
        })
        .collect();
    (parts, String::from_utf8(rest.to_vec()).unwrap())
}

#[tokio::test]
async fn the_fuzz_targets_seeds_are_right() {
    for name in ["seed-sign-in", "seed-sign-in-counting"] {
        let (parts, credential) = read(name, 2);
        let [secret, state] = <[SecretBytes; 2]>::try_from(parts).unwrap();
        let id = CredentialId::new(vec![1]);
        let credential_of = Credential {
            secret,
            counter: None,
            id,
        };
        let factor = Factor::new(&attempt().user, credential_of);
        let verdict = attempt()
            .verify(&verifier(), &factor, &state, &credential)
            .await;
        assert!(verdict.is_ok(), "{name}: {verdict:?}");
    }
    let (parts, credential) = read("seed-enrol", 1);
    let verdict = attempt()
        .enrol(&verifier(), &[], &parts[0], &credential)
        .await;
    assert!(verdict.is_ok(), "{verdict:?}");
}

/// Rewrites them, where their format has changed.
#[tokio::test]
#[ignore = "writes into tests/fuzz/corpus"]
async fn write_the_fuzz_targets_seeds() {
    let seed = |which: u8, parts: &[&SecretBytes], credential: &str| {
        let mut seed = vec![which];
        seed.extend(NOW.as_millis().to_le_bytes());
        for part in parts {
            let part = part.expose_secret();
            seed.extend(u16::try_from(part.len()).unwrap().to_le_bytes());
            seed.extend(part);
        }
        seed.extend(credential.as_bytes());
        seed
    };
    let write = |name: &str, seed: Vec<u8>| std::fs::write(corpus().join(name), seed).unwrap();
    let (verifier, attempt) = (verifier(), attempt());
    let keys = [SoftwareKey::at(ORIGIN), SoftwareKey::at(ORIGIN).counting()];
    for (name, key) in ["seed-sign-in", "seed-sign-in-counting"]
        .into_iter()
        .zip(keys)
    {
        let factor = enrolled(&verifier, "alice", &key).await;
        let (options, state) = attempt.challenge(&verifier, &factor).await;
        let assertion = key.get(&options).await.unwrap();
        write(name, seed(b's', &[&factor.secret, &state], &assertion));
        write("seed-request-options", [b"o", options.as_bytes()].concat());
    }
    let (options, state) = attempt.register(&verifier, &[]).await;
    let created = SoftwareKey::at(ORIGIN).create(&options).await.unwrap();
    write("seed-enrol", seed(b'e', &[&state], &created));
    write("seed-creation-options", [b"o", options.as_bytes()].concat());
}
