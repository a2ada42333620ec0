//! Floors: what the machine's own primitives cost, one call of each. Rows are judged by ratios to
//! sums of these, measured in the same run.

use std::fs::{self, File};
use std::hint::black_box;
use std::io::{Seek, SeekFrom, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use aws_lc_rs::agreement::{PrivateKey, UnparsedPublicKey, X25519, agree};
use aws_lc_rs::kem::{DecapsulationKey, ML_KEM_768};
use blake2::{Blake2s256, Digest};
use chacha20poly1305::aead::AeadInPlace;
use chacha20poly1305::{ChaCha20Poly1305, KeyInit};
use hmac::{Hmac, KeyInit as _, Mac};
use sha1::Sha1;
use x_wing::{Encapsulate, Kem, XWingKem};

use crate::measure::Samples;

/// Why a floor could not be measured.
pub(crate) type Error = Box<dyn std::error::Error>;

/// One X25519 shared secret through AWS-LC.
pub(crate) fn x25519_aws_lc() -> Result<Duration, Error> {
    let mut call = x25519_aws_lc_call()?;
    Ok(Samples::take(51, 50, &mut call).median())
}

/// The call that [`x25519_aws_lc`] measures, for a [`Pair`](crate::measure::Pair).
pub(crate) fn x25519_aws_lc_call() -> Result<impl FnMut(), Error> {
    let own = PrivateKey::generate(&X25519)?;
    let peer = UnparsedPublicKey::new(
        &X25519,
        PrivateKey::generate(&X25519)?.compute_public_key()?,
    );
    // The peer's key is used as raw bytes, as they come from a message.
    let peer = UnparsedPublicKey::new(&X25519, peer.bytes().as_ref().to_vec());
    Ok(move || {
        let secret = agree(&own, &peer, (), |secret| Ok(secret.first().copied()));
        let _ = black_box(secret);
    })
}

/// One X25519 shared secret through `x25519-dalek`, which `snow` and `x-wing` use.
pub(crate) fn x25519_dalek_call() -> impl FnMut() {
    let own = x25519_dalek::StaticSecret::from([7; 32]);
    let peer = x25519_dalek::PublicKey::from(&x25519_dalek::StaticSecret::from([9; 32]));
    move || {
        let _ = black_box(own.diffie_hellman(black_box(&peer)).to_bytes());
    }
}

/// One X25519 shared secret as `openssl speed` measures it: the fastest implementation available.
pub(crate) fn x25519_openssl() -> Result<Duration, Error> {
    let output = Command::new("openssl")
        .args(["speed", "-mr", "-seconds", "2", "ecdhx25519"])
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("`openssl` can't be run (Debian package openssl): {error}"))?;
    let printed = String::from_utf8_lossy(&output.stdout);
    openssl_span(&printed).ok_or_else(|| "`openssl speed -mr` gave no X25519 figure".into())
}

/// The span of one operation out of the line `+F5:…:253:operations per second:…`.
fn openssl_span(printed: &str) -> Option<Duration> {
    let line = printed.lines().find(|line| line.starts_with("+F5:"))?;
    let fields: Vec<&str> = line.split(':').collect();
    let per_second: f64 = fields.get(3)?.parse().ok()?;
    (fields.get(2) == Some(&"253") && per_second.is_normal())
        .then(|| Duration::from_secs_f64(per_second.recip()))
}

/// One X-Wing encapsulation through the crate `x-wing`: ML-KEM-768, two X25519 operations, SHA-3.
pub(crate) fn x_wing_encapsulate() -> Duration {
    let (_, key) = XWingKem::generate_keypair();
    Samples::take(51, 20, || {
        let _ = black_box(black_box(&key).encapsulate());
    })
    .median()
}

/// One ML-KEM-768 encapsulation through AWS-LC: the fastest implementation available.
pub(crate) fn ml_kem_encapsulate() -> Result<Duration, Error> {
    let key = DecapsulationKey::generate(&ML_KEM_768)?.encapsulation_key()?;
    let samples = Samples::take(51, 50, || {
        let _ = black_box(black_box(&key).encapsulate().is_ok());
    });
    Ok(samples.median())
}

