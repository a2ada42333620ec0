//! Judging an ID token (OpenID Connect Core, section 3.1.3.7), and what one says that is good.
//!
//! Signature, issuer, audience and expiry are judged by `openidconnect`, on the gate's clock; all
//! that it leaves open is judged here.

use std::time::Duration;

use chrono::{DateTime, Utc};
use openidconnect::core::{
    CoreGenderClaim, CoreJsonWebKey, CoreJweContentEncryptionAlgorithm, CoreJwsSigningAlgorithm,
    CoreTokenType,
};
use openidconnect::{
    AdditionalClaims, ClaimsVerificationError, ClientId, EmptyExtraTokenFields, IdTokenClaims,
    IdTokenFields, IdTokenVerifier, Nonce, SignatureVerificationError, StandardTokenResponse,
};
use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq;

use super::discovery::Known;
use super::error::TokenFault;
use super::vouching::{Vouched, Vouching};
use crate::time::Timestamp;

/// How far the clocks of the gate and the provider may be apart.
pub(super) const SKEW: Duration = Duration::from_secs(60);

/// The algorithms that are taken, if the provider says that it uses them: signatures by a private
/// key. Never `none`, and never a MAC, whose key could be one that is public.
const TAKEN: [CoreJwsSigningAlgorithm; 9] = [
    CoreJwsSigningAlgorithm::RsaSsaPkcs1V15Sha256,
    CoreJwsSigningAlgorithm::RsaSsaPkcs1V15Sha384,
    CoreJwsSigningAlgorithm::RsaSsaPkcs1V15Sha512,
    CoreJwsSigningAlgorithm::RsaSsaPssSha256,
    CoreJwsSigningAlgorithm::RsaSsaPssSha384,
    CoreJwsSigningAlgorithm::RsaSsaPssSha512,
    CoreJwsSigningAlgorithm::EcdsaP256Sha256,
    CoreJwsSigningAlgorithm::EcdsaP384Sha384,
    CoreJwsSigningAlgorithm::EdDsa,
];

/// The claims that `openidconnect` has no name for.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Extra {
    nbf: Option<serde_json::Number>,
}

impl AdditionalClaims for Extra {}

pub(super) type IdToken = openidconnect::IdToken<
    Extra,
    CoreGenderClaim,
    CoreJweContentEncryptionAlgorithm,
    CoreJwsSigningAlgorithm,
>;

/// What a token endpoint answers.
pub(super) type Tokens = StandardTokenResponse<
    IdTokenFields<
        Extra,
        EmptyExtraTokenFields,
        CoreGenderClaim,
        CoreJweContentEncryptionAlgorithm,
        CoreJwsSigningAlgorithm,
    >,
    CoreTokenType,
>;

type Claims = IdTokenClaims<Extra, CoreGenderClaim>;

/// What a token must say.
#[derive(Debug, Clone, Copy)]
pub(super) struct Expected<'a> {
    /// The audience that it is for.
    pub(super) audience: &'a str,
    /// Further audiences that are trusted.
    pub(super) trusted: &'a [String],
    /// Whether the party that it was issued to is the audience, where it says one.
    pub(super) is_issued_to_audience: bool,
    pub(super) nonce: &'a str,
    /// Whether there may be no nonce, as the way that it came by is bound to the attempt by itself.
    pub(super) nonce_may_lack: bool,
    /// One of them, unless there are none.
    pub(super) acr: &'a [String],
    pub(super) max_age: Option<Duration>,
    /// When the gate asked.
    pub(super) asked_at: Timestamp,
    pub(super) now: Timestamp,
}

/// What a good token says.
#[derive(Debug)]
pub(super) struct Login {
    pub(super) issuer: String,
    pub(super) subject: String,
    pub(super) verified_email: Option<String>,
    /// When the user authenticated, if the provider says it.
    pub(super) authenticated_at: Option<Timestamp>,
    pub(super) issued_at: Timestamp,
    pub(super) expires: Timestamp,
    acr: Option<String>,
    amr: Vec<String>,
}

impl Login {
    /// Whether the provider vouches for this, as it is understood to.
    pub(super) fn is_vouched(&self, vouching: &Vouching, what: Vouched) -> bool {
        vouching.vouches(what, self.acr.as_deref(), &self.amr)
    }
}

