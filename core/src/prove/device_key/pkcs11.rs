//! A device key behind PKCS #11 (OASIS, version 2.40 and later), by `cryptoki`: in an HSM, a
//! security key, or a TPM behind `tpm2-pkcs11`.
//!
//! Each signature opens a session, logs in, finds the key, signs and closes: a token may be pulled
//! out and come back between two, and no one stays logged in. A PIN is tried once; nothing here
//! tries again, since tokens lock themselves. Keys that ask for the PIN at every single operation
//! (`CKA_ALWAYS_AUTHENTICATE`) can't be used.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::error::{Error, RvError};
use cryptoki::mechanism::Mechanism;
use cryptoki::object::{Attribute, AttributeType, KeyType, ObjectClass, ObjectHandle};
use cryptoki::session::{Session, UserType};
use cryptoki::slot::Slot;
use cryptoki::types::AuthPin;
use p256::pkcs8::der::Decode;
use p256::pkcs8::der::asn1::OctetStringRef;
use sha2::{Digest, Sha256};

use super::{SignError, Signer};
use crate::channel::message::{Protection, SecretString};
use crate::signature::{Signature, VerifyingKey};

/// The object identifier of P-256 in DER (RFC 5480, section 2.1.1.1).
const P256: [u8; 10] = [0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];

/// Where a device key is: behind which module, in which token, under which name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pkcs11Key {
    module: PathBuf,
    token: String,
    name: Name,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Name {
    Label(String),
    Id(Vec<u8>),
}

impl Pkcs11Key {
    /// A key by its label (`CKA_LABEL`) in the token of that label. The module is the token's
    /// library, such as `/usr/lib/softhsm/libsofthsm2.so`: it is code that this process will run.
    pub fn with_label(
        module: impl Into<PathBuf>,
        token: impl Into<String>,
        label: impl Into<String>,
    ) -> Self {
        Self {
            module: module.into(),
            token: token.into(),
            name: Name::Label(label.into()),
        }
    }

    /// A key by its identifier (`CKA_ID`); else as [`with_label`](Self::with_label).
    pub fn with_id(
        module: impl Into<PathBuf>,
        token: impl Into<String>,
        id: impl Into<Vec<u8>>,
    ) -> Self {
        Self {
            module: module.into(),
            token: token.into(),
            name: Name::Id(id.into()),
        }
    }

    fn named(&self) -> Attribute {
        match &self.name {
            Name::Label(label) => Attribute::Label(label.clone().into_bytes()),
            Name::Id(id) => Attribute::Id(id.clone()),
        }
    }
}

/// Where a token's PIN comes from: a user, or a secret store. A [`SecretString`] text is one that is
/// always the same.
#[async_trait]
pub trait PinEntry: Send + Sync {
    /// The user's PIN for the token of this label; `None` when the token has a keypad of its own.
    /// Asked once for each signature.
    ///
    /// # Errors
    /// [`SignError::UserCancelled`], or why there is no PIN to be had.
    async fn pin(&self, token: &str) -> Result<Option<SecretString>, SignError>;
}

#[async_trait]
impl PinEntry for SecretString {
    async fn pin(&self, _: &str) -> Result<Option<SecretString>, SignError> {
        Ok(Some(self.clone()))
    }
}

/// A device key in a token: ES256. Its calls need a tokio runtime; the token's part is done on a
/// thread for blocking work, one call to a module at a time.
pub struct Pkcs11Signer {
    key: Arc<Pkcs11Key>,
    public: VerifyingKey,
    protection: Protection,
    pin: Arc<dyn PinEntry>,
}

impl Pkcs11Signer {
    /// Finds a key. Does not log in: the public key must be readable without.
    ///
    /// `protection` is what the gate is told about the key. A token that verifies its user by the
    /// PIN, in hardware, is [`Protection::HardwareUserVerified`] as long as `pin` asks a person; a
    /// stored PIN makes it [`Protection::Hardware`]. For more than [`Protection::Software`] the key
    /// must never have been outside the token, by the token's own word (`CKA_ALWAYS_SENSITIVE`,
    /// `CKA_NEVER_EXTRACTABLE`), or it does not sign.
    ///
    /// # Errors
    /// [`SignError::NotAvailable`] when there is no such token or key; [`SignError::Backend`].
    pub async fn open(
        key: Pkcs11Key,
        protection: Protection,
        pin: Arc<dyn PinEntry>,
    ) -> Result<Self, SignError> {
        let key = Arc::new(key);
        let asked = Arc::clone(&key);
        let public = blocking(move || in_session(&asked, Login::None, public_key)).await?;
        Ok(Self {
            key,
            public,
            protection,
            pin,
        })
    }

