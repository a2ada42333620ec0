//! A device key in memory or in a PKCS #8 file.

use std::fmt;
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use ed25519_dalek::Signer as _;
use ed25519_dalek::pkcs8::spki::der::pem::LineEnding;
use ed25519_dalek::pkcs8::{DecodePrivateKey, EncodePrivateKey, KeypairBytes};
use p256::elliptic_curve::Generate;
use zeroize::Zeroizing;

use super::{SignError, Signer};
use crate::channel::message::Protection;
use crate::private_file;
use crate::signature::{Algorithm, Signature, VerifyingKey};

/// Far more than a key needs, far less than hurts.
const MAX_BYTES: u64 = 16 * 1024;

/// A device key that is protected by nothing but where it is kept: for machines without hardware
/// for it, and for tests. Zeroized on drop, never printed.
pub struct SoftwareSigner {
    key: Key,
    public: VerifyingKey,
}

enum Key {
    Es256(Box<p256::ecdsa::SigningKey>),
    Ed25519(Box<ed25519_dalek::SigningKey>),
}

impl SoftwareSigner {
    /// A fresh key.
    ///
    /// # Errors
    /// `software-key-random` when the system has no randomness to give.
    pub fn generate(algorithm: Algorithm) -> Result<Self, SoftwareKeyError> {
        let key = match algorithm {
            Algorithm::Es256 => {
                let key = p256::ecdsa::SigningKey::try_generate();
                Key::Es256(Box::new(key.map_err(SoftwareKeyFault::Random)?))
            }
            Algorithm::Ed25519 => {
                let mut seed = Zeroizing::new([0; 32]);
                getrandom::fill(&mut *seed).map_err(SoftwareKeyFault::Random)?;
                Key::Ed25519(Box::new(ed25519_dalek::SigningKey::from_bytes(&seed)))
            }
        };
        Self::with(key).map_err(SoftwareKeyError)
    }

    /// Reads a private key of P-256 or Ed25519 as PKCS #8 in PEM (RFC 5958, RFC 7468), not
    /// encrypted: `openssl genpkey -algorithm ed25519`.
    ///
    /// # Errors
    /// `software-key-invalid` for anything else.
    pub fn from_pkcs8_pem(pem: &str) -> Result<Self, SoftwareKeyError> {
        if let Ok(key) = p256::ecdsa::SigningKey::from_pkcs8_pem(pem) {
            return Self::with(Key::Es256(Box::new(key))).map_err(SoftwareKeyError);
        }
        match ed25519_dalek::SigningKey::from_pkcs8_pem(pem) {
            Ok(key) => Self::with(Key::Ed25519(Box::new(key))).map_err(SoftwareKeyError),
            Err(_) => Err(SoftwareKeyError(SoftwareKeyFault::Invalid)),
        }
    }

    /// The private key as PKCS #8 in PEM, not encrypted. Zeroized on drop.
    ///
    /// # Errors
    /// `software-key-invalid` does not come from a key that this type made or read.
    pub fn expose_pkcs8_pem(&self) -> Result<Zeroizing<String>, SoftwareKeyError> {
        let pem = match &self.key {
            Key::Es256(key) => key.to_pkcs8_pem(LineEnding::LF),
            Key::Ed25519(key) => {
                // Without the public key, which older readers stumble over.
                let pair = KeypairBytes {
                    secret_key: key.to_bytes(),
                    public_key: None,
                };
                pair.to_pkcs8_pem(LineEnding::LF)
            }
        };
        pem.map_err(|_| SoftwareKeyError(SoftwareKeyFault::Invalid))
    }

    /// Reads a key from a file that no one but its owner may read. (Where the platform guards the
    /// file by other means than its mode, read it yourself and use
    /// [`from_pkcs8_pem`](Self::from_pkcs8_pem).) Blocks on the file.
    ///
    /// # Errors
    /// `software-key-exposed` when others may read or write the file (Unix);
    /// `software-key-file`; what [`from_pkcs8_pem`](Self::from_pkcs8_pem) gives.
    pub fn read(path: &Path) -> Result<Self, SoftwareKeyError> {
        let failed = SoftwareKeyFault::file(path);
        let file = File::open(path).map_err(&failed)?;
        if let Some(mode) = private_file::exposed(&file).map_err(&failed)? {
            return Err(SoftwareKeyError(SoftwareKeyFault::Exposed {
                path: path.to_owned(),
                mode,
            }));
        }
        let mut pem = Zeroizing::new(String::with_capacity(4096)); // no copies left by growing
        file.take(MAX_BYTES)
            .read_to_string(&mut pem)
            .map_err(&failed)?;
        Self::from_pkcs8_pem(&pem)
    }

    /// Writes the key to a new file that only its owner may read, and flushes it. Blocks on the
    /// file.
    ///
    /// # Errors
    /// `software-key-file`, also when the file exists: a key is never overwritten.
    pub fn write_new(&self, path: &Path) -> Result<(), SoftwareKeyError> {
        let pem = self.expose_pkcs8_pem()?;
        let mut file = private_file::create_new(path).map_err(SoftwareKeyFault::file(path))?;
        file.write_all(pem.as_bytes())
            .and_then(|()| file.sync_all())
            .map_err(SoftwareKeyFault::file(path))
            .map_err(SoftwareKeyError)
    }

    fn with(key: Key) -> Result<Self, SoftwareKeyFault> {
        let public = match &key {
            Key::Es256(key) => VerifyingKey::es256(*key.verifying_key()),
            Key::Ed25519(key) => VerifyingKey::ed25519(key.verifying_key()),
        };
        let public = public.map_err(|_| SoftwareKeyFault::Invalid)?;
        Ok(Self { key, public })
    }
}

#[async_trait]
impl Signer for SoftwareSigner {
    fn public_key(&self) -> &VerifyingKey {
        &self.public
    }

    fn protection(&self) -> Protection {
        Protection::Software
    }

    async fn sign(&self, message: &[u8]) -> Result<Signature, SignError> {
        match &self.key {
            Key::Es256(key) => {
                let signature: p256::ecdsa::Signature =
                    key.try_sign(message).map_err(SignError::backend)?;
                Ok(Signature::from_bytes(signature.to_bytes().into()))
            }
            Key::Ed25519(key) => Ok(Signature::from_bytes(key.sign(message).to_bytes())),
        }
    }
}

impl fmt::Debug for SoftwareSigner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SoftwareSigner({:?})", self.public)
    }
}

crate::error_code::opaque! {
    /// Why a device key in software can't be had. No text repeats it.
    pub struct SoftwareKeyError(SoftwareKeyFault);
}

/// What is behind [`SoftwareKeyError`].
#[derive(Debug, thiserror::Error)]
pub(crate) enum SoftwareKeyFault {
    /// Others than the owner may read or write the file.
    #[error(
        "the device key {path} is open to others (mode {mode:03o}): run `chmod 600 {path}`; \
         if others could have read it, enrol a new one",
        path = path.display()
    )]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The file can't be read or written.
    #[error("the device key {path} can't be read or written", path = path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The text is not a private key that may be used.
    #[error("not a private key of P-256 or Ed25519 as PKCS #8 in PEM, without encryption")]
    Invalid,
    /// The system has no randomness to give.
    #[error("the system has no randomness for a device key")]
    Random(#[source] getrandom::Error),
}

impl SoftwareKeyFault {
    fn file(path: &Path) -> impl Fn(io::Error) -> Self {
        move |source| Self::File {
            path: path.to_owned(),
            source,
        }
    }
}
