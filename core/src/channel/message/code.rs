//! One-time codes.

use std::fmt;

use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::channel::text;

/// A one-time code as the user typed it: digits, spaces and hyphens dropped. Never printed.
#[derive(Clone, PartialEq, Eq, Serialize, Zeroize, ZeroizeOnDrop)]
pub struct Code(String);

impl Code {
    const SHORTEST: usize = 6;
    const LONGEST: usize = 10;

    /// The digits. The caller is responsible for where they go.
    pub fn expose_secret(&self) -> &str {
        &self.0
    }
}

impl std::str::FromStr for Code {
    type Err = ParseCodeError;

    fn from_str(text: &str) -> Result<Self, ParseCodeError> {
        // With room for any code, so that no copy is left behind by growing.
        let mut code = Self(String::with_capacity(Self::LONGEST));
        for digit in text.chars().filter(|c| !matches!(c, ' ' | '-')) {
            if !digit.is_ascii_digit() || code.0.len() == Self::LONGEST {
                return Err(ParseCodeError);
            }
            code.0.push(digit);
        }
        if code.0.len() < Self::SHORTEST {
            return Err(ParseCodeError);
        }
        Ok(code)
    }
}

impl TryFrom<String> for Code {
    type Error = ParseCodeError;

    fn try_from(text: String) -> Result<Self, ParseCodeError> {
        zeroize::Zeroizing::new(text).parse()
    }
}

impl<'de> Deserialize<'de> for Code {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        text::deserialize(deserializer, "6 to 10 digits", |text| text.parse().ok())
    }
}

impl fmt::Debug for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Code([redacted])")
    }
}

/// A text that is not a one-time code. It does not repeat the text, which may be a secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a one-time code: expected 6 to 10 digits")]
pub struct ParseCodeError;