/// Writes of 4 KiB with `fdatasync`, as a write-ahead log makes them once it has been through its
/// file: it is used again, and neither grows nor allocates.
pub(crate) struct Flush {
    file: File,
    page: u32,
}

impl Flush {
    const PAGE: [u8; 4096] = [1; 4096];
    const PAGES: u32 = 256;

    /// A log in a folder that must be on the disk that is meant. It has no name there, and is gone
    /// when it is dropped.
    pub(crate) fn new(folder: &Path) -> Result<Self, Error> {
        fs::create_dir_all(folder)?;
        let mut file = tempfile::tempfile_in(folder)?;
        for _ in 0..Self::PAGES {
            file.write_all(&Self::PAGE)?;
        }
        file.sync_all()?;
        let page = Self::PAGES;
        Ok(Self { file, page })
    }

    /// Writes the next page and has it flushed.
    pub(crate) fn once(&mut self) -> std::io::Result<()> {
        if self.page == Self::PAGES {
            self.file.seek(SeekFrom::Start(0))?;
            self.page = 0;
        }
        self.page += 1;
        self.file.write_all(&Self::PAGE)?;
        self.file.sync_data()
    }
}

/// The median of one write with its flush, in `folder`.
pub(crate) fn fdatasync_p50(folder: &Path) -> Result<Duration, Error> {
    let mut log = Flush::new(folder)?;
    let mut outcome = Ok(());
    let samples = Samples::take(Flush::PAGES, 1, || {
        if outcome.is_ok() {
            outcome = log.once();
        }
    });
    outcome?;
    Ok(samples.median())
}

/// One ChaCha20-Poly1305 seal of `len` bytes through the crate `chacha20poly1305`.
pub(crate) fn chacha20poly1305(len: usize) -> Duration {
    let cipher = ChaCha20Poly1305::new(&[7; 32].into());
    let mut buffer = vec![0; len];
    Samples::take(51, 200, || {
        let tag = cipher.encrypt_in_place_detached(&[9; 12].into(), b"", black_box(&mut buffer));
        let _ = black_box(tag.is_ok());
    })
    .median()
}

/// One BLAKE2s hash of `len` bytes through the crate `blake2`.
pub(crate) fn blake2s(len: usize) -> Duration {
    let text = vec![0; len];
    Samples::take(51, 200, || {
        let _ = black_box(Blake2s256::digest(black_box(&text)));
    })
    .median()
}

/// One HMAC-SHA-1 of a counter under a key of 20 bytes, the key's set-up included: the heart of a
/// one-time password, through the crate `hmac`.
pub(crate) fn hmac_sha1() -> Result<Duration, Error> {
    let mut outcome = Ok(());
    let samples = Samples::take(51, 200, || match Hmac::<Sha1>::new_from_slice(&[7; 20]) {
        Ok(mut mac) => {
            mac.update(black_box(&[9; 8]));
            let _ = black_box(mac.finalize());
        }
        Err(error) => outcome = Err(error),
    });
    outcome?;
    Ok(samples.median())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn openssl_speed_is_read_from_its_machine_readable_line() {
        let printed = "+DTP:253::ecdh:1\n+R7:37859:253:0.99\n+F5:22:253:38241.414141:0.000026\n";
        let span = openssl_span(printed).unwrap();
        assert_eq!(span.as_nanos() / 100, 261);
        for bad in [
            "",
            "+F5:22:253:zero:1",
            "+F5:22:253:0:1",
            "+F5:3:256:9000.0:0.1",
        ] {
            assert_eq!(openssl_span(bad), None, "{bad}");
        }
    }

    #[test]
    fn every_floor_is_measured() {
        let folder = std::env::temp_dir();
        for span in [
            x25519_aws_lc().unwrap(),
            ml_kem_encapsulate().unwrap(),
            x_wing_encapsulate(),
            fdatasync_p50(&folder).unwrap(),
            chacha20poly1305(1024),
            blake2s(64),
            hmac_sha1().unwrap(),
        ] {
            assert!(!span.is_zero());
        }
    }
}
