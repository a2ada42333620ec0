//! A security key on USB, spoken to from here (CTAP 2.0 and 2.1), where there is no browser and no
//! platform that would.
//!
//! CTAP2 and its PIN protocols are `webauthn-authenticator-rs`'s, the reports of USB HID
//! `hidapi`'s. Keys that know U2F only are not supported: they can't verify their user. On Linux
//! the user needs access to the device, which systemd's rules give to the user at the machine.
//! Windows keeps security keys to itself: ask its WebAuthn API there.
//!
//! All calls block: on a runtime, make them where blocking is allowed (`spawn_blocking`).

#[cfg(any(test, fuzzing))]
pub mod fuzzing;
mod hid;

use std::fmt;
use std::io;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use data_encoding::BASE64URL_NOPAD;
use hidapi::{DeviceInfo, HidApi, HidDevice};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_cbor_2::Value;
use sha2::{Digest, Sha256};
use webauthn_authenticator_rs::AuthenticatorBackendHashedClientData;
use webauthn_authenticator_rs::ctap2::CtapAuthenticator;
use webauthn_authenticator_rs::error::{CtapError, WebauthnCError};
use webauthn_authenticator_rs::types::{CableRequestType, CableState, EnrollSampleStatus};
use webauthn_authenticator_rs::ui::UiCallback;
use webauthn_rs_proto::{CreationChallengeResponse, RequestChallengeResponse};
use zeroize::Zeroizing;

use self::hid::{HidToken, PACKET, Packets};
use super::{Assertion, Attestation, UnreadableOptions};
use crate::channel::message::Answer;

/// The usage page of FIDO devices (CTAP 2.1, section 11.2.8.2).
const FIDO: u16 = 0xf1d0;

/// A user is given no more time than this, whatever the gate says.
const LONGEST: Duration = Duration::from_secs(300);

/// Where the id of a credential is in the authenticator's data: its length, in two bytes, and then
/// the id (WebAuthn Level 3, section 6.5.1).
const ID_LENGTH: usize = 53;

/// The person at the security key.
pub trait Holder: Send + Sync {
    /// The key's PIN; `None` when they don't want to say. A few wrong ones and the key is blocked:
    /// never answer by yourself what was wrong before.
    fn pin(&self) -> Option<Zeroizing<String>>;

    /// The key waits to be touched. Must not block.
    fn touch(&self);
}

/// The one security key that is plugged in.
pub struct SecurityKey<'a> {
    rp_id: String,
    holder: &'a dyn Holder,
    device: Box<dyn Packets>,
}

impl<'a> SecurityKey<'a> {
    /// Opens the security key that is plugged in, to answer for a relying party, which the client
    /// knows by its own configuration: this is what keeps a gate from asking for another's.
    ///
    /// # Errors
    /// `security-key-not-plugged-in`, `security-key-several`,
    /// `security-key-device`.
    pub fn open(rp_id: &str, holder: &'a dyn Holder) -> Result<Self, SecurityKeyError> {
        let hid = HidApi::new().map_err(SecurityKeyFault::device)?;
        let is_fido = |device: &&DeviceInfo| device.usage_page() == FIDO;
        let mut devices = hid.device_list().filter(is_fido);
        let device = devices.next().ok_or(SecurityKeyFault::NotPluggedIn)?;
        if devices.next().is_some() {
            return Err(SecurityKeyError(SecurityKeyFault::Several));
        }
        let device = device.open_device(&hid).map_err(SecurityKeyFault::device)?;
        Ok(Self::over(rp_id, holder, Box::new(device)))
    }

    fn over(rp_id: &str, holder: &'a dyn Holder, device: Box<dyn Packets>) -> Self {
        Self {
            rp_id: rp_id.to_owned(),
            holder,
            device,
        }
    }

    /// Answers a challenge: `navigator.credentials.get`, at the origin `https://<rp id>`.
    ///
    /// # Errors
    /// [`SecurityKeyError`], see its variants.
    pub fn get(&mut self, options: &str) -> Result<Answer, SecurityKeyError> {
        let options: RequestChallengeResponse = read(options)?;
        let options = options.public_key;
        self.answers_for(&options.rp_id)?;
        let client_data = self.client_data("webauthn.get", &options.challenge)?;
        let hash = Sha256::digest(&client_data).to_vec();
        let asserted = self.with_device(options.timeout, |device, wait| {
            device.perform_auth(hash, options, wait)
        })?;
        let assertion = Assertion {
            credential_id: asserted.raw_id,
            client_data_json: client_data,
            authenticator_data: asserted.response.authenticator_data,
            signature: asserted.response.signature,
            user_handle: asserted.response.user_handle,
        };
        assertion
            .to_answer()
            .ok_or(SecurityKeyError(SecurityKeyFault::Unexpected))
    }

