//! A verifier of one's own: the keyring tokens that make the next code at each press (HOTP, RFC 4226).

use async_trait::async_trait;
use hmac::{Hmac, KeyInit, Mac};
use mfagate::assurance::{Assurance, FactorKind};
use mfagate::channel::message::{Answer, Challenge, Code};
use mfagate::factor::{Context, IssuedChallenge, MfaVerifier, Proof, Verdict, VerifyError};
use sha1::Sha1;
use subtle::ConstantTimeEq;

pub(crate) const HOTP: FactorKind = FactorKind::new("example-hotp");
/// How many codes may have been made and not been used, as when the token is in a pocket.
const LOOK_AHEAD: usize = 10;

/// RFC 4226, section 5.3, with six digits.
pub(crate) fn code(key: &[u8], counter: u64) -> Result<Code, VerifyError> {
    let mut mac = Hmac::<Sha1>::new_from_slice(key).map_err(VerifyError::backend)?;
    mac.update(&counter.to_be_bytes());
    let hash = mac.finalize().into_bytes();
    let offset = usize::from(hash[19] & 0xf);
    let bytes = hash[offset..offset + 4].iter();
    let number = bytes.fold(0_u32, |number, byte| number << 8 | u32::from(*byte)) & 0x7fff_ffff;
    let digits = format!("{:06}", number % 1_000_000);
    digits.parse().map_err(VerifyError::backend)
}

// [snippet: own_verifier]
pub(crate) struct HotpVerifier;

#[async_trait]
impl MfaVerifier for HotpVerifier {
    fn kind(&self) -> FactorKind {
        HOTP
    }
    async fn challenge(&self, _: &Context<'_>) -> Result<IssuedChallenge, VerifyError> {
        Ok(Challenge::Code { digits: 6 }.into())
    }
    async fn verify(&self, context: &Context<'_>, answer: &Answer) -> Result<Verdict, VerifyError> {
        let Answer::Code { code: typed } = answer else {
            return Err(VerifyError::Unfit); // not counted as a wrong one
        };
        let next = context.factor.last_counter.map_or(0, |last| last + 1);
        let mut found = None;
        for counter in (next..).take(LOOK_AHEAD) {
            let right = code(context.secret.expose_secret(), counter)?;
            let (right, typed) = (right.expose_secret(), typed.expose_secret());
            if right.as_bytes().ct_eq(typed.as_bytes()).into() {
                found = found.or(Some(counter));
            }
        }
        let assurance = Assurance {
            replay_resistant: true,
            ..Assurance::least(HOTP, context.attempt.now)
        };
        let mut proof = Proof::new(context.factor.id, assurance);
        proof.counter = Some(found.ok_or(VerifyError::Wrong)?); // the store takes each once
        Ok(proof.into())
    }
}
// [end]
