//! What people call a device or a factor.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A label for people, such as "Alice's laptop": 1 to 64 printable characters, without spaces at
/// either end.
///
/// A user may choose one, and an administrator's terminal shows it: so there is nothing in it that
/// moves the cursor, breaks the line, or turns the direction of the text ([`is_printable`]).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Label(Arc<str>);

/// A text that can't be a label. It does not repeat the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a label is 1 to 64 printable characters without surrounding spaces")]
pub struct ParseLabelError;

impl Label {
    /// The most characters that a label has.
    pub const LONGEST: usize = 64;

    /// The label as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// A label out of a store, where it may be older than the rule. What is not printable becomes
    /// U+FFFD (�), what is too long is cut, and one that is empty reads "unnamed": a row that was
    /// written under no rule keeps no one from signing in, and shows safely.
    pub fn from_stored(text: &str) -> Self {
        let shown = |c| if is_printable(c) { c } else { '\u{fffd}' };
        let text: String = text.trim().chars().take(Self::LONGEST).map(shown).collect();
        match text.trim_end() {
            "" => Self("unnamed".into()),
            text => Self(text.into()),
        }
    }
}

/// Whether a character shows as itself and leaves the rest of its line alone. Not printable are
///
/// - controls (U+0000 to U+001F, U+007F to U+009F),
/// - the separators of lines and paragraphs (U+2028, U+2029),
/// - what turns the direction of text (U+061C, U+200E, U+200F, U+202A to U+202E, U+2066 to U+2069),
/// - what does not show (U+00AD, U+180E, U+200B, U+2060 to U+2065, U+206A to U+206F, U+FEFF,
///   U+FFF9 to U+FFFB, U+E0000 to U+E0FFF).
///
/// The rule names code points and not Unicode's categories, so that two ends with tables of
/// different years agree on it.
pub const fn is_printable(c: char) -> bool {
    !matches!(
        c,
        '\u{0}'..='\u{1f}'
            | '\u{7f}'..='\u{9f}'
            | '\u{ad}'
            | '\u{61c}'
            | '\u{180e}'
            | '\u{200b}'
            | '\u{200e}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{feff}'
            | '\u{fff9}'..='\u{fffb}'
            | '\u{e0000}'..='\u{e0fff}'
    )
}

impl FromStr for Label {
    type Err = ParseLabelError;

    fn from_str(text: &str) -> Result<Self, ParseLabelError> {
        // Counted up to one too many, so that a long text costs no more than a short one.
        let len = text.chars().take(Self::LONGEST + 1).count();
        let fits = (1..=Self::LONGEST).contains(&len)
            && text.trim() == text
            && text.chars().all(is_printable);
        if fits {
            Ok(Self(text.into()))
        } else {
            Err(ParseLabelError)
        }
    }
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Serialize for Label {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Label {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(de::Error::custom)
    }
}

/// Reads a label of a record that may be older than the rule, as [`Label::from_stored`] does.
#[cfg(feature = "gate")]
pub(crate) fn stored<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Label, D::Error> {
    let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
    Ok(Label::from_stored(&text))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Label, ParseLabelError> {
        text.parse()
    }

    #[test]
    fn a_label_is_1_to_64_printable_characters() {
        let longest = "é".repeat(64);
        for good in [
            "x",
            "Alice's laptop",
            "“phone” 2",
            "電話",
            "👩\u{200d}💻",
            &longest,
        ] {
            assert_eq!(parse(good).unwrap().as_str(), good);
        }
        let too_long = "é".repeat(65);
        let far_too_long = "x".repeat(50_000);
        for bad in ["", " ", " x", "x ", &too_long, &far_too_long] {
            assert_eq!(parse(bad), Err(ParseLabelError), "{bad:?}");
        }
    }

    #[test]
    fn a_label_can_not_steer_a_terminal_or_turn_its_text() {
        for bad in [
            "a\nb",
            "a\u{1b}[2Jb",
            "a\u{9b}2Jb",
            "a\u{7f}b",
            "a\tb",
            "a\0b",
            "a\rb",
        ] {
            assert_eq!(parse(bad), Err(ParseLabelError), "{bad:?}");
        }
        for bad in [
            "a\u{202e}b",
            "a\u{2066}b",
            "a\u{2028}b",
            "a\u{200b}b",
            "a\u{feff}b",
        ] {
            assert_eq!(parse(bad), Err(ParseLabelError), "{bad:?}");
        }
    }

    #[test]
    fn a_stored_label_older_than_the_rule_still_loads() {
        let long = "x".repeat(50_000);
        let spaced = format!("{}   more", "x".repeat(62));
        for (stored, shown) in [
            ("phone", "phone"),
            ("", "unnamed"),
            (" \n ", "unnamed"),
            ("a\u{1b}[31m\nb ", "a\u{fffd}[31m\u{fffd}b"),
            (&long, &long[..64]),
            (&spaced, &spaced[..62]),
        ] {
            let label = Label::from_stored(stored);
            assert_eq!(label.as_str(), shown);
            assert_eq!(parse(label.as_str()), Ok(label));
        }
    }
}