    /// Enrols: `navigator.credentials.create`, at the origin `https://<rp id>`. What the key says
    /// of its maker is left out (WebAuthn Level 3, section 5.1.3, attestation conveyance "none").
    ///
    /// # Errors
    /// [`SecurityKeyError`], see its variants.
    pub fn create(&mut self, options: &str) -> Result<Answer, SecurityKeyError> {
        let options: CreationChallengeResponse = read(options)?;
        let options = options.public_key;
        self.answers_for(&options.rp.id)?;
        let client_data = self.client_data("webauthn.create", &options.challenge)?;
        let hash = Sha256::digest(&client_data).to_vec();
        let created = self.with_device(options.timeout, |device, wait| {
            device.perform_register(hash, options, wait)
        })?;
        let data = authenticator_data(&created.response.attestation_object)
            .ok_or(SecurityKeyFault::Unexpected)?;
        let attestation = Attestation {
            credential_id: credential_id(&data).ok_or(SecurityKeyFault::Unexpected)?,
            client_data_json: client_data,
            attestation_object: unattested(data).ok_or(SecurityKeyFault::Unexpected)?,
        };
        attestation
            .to_answer()
            .ok_or(SecurityKeyError(SecurityKeyFault::Unexpected))
    }

    fn answers_for(&self, rp_id: &str) -> Result<(), SecurityKeyFault> {
        if rp_id == self.rp_id {
            Ok(())
        } else {
            Err(SecurityKeyFault::OtherRelyingParty)
        }
    }

    /// The client's data as section 5.8.1.1 of WebAuthn writes it.
    fn client_data(&self, kind: &str, challenge: &[u8]) -> Result<Vec<u8>, SecurityKeyFault> {
        serde_json::to_vec(&ClientData {
            kind,
            challenge: BASE64URL_NOPAD.encode(challenge),
            origin: format!("https://{}", self.rp_id),
            cross_origin: false,
        })
        .map_err(SecurityKeyFault::device)
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "a device on this machine is waited for, and no lease hangs on it"
    )]
    fn with_device<T>(
        &mut self,
        timeout: Option<u32>,
        run: impl FnOnce(&mut Device<'_, '_>, u32) -> Result<T, WebauthnCError>,
    ) -> Result<T, SecurityKeyFault> {
        let asked = timeout.map_or(LONGEST, |timeout| Duration::from_millis(timeout.into()));
        let wait = asked.min(LONGEST);
        let token = HidToken::new(&mut *self.device, Instant::now() + wait);
        let ui = Ui(self.holder);
        // `webauthn-authenticator-rs` traces what it sends and gets, PIN tokens in the clear.
        let silent = tracing::Dispatch::none();
        tracing::dispatcher::with_default(&silent, || {
            let mut device = at_once(CtapAuthenticator::new(token, &ui))?
                .ok_or(SecurityKeyFault::Unsupported)?;
            let wait = u32::try_from(wait.as_millis()).unwrap_or(u32::MAX);
            run(&mut device, wait).map_err(SecurityKeyFault::from)
        })
    }
}

impl fmt::Debug for SecurityKey<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SecurityKey")
            .field("rp_id", &self.rp_id)
            .finish_non_exhaustive()
    }
}

crate::error_code::opaque! {
    /// Why a security key did not answer.
    pub struct SecurityKeyError(SecurityKeyFault);
    from UnreadableOptions;
}

