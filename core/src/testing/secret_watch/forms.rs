//! The forms that a secret is printed in, and how to find them in a text.

use data_encoding::{BASE32_NOPAD, BASE64_NOPAD, BASE64URL_NOPAD, Encoding, HEXLOWER};

/// Shorter ones are anywhere by chance.
const SHORTEST: usize = 4;
/// Shorter ones are looked for as words of their own.
const LONG: usize = 12;

/// What one secret looks like in a text.
pub(in crate::testing) struct Forms {
    /// As it is, and as a byte string's `Debug` shows it.
    plain: Vec<String>,
    is_short: bool,
    /// What may be broken by spaces and line ends: compared without them.
    encoded: Vec<(&'static str, String)>,
}

impl Forms {
    /// # Panics
    /// When the secret is shorter than four bytes.
    pub(in crate::testing) fn of(secret: &[u8]) -> Self {
        assert!(
            secret.len() >= SHORTEST,
            "a secret of {} bytes is too short to be looked for",
            secret.len()
        );
        let mut plain = vec![secret.escape_ascii().to_string()];
        plain.extend(std::str::from_utf8(secret).ok().map(str::to_owned));
        Self {
            plain,
            is_short: secret.len() < LONG,
            encoded: encoded(secret),
        }
    }

    /// The name of a form that the text has the secret in.
    pub(in crate::testing) fn find(&self, text: &str) -> Option<&'static str> {
        if self.plain.iter().any(|plain| self.is_in(text, plain)) {
            return Some("as it is");
        }
        let squeezed: String = text.split_whitespace().collect();
        let folded = squeezed.to_ascii_lowercase();
        let found = self.encoded.iter().find(|(_, form)| {
            // Base64 alone tells upper case from lower.
            squeezed.contains(form) || folded.contains(form)
        });
        found.map(|(name, _)| *name)
    }

    fn is_in(&self, text: &str, plain: &str) -> bool {
        text.match_indices(plain).any(|(at, _)| {
            let before = text[..at].chars().next_back();
            let after = text[at + plain.len()..].chars().next();
            let is_word = !before.is_some_and(char::is_alphanumeric)
                && !after.is_some_and(char::is_alphanumeric);
            is_word || !self.is_short
        })
    }
}

/// Each form with its name. What has no upper case in it stands for both.
fn encoded(secret: &[u8]) -> Vec<(&'static str, String)> {
    let list = |item: fn(&u8) -> String| {
        let items: Vec<String> = secret.iter().map(item).collect();
        items.join(",")
    };
    let mut forms = vec![
        ("in hexadecimal", HEXLOWER.encode(secret)),
        ("as a list of bytes", list(|byte| format!("{byte}"))),
        ("as a list of bytes", list(|byte| format!("{byte:x}"))),
        ("as a list of bytes", list(|byte| format!("{byte:02x}"))),
    ];
    for (name, encoding) in [("in Base64", BASE64_NOPAD), ("in Base64", BASE64URL_NOPAD)] {
        forms.extend((0..3).map(|before| (name, within(&encoding, 6, before, secret))));
    }
    for before in 0..5 {
        let text = within(&BASE32_NOPAD, 5, before, secret);
        forms.push(("in Base32", text.to_ascii_lowercase()));
    }
    forms
}

/// What an encoding of so many bits a character makes of the secret with so many bytes before it
/// and any number after: the characters that depend on nothing else.
fn within(encoding: &Encoding, bits: usize, before: usize, secret: &[u8]) -> String {
    let mut bytes = vec![0; before];
    bytes.extend_from_slice(secret);
    let first = (before * 8).div_ceil(bits);
    let end = bytes.len() * 8 / bits;
    encoding.encode(&bytes)[first..end].to_owned()
}