/// Whether a token is good.
pub(super) fn judge(
    token: &IdToken,
    known: &Known,
    expected: &Expected<'_>,
) -> Result<Login, TokenFault> {
    let now = moment(expected.now);
    let said = known.metadata.id_token_signing_alg_values_supported();
    let verifier = IdTokenVerifier::<CoreJsonWebKey>::new_public_client(
        ClientId::new(expected.audience.to_owned()),
        known.metadata.issuer().clone(),
        known.metadata.jwks().clone(),
    )
    .set_allowed_algs(TAKEN.into_iter().filter(|taken| said.contains(taken)))
    .set_other_audience_verifier_fn(|audience| expected.trusted.contains(audience))
    .set_time_fn(move || now);
    let nonce = |found: Option<&Nonce>| match found {
        Some(nonce) if is_same(nonce.secret(), expected.nonce) => Ok(()),
        None if expected.nonce_may_lack => Ok(()),
        Some(_) | None => Err(String::new()),
    };
    let claims = token
        .claims(&verifier, nonce)
        .map_err(|error| fault(&error))?;
    judge_party(claims, expected)?;
    judge_times(claims, expected)?;
    let acr = claims.auth_context_ref().map(|acr| acr.to_string());
    let is_good_enough = |acr: &String| expected.acr.contains(acr);
    if !expected.acr.is_empty() && !acr.as_ref().is_some_and(is_good_enough) {
        return Err(TokenFault::Acr);
    }
    let subject = claims.subject().to_string();
    if subject.is_empty() {
        return Err(TokenFault::Subject);
    }
    let is_verified = claims.email_verified() == Some(true);
    let email = claims.email().filter(|_| is_verified);
    let methods = claims.auth_method_refs().into_iter().flatten();
    Ok(Login {
        issuer: claims.issuer().to_string(),
        subject,
        verified_email: email.map(|email| email.to_string()),
        authenticated_at: claims.auth_time().map(timestamp),
        issued_at: timestamp(claims.issue_time()),
        expires: timestamp(claims.expiration()),
        acr,
        amr: methods.map(|method| method.to_string()).collect(),
    })
}

/// Steps 4 and 5 of section 3.1.3.7 (3 and 4 in earlier editions).
fn judge_party(claims: &Claims, expected: &Expected<'_>) -> Result<(), TokenFault> {
    if !expected.is_issued_to_audience {
        return Ok(());
    }
    match claims.authorized_party() {
        Some(party) if party.as_str() == expected.audience => Ok(()),
        None if claims.audiences().len() == 1 => Ok(()),
        Some(_) | None => Err(TokenFault::AuthorizedParty),
    }
}

/// What is too old or too new. The expiry has been judged, without any leeway.
fn judge_times(claims: &Claims, expected: &Expected<'_>) -> Result<(), TokenFault> {
    let Expected { now, asked_at, .. } = *expected;
    let issued = timestamp(claims.issue_time());
    let not_before = match &claims.additional_claims().nbf {
        Some(seconds) => seconds.as_f64().ok_or(TokenFault::Malformed)?,
        None => 0.0,
    };
    let latest = now + SKEW;
    let latest_seconds = Duration::from_millis(latest.as_millis()).as_secs_f64();
    if issued > latest || not_before > latest_seconds {
        return Err(TokenFault::NotYetValid);
    }
    if issued + SKEW < asked_at {
        return Err(TokenFault::Old);
    }
    let Some(max_age) = expected.max_age else {
        return Ok(());
    };
    let authenticated = claims.auth_time().map(timestamp);
    let authenticated = authenticated.ok_or(TokenFault::AuthTime)?;
    let is_lately = authenticated + max_age + SKEW >= asked_at && authenticated <= latest;
    is_lately.then_some(()).ok_or(TokenFault::AuthTime)
}

/// In constant time for texts of one length.
pub(super) fn is_same(one: &str, other: &str) -> bool {
    one.as_bytes().ct_eq(other.as_bytes()).into()
}

fn moment(time: Timestamp) -> DateTime<Utc> {
    let millis = i64::try_from(time.as_millis()).unwrap_or(i64::MAX);
    DateTime::from_timestamp_millis(millis).unwrap_or(DateTime::<Utc>::MAX_UTC)
}

fn timestamp(moment: DateTime<Utc>) -> Timestamp {
    Timestamp::from_millis(u64::try_from(moment.timestamp_millis()).unwrap_or(0))
}

fn fault(error: &ClaimsVerificationError) -> TokenFault {
    match error {
        ClaimsVerificationError::Expired(_) => TokenFault::Expired,
        ClaimsVerificationError::InvalidAudience(_) => TokenFault::Audience,
        ClaimsVerificationError::InvalidIssuer(_) => TokenFault::Issuer,
        ClaimsVerificationError::InvalidNonce(_) => TokenFault::Nonce,
        ClaimsVerificationError::InvalidSubject(_) => TokenFault::Subject,
        ClaimsVerificationError::InvalidAuthContext(_) => TokenFault::Acr,
        ClaimsVerificationError::InvalidAuthTime(_) => TokenFault::AuthTime,
        ClaimsVerificationError::SignatureVerification(error) => match error {
            SignatureVerificationError::NoMatchingKey => TokenFault::UnknownKey,
            SignatureVerificationError::NoSignature
            | SignatureVerificationError::DisallowedAlg(_)
            | SignatureVerificationError::UnsupportedAlg(_) => TokenFault::Algorithm,
            SignatureVerificationError::AmbiguousKeyId(_)
            | SignatureVerificationError::CryptoError(_)
            | SignatureVerificationError::InvalidKey(_)
            | SignatureVerificationError::Other(_)
            | _ => TokenFault::Signature,
        },
        ClaimsVerificationError::Unsupported(_) | ClaimsVerificationError::Other(_) | _ => {
            TokenFault::Malformed
        }
    }
}