/// What is behind [`SecurityKeyError`].
#[derive(Debug, thiserror::Error)]
pub(crate) enum SecurityKeyFault {
    /// There is none, or this user may not use it.
    #[error("no security key found: plug one in, and see that you may use it")]
    NotPluggedIn,
    /// There are several.
    #[error("several security keys found: leave the one to be used plugged in")]
    Several,
    /// The key knows no CTAP2.
    #[error("the security key does not speak FIDO2: use a newer one")]
    Unsupported,
    /// The gate asks for another relying party than this client answers for.
    #[error("the gate asks for a credential of another relying party: don't answer it")]
    OtherRelyingParty,
    /// The gate's options can't be read.
    #[error(transparent)]
    Options(#[from] UnreadableOptions),
    /// The user did not want to, or took too long.
    #[error("the security key was not used in time, or its user said no")]
    Declined,
    /// The PIN is wrong.
    #[error("the security key's PIN is wrong")]
    WrongPin,
    /// The key takes no PIN or finger any more: until it is plugged in again, or for good.
    #[error("the security key is blocked: unplug it and plug it in again, or reset it")]
    Blocked,
    /// The key has no PIN and no finger to verify its user by.
    #[error("the security key can't verify its user: give it a PIN first")]
    NoPin,
    /// The key has no credential that is asked for.
    #[error("the security key is not one that is enrolled")]
    NoCredential,
    /// The key has a credential of this user's already.
    #[error("the security key is enrolled already")]
    AlreadyEnrolled,
    /// The key said something that it should not.
    #[error("the security key's answer can't be read")]
    Unexpected,
    /// The device could not be used.
    #[error("the security key can't be used")]
    Device(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl SecurityKeyFault {
    fn device(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Device(error.into())
    }
}

impl From<WebauthnCError> for SecurityKeyFault {
    fn from(error: WebauthnCError) -> Self {
        #[expect(
            clippy::wildcard_enum_match_arm,
            reason = "two dozen other errors, all of them the device's"
        )]
        match error {
            WebauthnCError::Cancelled => Self::Declined,
            WebauthnCError::UserVerificationRequired => Self::NoPin,
            WebauthnCError::Ctap(code) => match code {
                CtapError::Ctap2OperationDenied
                | CtapError::Ctap2KeepAliveCancel
                | CtapError::Ctap2UserActionTimeout
                | CtapError::Ctap2ActionTimeout
                | CtapError::Ctap1Timeout => Self::Declined,
                CtapError::Ctap2PinInvalid | CtapError::Ctap2UserVerificationInvalid => {
                    Self::WrongPin
                }
                CtapError::Ctap2PinBlocked
                | CtapError::Ctap2PinAuthBlocked
                | CtapError::Ctap2UserVerificationBlocked => Self::Blocked,
                CtapError::Ctap2PinNotSet => Self::NoPin,
                CtapError::Ctap2NoCredentials | CtapError::Ctap2InvalidCredential => {
                    Self::NoCredential
                }
                CtapError::Ctap2CredentialExcluded => Self::AlreadyEnrolled,
                code => Self::device(WebauthnCError::Ctap(code)),
            },
            error => Self::device(error),
        }
    }
}

type Device<'d, 'u> = CtapAuthenticator<'u, HidToken<&'d mut (dyn Packets + 'static)>, Ui<'u>>;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ClientData<'a> {
    #[serde(rename = "type")]
    kind: &'a str,
    challenge: String,
    origin: String,
    cross_origin: bool,
}

fn read<T: DeserializeOwned>(options: &str) -> Result<T, UnreadableOptions> {
    serde_json::from_str(options).map_err(|_| UnreadableOptions)
}

/// The authenticator's data in an attestation object.
fn authenticator_data(object: &[u8]) -> Option<Vec<u8>> {
    let Ok(Value::Map(object)) = serde_cbor_2::from_slice(object) else {
        return None;
    };
    let data = object.get(&Value::Text("authData".to_owned()))?;
    if let Value::Bytes(data) = data {
        return Some(data.clone());
    }
    None
}

fn credential_id(data: &[u8]) -> Option<Vec<u8>> {
    let (length, rest) = data.get(ID_LENGTH..)?.split_first_chunk()?;
    rest.get(..usize::from(u16::from_be_bytes(*length)))
        .map(<[u8]>::to_vec)
}

/// An attestation object that attests nothing (section 8.7 of WebAuthn).
fn unattested(data: Vec<u8>) -> Option<Vec<u8>> {
    let text = |text: &str| Value::Text(text.to_owned());
    let object = Value::Map(
        [
            (text("fmt"), text("none")),
            (text("attStmt"), Value::Map(Default::default())),
            (text("authData"), Value::Bytes(data)),
        ]
        .into(),
    );
    serde_cbor_2::to_vec(&object).ok()
}

/// What a future gives that never waits: all that [`HidToken`] does, it does at once.
fn at_once<T>(future: impl Future<Output = T>) -> Result<T, SecurityKeyFault> {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => Ok(output),
        Poll::Pending => Err(SecurityKeyFault::Unexpected),
    }
}

struct Ui<'a>(&'a dyn Holder);

impl fmt::Debug for Ui<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Ui")
    }
}

impl UiCallback for Ui<'_> {
    fn request_pin(&self) -> Option<String> {
        self.0.pin().map(|mut pin| std::mem::take(&mut *pin))
    }

    fn request_touch(&self) {
        self.0.touch();
    }

    fn processing(&self) {}

    // The rest is about things that are not done here: enrolling fingers, and phones.
    fn fingerprint_enrollment_feedback(&self, _remaining: u32, _last: Option<EnrollSampleStatus>) {}
    fn cable_qr_code(&self, _request: CableRequestType, _url: String) {}
    fn dismiss_qr_code(&self) {}
    fn cable_status_update(&self, _state: CableState) {}
}

impl Packets for &mut (dyn Packets + 'static) {
    fn write(&mut self, packet: &[u8; PACKET]) -> io::Result<()> {
        (**self).write(packet)
    }

    fn read(&mut self, wait: Duration) -> io::Result<Option<[u8; PACKET]>> {
        (**self).read(wait)
    }
}

impl Packets for HidDevice {
    fn write(&mut self, packet: &[u8; PACKET]) -> io::Result<()> {
        // Behind the number of the report: none.
        let report = [&[0], packet.as_slice()].concat();
        let written = HidDevice::write(self, &report).map_err(io::Error::other)?;
        if written < packet.len() {
            return Err(io::ErrorKind::WriteZero.into());
        }
        Ok(())
    }

    fn read(&mut self, wait: Duration) -> io::Result<Option<[u8; PACKET]>> {
        let mut packet = [0; PACKET];
        let wait = i32::try_from(wait.as_millis()).unwrap_or(i32::MAX);
        match self.read_timeout(&mut packet, wait) {
            Ok(0) => Ok(None),
            Ok(_) => Ok(Some(packet)),
            Err(error) => Err(io::Error::other(error)),
        }
    }
}

#[cfg(test)]
mod tests;
