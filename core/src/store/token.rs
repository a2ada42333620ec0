//! One-time enrolment tokens: what lets a client enrol its user's first factor.
//!
//! A token is shown once, to the person who hands it to the user; a store has its digest only.

use data_encoding::BASE64URL_NOPAD;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::assurance::FactorKind;
use crate::id::{FactorId, TokenId, UserId};
use crate::time::Timestamp;

/// What every token begins with, so that people and scanners for secrets know one.
const PREFIX: &str = "mfe_";

/// An enrolment token as a store has it. The token is `mfe_` and 256 random bits in Base64url (RFC
/// 4648, section 5).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EnrolmentToken {
    /// Its id, which is not secret.
    pub id: TokenId,
    /// Whose factors it enrols.
    pub user: UserId,
    /// SHA-256 of the token's text. The text has 256 random bits, so that its digest says nothing
    /// of it and needs no salt.
    pub digest: [u8; 32],
    /// The kinds of factors that it enrols; empty for any.
    pub kinds: Vec<FactorKind>,
    /// From when on it is no longer good.
    pub not_after: Timestamp,
    /// The factor that goes when the token is used: the new one takes its place.
    #[serde(default)]
    pub replaces: Option<FactorId>,
}

impl EnrolmentToken {
    /// The digest of a token's text.
    pub fn digest_of(text: &str) -> [u8; 32] {
        Sha256::digest(text.as_bytes()).into()
    }

    /// Whether this is the text of the token. Takes as long whatever the text is like.
    pub fn is(&self, text: &str) -> bool {
        Self::digest_of(text).ct_eq(&self.digest).into()
    }

    /// Whether a factor of this kind may be enrolled with it at that time.
    pub fn allows(&self, kind: &FactorKind, now: Timestamp) -> bool {
        now < self.not_after && (self.kinds.is_empty() || self.kinds.contains(kind))
    }

    /// A fresh token's text.
    pub(crate) fn generate_text() -> Result<Zeroizing<String>, getrandom::Error> {
        let mut bytes = Zeroizing::new([0; 32]);
        getrandom::fill(&mut *bytes)?;
        let mut text = Zeroizing::new(String::with_capacity(PREFIX.len() + 43));
        text.push_str(PREFIX);
        BASE64URL_NOPAD.encode_append(&*bytes, &mut text);
        Ok(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_known_by_its_whole_text() {
        let text = EnrolmentToken::generate_text().unwrap();
        assert!(text.starts_with("mfe_"), "{}", text.len());
        assert_eq!(text.len(), 4 + 43, "256 bits");
        let token = EnrolmentToken {
            id: TokenId::from_bytes([1; 16]),
            user: "alice".parse().unwrap(),
            digest: EnrolmentToken::digest_of(&text),
            kinds: Vec::new(),
            not_after: Timestamp::from_millis(10),
            replaces: None,
        };
        assert!(token.is(&text));
        for other in ["", "mfe_", &text[4..], &text[..46]] {
            assert!(!token.is(other));
        }
        let second = EnrolmentToken::generate_text().unwrap();
        assert!(!token.is(&second), "no two are alike");
        assert!(!format!("{token:?}").contains(&text[4..]));
    }

    #[test]
    fn a_token_is_good_for_its_kinds_and_up_to_its_end() {
        let token = |kinds: &[FactorKind]| EnrolmentToken {
            id: TokenId::from_bytes([1; 16]),
            user: "alice".parse().unwrap(),
            digest: [0; 32],
            kinds: kinds.to_vec(),
            not_after: Timestamp::from_millis(10),
            replaces: None,
        };
        let [before, after] = [9, 10].map(Timestamp::from_millis);
        let any = token(&[]);
        assert!(any.allows(&FactorKind::TOTP, before));
        assert!(!any.allows(&FactorKind::TOTP, after));
        let keys = token(&[FactorKind::DEVICE_KEY]);
        assert!(keys.allows(&FactorKind::DEVICE_KEY, before));
        assert!(!keys.allows(&FactorKind::TOTP, before));
    }
}
