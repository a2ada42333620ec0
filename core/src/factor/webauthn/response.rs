//! What the client answers: parsed, and checked where `webauthn-rs` does not.

use data_encoding::BASE64URL_NOPAD;
use serde::Deserialize;
use webauthn_rs::prelude::{PublicKeyCredential, RegisterPublicKeyCredential, Uuid};

use super::relying_party::RelyingParty;
use crate::channel::message::SecretString;
use crate::factor::VerifyError;

/// An assertion, as `navigator.credentials.get` gives it.
pub(super) fn assertion(text: &SecretString) -> Result<PublicKeyCredential, VerifyError> {
    serde_json::from_str(text.expose_secret()).map_err(|_| VerifyError::Unfit)
}

/// A new credential, as `navigator.credentials.create` gives it.
pub(super) fn attestation(text: &SecretString) -> Result<RegisterPublicKeyCredential, VerifyError> {
    serde_json::from_str(text.expose_secret()).map_err(|_| VerifyError::Unfit)
}

/// Whether an assertion has all that `webauthn-rs` does not look for.
pub(super) fn is_sound_assertion(
    party: &RelyingParty,
    credential: &PublicKeyCredential,
    user_handle: &Uuid,
) -> bool {
    let response = &credential.response;
    // Section 7.2, step 6: a user handle, where there is one, is the user's.
    let is_theirs = response
        .user_handle
        .as_ref()
        .is_none_or(|handle| handle == user_handle.as_bytes());
    credential.type_ == "public-key"
        && credential.id == BASE64URL_NOPAD.encode(&credential.raw_id)
        && is_theirs
        && is_from(party, &response.client_data_json)
}

/// Whether a new credential has all that `webauthn-rs` does not look for. Its id is what the
/// authenticator says in its data, not what the client wrote beside it.
pub(super) fn is_sound_attestation(
    party: &RelyingParty,
    credential: &RegisterPublicKeyCredential,
) -> bool {
    credential.type_ == "public-key" && is_from(party, &credential.response.client_data_json)
}

/// What of the client's data is checked here (section 5.8.1); it has more members, and may get new
/// ones.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ClientData {
    origin: String,
    cross_origin: Option<bool>,
    top_origin: Option<serde::de::IgnoredAny>,
}

/// Whether the ceremony ran in a page or app of the relying party's, and not in a frame of
/// another's: sections 7.1 (steps 9 to 11) and 7.2 (steps 13 to 15). The origin is compared
/// as a text: `webauthn-rs` goes by its parts, which take a path for no difference.
fn is_from(party: &RelyingParty, client_data: &[u8]) -> bool {
    let Ok(data) = serde_json::from_slice::<ClientData>(client_data) else {
        return false;
    };
    party.origins.contains(&data.origin)
        && !data.cross_origin.unwrap_or(false)
        && data.top_origin.is_none()
}
