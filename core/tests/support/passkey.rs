//! A passkey in software: the `passkey` crates' client and authenticator, which share no code with
//! the verifier, and a forger that signs what no authenticator would. It speaks JSON only, so that
//! every test and bench that includes this file can use it.

use std::sync::Arc;

use data_encoding::BASE64URL_NOPAD;
use passkey_authenticator::{Authenticator, MemoryStore, UiHint, UserCheck, UserValidationMethod};
use passkey_client::{Client, DefaultClientData};
use passkey_crypto::rust_crypto::RustCryptoBackend;
use passkey_crypto::{CoseKey, PublicKeyT, SecretKeyT};
use passkey_types::Passkey;
use passkey_types::ctap2::{Aaguid, AttestedCredentialData, AuthenticatorData, Ctap2Error, Flags};
use serde::Serialize;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio::sync::Mutex;
use url::Url;

type SecretKey = <RustCryptoBackend as passkey_crypto::CryptoBackend>::SecretKey;

/// The flags of the authenticator data (WebAuthn Level 3, section 6.1).
pub(crate) const USER_VERIFIED: u8 = 1 << 2;
pub(crate) const BACKUP_ELIGIBLE: u8 = 1 << 3;
pub(crate) const BACKED_UP: u8 = 1 << 4;

const FLAGS: usize = 32;
const COUNTER: std::ops::Range<usize> = 33..37;

/// An authenticator with its credentials, and the page or app that uses it.
pub(crate) struct SoftwareKey {
    origin: Url,
    credentials: Arc<Mutex<MemoryStore>>,
    counts: bool,
}

impl SoftwareKey {
    /// Without a signature counter, as synchronised passkeys are.
    pub(crate) fn at(origin: &str) -> Self {
        Self {
            origin: Url::parse(origin).expect("an origin"),
            credentials: Arc::default(),
            counts: false,
        }
    }

    /// With a signature counter.
    pub(crate) fn counting(mut self) -> Self {
        self.counts = true;
        self
    }

    pub(crate) fn authenticator(
        &self,
    ) -> Authenticator<Arc<Mutex<MemoryStore>>, Consenting, RustCryptoBackend> {
        let credentials = Arc::clone(&self.credentials);
        let aaguid = Aaguid::new_empty();
        let mut authenticator =
            Authenticator::new(aaguid, credentials, Consenting, RustCryptoBackend);
        authenticator.set_make_credentials_with_signature_counter(self.counts);
        authenticator
    }

    /// `navigator.credentials.create`.
    pub(crate) async fn create(&self, options: &str) -> Result<String, String> {
        let options = serde_json::from_str(options).map_err(|error| error.to_string())?;
        let mut client = Client::new(self.authenticator());
        let created = client.register(&self.origin, options, DefaultClientData);
        let created = created.await.map_err(|error| format!("{error:?}"))?;
        Ok(to_json(&created))
    }

    /// `navigator.credentials.get`.
    pub(crate) async fn get(&self, options: &str) -> Result<String, String> {
        let options = serde_json::from_str(options).map_err(|error| error.to_string())?;
        let mut client = Client::new(self.authenticator());
        let got = client.authenticate(&self.origin, options, DefaultClientData);
        let got = got.await.map_err(|error| format!("{error:?}"))?;
        Ok(to_json(&got))
    }

    /// An assertion with parts changed, signed by the credential's own key.
    pub(crate) async fn forge(&self, credential: &str, change: impl FnOnce(&mut Signed)) -> String {
        let mut credential: Value = serde_json::from_str(credential).expect("JSON");
        let id = bytes(&credential["rawId"]);
        let response = &mut credential["response"];
        let mut signed = Signed {
            client_data: serde_json::from_slice(&bytes(&response["clientDataJSON"]))
                .expect("client data"),
            authenticator_data: bytes(&response["authenticatorData"]),
        };
        change(&mut signed);
        let client_data = signed.client_data.to_string();
        let mut message = signed.authenticator_data.clone();
        message.extend(Sha256::digest(&client_data));
        let mut key = SecretKey::from_cose_key(&self.key(&id).await).expect("a key");
        response["clientDataJSON"] = BASE64URL_NOPAD.encode(client_data.as_bytes()).into();
        response["authenticatorData"] = BASE64URL_NOPAD.encode(&signed.authenticator_data).into();
        response["signature"] = BASE64URL_NOPAD.encode(&key.sign(&message)).into();
        credential.to_string()
    }

    async fn key(&self, id: &[u8]) -> CoseKey {
        let credentials = self.credentials.lock().await;
        let credential: &Passkey = credentials.get(id).expect("a credential of this key");
        credential.key.clone()
    }

