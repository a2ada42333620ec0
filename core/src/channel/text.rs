//! Reading texts that may be secret: in place where they can be, and zeroized where they can't.

use std::fmt;

use serde::Deserializer;
use serde::de::{Error, Visitor};
use zeroize::Zeroizing;

/// Deserialises a text by `read`, without a copy of it that outlives the call. `expected` says what
/// the text should be; no error repeats it.
pub(super) fn deserialize<'de, D: Deserializer<'de>, T>(
    deserializer: D,
    expected: &'static str,
    read: fn(&str) -> Option<T>,
) -> Result<T, D::Error> {
    deserializer.deserialize_str(Text { expected, read })
}

struct Text<T> {
    expected: &'static str,
    read: fn(&str) -> Option<T>,
}

impl<T> Visitor<'_> for Text<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.expected)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<T, E> {
        let expected = self.expected;
        (self.read)(text).ok_or_else(|| E::custom(format_args!("expected {expected}")))
    }

    fn visit_string<E: Error>(self, text: String) -> Result<T, E> {
        self.visit_str(&Zeroizing::new(text))
    }
}

/// So many bytes out of their Base64.
pub(super) fn bytes<const N: usize>(text: &str) -> Option<Box<[u8; N]>> {
    let len = data_encoding::BASE64.decode_len(text.len()).ok()?;
    let mut decoded = Zeroizing::new(vec![0; len]);
    let len = data_encoding::BASE64
        .decode_mut(text.as_bytes(), &mut decoded)
        .ok()?;
    let decoded = decoded.get(..len).filter(|decoded| decoded.len() == N)?;
    let mut bytes = Box::new([0; N]);
    bytes.copy_from_slice(decoded);
    Some(bytes)
}