    /// Makes a key of P-256 in the token, sensitive and not extractable, and finds it as
    /// [`open`](Self::open) does. A key found by label gets a random identifier.
    ///
    /// # Errors
    /// As [`open`](Self::open) and [`sign`](Signer::sign); [`SignError::Backend`] also when there
    /// is a key of that name already.
    pub async fn generate(
        key: Pkcs11Key,
        protection: Protection,
        pin: Arc<dyn PinEntry>,
    ) -> Result<Self, SignError> {
        let entered = pin.pin(&key.token).await?;
        let (key, asked) = (key.clone(), key);
        blocking(move || in_session(&asked, Login::ReadWrite(entered), generate)).await?;
        Self::open(key, protection, pin).await
    }
}

#[async_trait]
impl Signer for Pkcs11Signer {
    fn public_key(&self) -> &VerifyingKey {
        &self.public
    }

    fn protection(&self) -> Protection {
        self.protection
    }

    async fn sign(&self, message: &[u8]) -> Result<Signature, SignError> {
        let pin = self.pin.pin(&self.key.token).await?;
        let digest = Sha256::digest(message);
        let is_protected = self.protection > Protection::Software;
        let key = Arc::clone(&self.key);
        blocking(move || {
            in_session(&key, Login::ReadOnly(pin), |session, key| {
                let private = only(session, key, ObjectClass::PRIVATE_KEY)?;
                if is_protected && may_be_elsewhere(session, private)? {
                    return Err(SignError::backend(Fault::Elsewhere));
                }
                let signature = session.sign(&Mechanism::Ecdsa, private, &digest);
                let signature = signature.map_err(reason)?.try_into();
                signature
                    .map(Signature::from_bytes)
                    .map_err(|_| SignError::backend(Fault::NotAsStandardised))
            })
        })
        .await
    }
}

impl fmt::Debug for Pkcs11Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pkcs11Signer")
            .field("key", &self.key)
            .field("public", &self.public)
            .field("protection", &self.protection)
            .finish_non_exhaustive()
    }
}

/// What a token does that it should not, or what it holds.
#[derive(Debug, Clone, Copy, thiserror::Error)]
enum Fault {
    #[error("there are several tokens or keys of that name: give each its own")]
    Ambiguous,
    #[error("the token holds a key of that name already")]
    Exists,
    #[error("the key may be elsewhere too: declare it as software, or make one in the token")]
    Elsewhere,
    #[error("the token does not do as PKCS #11 says")]
    NotAsStandardised,
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, SignError> + Send + 'static,
) -> Result<T, SignError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(SignError::backend)?
}

/// A library, loaded and initialised.
struct Module {
    context: Pkcs11,
    /// A login holds for all sessions of a process: one at a time, so that no session uses
    /// another's.
    in_use: Mutex<()>,
}

impl Module {
    /// The module of this path. Once initialised it stays so: PKCS #11 has one state per process.
    fn load(path: &Path) -> Result<Arc<Self>, SignError> {
        static LOADED: Mutex<BTreeMap<PathBuf, Arc<Module>>> = Mutex::new(BTreeMap::new());
        // A panic while it was held left at most an entry missing.
        let mut loaded = LOADED.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(module) = loaded.get(path) {
            return Ok(Arc::clone(module));
        }
        let context = Pkcs11::new(path).map_err(SignError::backend)?;
        let arguments = CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK);
        match context.initialize(arguments) {
            // Another part of the process may use the same library.
            Ok(()) | Err(Error::Pkcs11(RvError::CryptokiAlreadyInitialized, _)) => {}
            Err(error) => return Err(reason(error)),
        }
        let module = Arc::new(Self {
            context,
            in_use: Mutex::new(()),
        });
        loaded.insert(path.to_owned(), Arc::clone(&module));
        Ok(module)
    }

    fn slot(&self, label: &str) -> Result<Slot, SignError> {
        let mut found = None;
        for slot in self.context.get_slots_with_token().map_err(reason)? {
            // A token that can't be asked, because it is being pulled out, is not the one.
            let info = self.context.get_token_info(slot);
            if info.is_ok_and(|info| info.label() == label) && found.replace(slot).is_some() {
                return Err(SignError::backend(Fault::Ambiguous));
            }
        }
        found.ok_or(SignError::NotAvailable)
    }
}

enum Login {
    None,
    ReadOnly(Option<SecretString>),
    ReadWrite(Option<SecretString>),
}