    /// A new credential of an id of one's choice and with these flags beside user presence, as
    /// such an authenticator would attest it: not at all.
    pub(crate) async fn create_as(&self, options: &str, id: Vec<u8>, flags: u8) -> String {
        let created = self.create(options).await.expect("a credential");
        let mut created: Value = serde_json::from_str(&created).expect("JSON");
        let options: Value = serde_json::from_str(options).expect("JSON");
        let rp_id = options["publicKey"]["rp"]["id"].as_str().expect("an id");
        let made = bytes(&created["rawId"]);
        let mut credentials = self.credentials.lock().await;
        let mut passkey = credentials.remove(&made).expect("just made");
        let key = SecretKey::from_cose_key(&passkey.key).expect("a key");
        let public = key.public_key().to_cose_key();
        let attested = AttestedCredentialData::new(Aaguid::new_empty(), id.clone(), public)
            .expect("a length of 16 bits");
        let counter = self.counts.then_some(0);
        let mut data = AuthenticatorData::new(rp_id, counter, &RustCryptoBackend)
            .set_attested_credential_data(attested)
            .to_vec();
        data[FLAGS] = u8::from(Flags::UP | Flags::AT) | flags;
        passkey.credential_id = id.clone().into();
        credentials.insert(id.clone(), passkey);
        let id = BASE64URL_NOPAD.encode(&id);
        created["id"] = id.clone().into();
        created["rawId"] = id.into();
        created["response"]["attestationObject"] =
            BASE64URL_NOPAD.encode(&unattested(&data)).into();
        created.to_string()
    }
}

/// What an assertion's signature covers.
pub(crate) struct Signed {
    pub(crate) client_data: Value,
    pub(crate) authenticator_data: Vec<u8>,
}

impl Signed {
    pub(crate) fn flip(&mut self, flags: u8) {
        self.authenticator_data[FLAGS] ^= flags;
    }

    pub(crate) fn count(&mut self, counter: u32) {
        self.authenticator_data[COUNTER].copy_from_slice(&counter.to_be_bytes());
    }

    /// Another relying party's id.
    pub(crate) fn scope(&mut self, rp_id: &str) {
        self.authenticator_data[..FLAGS].copy_from_slice(&Sha256::digest(rp_id));
    }
}

/// A user who is there, and whom the authenticator knows.
pub(crate) struct Consenting;

#[async_trait::async_trait]
impl UserValidationMethod for Consenting {
    type PasskeyItem = Passkey;

    async fn check_user<'a>(
        &self,
        hint: UiHint<'a, Passkey>,
        presence: bool,
        verification: bool,
    ) -> Result<UserCheck, Ctap2Error> {
        if matches!(hint, UiHint::InformExcludedCredentialFound(_)) {
            return Err(Ctap2Error::CredentialExcluded);
        }
        Ok(UserCheck {
            presence,
            verification,
        })
    }

    fn is_presence_enabled(&self) -> bool {
        true
    }

    fn is_verification_enabled(&self) -> Option<bool> {
        Some(true)
    }
}

/// One bit of a member of the response changed.
pub(crate) fn with_a_bit_changed(credential: &str, member: &str, bit: usize) -> String {
    let mut credential: Value = serde_json::from_str(credential).expect("JSON");
    let member = &mut credential["response"][member];
    let mut changed = bytes(member);
    changed[bit / 8] ^= 1 << (bit % 8);
    *member = json!(BASE64URL_NOPAD.encode(&changed));
    credential.to_string()
}

/// How many bits a member of the response has.
pub(crate) fn bits(credential: &str, member: &str) -> usize {
    let credential: Value = serde_json::from_str(credential).expect("JSON");
    bytes(&credential["response"][member]).len() * 8
}

/// As `toJSON` has it: the `passkey` crates write bytes as arrays of numbers.
fn to_json(credential: &impl Serialize) -> String {
    fn encode(value: &mut Value) {
        match value {
            Value::Array(items) => {
                let bytes = items.iter().map(|item| u8::try_from(item.as_u64()?).ok());
                match bytes.collect::<Option<Vec<u8>>>() {
                    Some(bytes) => *value = BASE64URL_NOPAD.encode(&bytes).into(),
                    None => items.iter_mut().for_each(encode),
                }
            }
            Value::Object(members) => members.values_mut().for_each(encode),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }
    let mut credential = serde_json::to_value(credential).expect("JSON");
    encode(&mut credential);
    credential.to_string()
}

fn bytes(text: &Value) -> Vec<u8> {
    let text = text.as_str().expect("a text");
    BASE64URL_NOPAD.decode(text.as_bytes()).expect("Base64url")
}

/// An attestation object of the format "none" (section 6.5.4), in CBOR.
fn unattested(authenticator_data: &[u8]) -> Vec<u8> {
    let len = u16::try_from(authenticator_data.len()).expect("a length of 16 bits");
    [
        b"\xa3\x63fmt\x64none\x67attStmt\xa0\x68authData\x59".as_slice(),
        &len.to_be_bytes(),
        authenticator_data,
    ]
    .concat()
}