/// Does something in a session of its own with the token that holds the key.
fn in_session<T>(
    key: &Pkcs11Key,
    login: Login,
    work: impl FnOnce(&Session, &Pkcs11Key) -> Result<T, SignError>,
) -> Result<T, SignError> {
    let module = Module::load(&key.module)?;
    let _in_use = module.in_use.lock().unwrap_or_else(PoisonError::into_inner);
    let slot = module.slot(&key.token)?;
    let (session, pin) = match login {
        Login::None => (module.context.open_ro_session(slot), None),
        Login::ReadOnly(pin) => (module.context.open_ro_session(slot), Some(pin)),
        Login::ReadWrite(pin) => (module.context.open_rw_session(slot), Some(pin)),
    };
    let session = session.map_err(reason)?;
    let Some(pin) = pin else {
        return work(&session, key);
    };
    let pin = pin.map(|pin| AuthPin::from(pin.expose_secret().to_owned()));
    let is_ours = match session.login(UserType::User, pin.as_ref()) {
        Ok(()) => true,
        // By another part of the process, who will want to stay so.
        Err(Error::Pkcs11(RvError::UserAlreadyLoggedIn, _)) => false,
        Err(error) => return Err(reason(error)),
    };
    let done = work(&session, key);
    if is_ours {
        session.logout().map_err(reason)?;
    }
    done
}

fn public_key(session: &Session, key: &Pkcs11Key) -> Result<VerifyingKey, SignError> {
    let public = only(session, key, ObjectClass::PUBLIC_KEY)?;
    let attributes = session
        .get_attributes(public, &[AttributeType::EcPoint])
        .map_err(reason)?;
    let Some(Attribute::EcPoint(point)) = attributes.into_iter().next() else {
        return Err(SignError::backend(Fault::NotAsStandardised));
    };
    // In DER as the standard says, or bare as some tokens have it.
    let bare = <&OctetStringRef>::from_der(&point).map_or(&*point, OctetStringRef::as_bytes);
    VerifyingKey::from_p256_point(bare).map_err(SignError::backend)
}

fn generate(session: &Session, key: &Pkcs11Key) -> Result<(), SignError> {
    if !objects(session, key, ObjectClass::PRIVATE_KEY)?.is_empty() {
        return Err(SignError::backend(Fault::Exists));
    }
    let mut id = vec![0; 16];
    getrandom::fill(&mut id).map_err(SignError::backend)?;
    let other_name = match &key.name {
        Name::Label(_) => Attribute::Id(id),
        Name::Id(_) => Attribute::Label(b"mfagate".to_vec()),
    };
    let names = [key.named(), other_name];
    let public = [
        Attribute::Token(true),
        Attribute::Private(false),
        Attribute::Verify(true),
        Attribute::EcParams(P256.to_vec()),
    ];
    let private = [
        Attribute::Token(true),
        Attribute::Private(true),
        Attribute::Sensitive(true),
        Attribute::Extractable(false),
        Attribute::Sign(true),
    ];
    let (public, private) = (
        [&public[..], &names].concat(),
        [&private[..], &names].concat(),
    );
    session
        .generate_key_pair(&Mechanism::EccKeyPairGen, &public, &private)
        .map(|_| ())
        .map_err(reason)
}

/// Whether the private key can be, or ever was, outside its token; also when the token does not
/// say.
fn may_be_elsewhere(session: &Session, private: ObjectHandle) -> Result<bool, SignError> {
    let asked = [
        AttributeType::AlwaysSensitive,
        AttributeType::NeverExtractable,
    ];
    let attributes = session.get_attributes(private, &asked).map_err(reason)?;
    let is_kept = attributes.contains(&Attribute::AlwaysSensitive(true))
        && attributes.contains(&Attribute::NeverExtractable(true));
    Ok(!is_kept)
}

/// The one object of that class that has the key's name.
fn only(session: &Session, key: &Pkcs11Key, class: ObjectClass) -> Result<ObjectHandle, SignError> {
    match objects(session, key, class)?.as_slice() {
        [] => Err(SignError::NotAvailable),
        [object] => Ok(*object),
        _ => Err(SignError::backend(Fault::Ambiguous)),
    }
}

fn objects(
    session: &Session,
    key: &Pkcs11Key,
    class: ObjectClass,
) -> Result<Vec<ObjectHandle>, SignError> {
    let wanted = [
        Attribute::Class(class),
        Attribute::KeyType(KeyType::EC),
        key.named(),
    ];
    session.find_objects(&wanted).map_err(reason)
}

/// Why, in the words of a signer. Nothing in `cryptoki`'s errors is secret.
fn reason(error: Error) -> SignError {
    let Error::Pkcs11(code, _) = &error else {
        return SignError::backend(error);
    };
    if matches!(
        code,
        RvError::PinIncorrect | RvError::PinInvalid | RvError::PinLenRange
    ) {
        return SignError::NotRecognised;
    }
    if matches!(code, RvError::PinLocked | RvError::PinExpired) {
        return SignError::LockedOut;
    }
    if matches!(
        code,
        RvError::Cancel | RvError::FunctionCanceled | RvError::FunctionRejected
    ) {
        return SignError::UserCancelled;
    }
    if matches!(
        code,
        RvError::TokenNotPresent
            | RvError::TokenNotRecognized
            | RvError::DeviceRemoved
            | RvError::SlotIdInvalid
    ) {
        return SignError::NotAvailable;
    }
    SignError::backend(error)
}
