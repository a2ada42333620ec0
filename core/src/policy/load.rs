//! A policy as text: one strict form, whatever the format, and the line of what is wrong with it.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use serde_json::value::RawValue;

use super::check::PathSegment;
use super::{
    EndpointChange, GroupRule, InvalidPolicy, Policy, RenewalRule, Requirement, Step, Throttle,
    Window, duration,
};

/// How serde reads and writes a [`Policy`]. Nothing is checked here.
#[derive(Serialize, Deserialize)]
#[serde(remote = "Policy", default = "Policy::default", deny_unknown_fields)]
struct Form {
    steps: Vec<Step>,
    require: Requirement,
    #[serde(with = "duration")]
    max_age: Duration,
    #[serde(with = "duration")]
    lease: Duration,
    #[serde(with = "duration")]
    inactivity: Option<Duration>,
    endpoint_change: EndpointChange,
    #[serde(with = "duration")]
    warn_before: Duration,
    renewal: RenewalRule,
    end_on_wake: bool,
    windows: Vec<Window>,
    #[serde(with = "duration")]
    sessions_per_user: Option<u32>,
    #[serde(with = "duration")]
    attempt_ttl: Duration,
    attempts_per_peer: usize,
    attempts_in_all: usize,
    #[serde(with = "duration")]
    clock_skew: Duration,
    throttle: Throttle,
    #[serde(with = "duration")]
    fence_after: Duration,
    groups: Vec<GroupRule>,
}

impl Serialize for Policy {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Form::serialize(self, serializer)
    }
}

impl<'de> Deserialize<'de> for Policy {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let policy = Form::deserialize(deserializer)?;
        match policy.check() {
            Ok(()) => Ok(policy),
            Err(fault) => Err(de::Error::custom(format_args!(
                "{}: {fault}",
                fault.0.place()
            ))),
        }
    }
}

impl Policy {
    /// Reads a policy from JSON.
    ///
    /// # Errors
    /// [`LoadError`], with the line of the fault.
    pub fn from_json(text: &str) -> Result<Self, LoadError> {
        // Serde takes a list for a struct too.
        let start = text.len() - text.trim_start().len();
        if !text[start..].is_empty() && !text[start..].starts_with('{') {
            return Err(LoadError(LoadFault::Unreadable {
                at: Position::of(text, start),
                reason: "a policy is a JSON object: begin with `{`".to_owned(),
            }));
        }
        let mut deserializer = serde_json::Deserializer::from_str(text);
        let policy = Form::deserialize(&mut deserializer);
        let policy = policy
            .and_then(|policy| deserializer.end().map(|()| policy))
            .map_err(|error| not_json(&error))?;
        policy
            .checked(text, |turns| place_in_json(text, turns))
            .map_err(LoadError)
    }

    /// Reads a policy from TOML.
    ///
    /// # Errors
    /// [`LoadError`], with the line of the fault.
    #[cfg(feature = "policy-file")]
    pub fn from_toml(text: &str) -> Result<Self, LoadError> {
        let document = toml::de::DeTable::parse(text).map_err(|error| not_toml(text, &error))?;
        let document = toml::Spanned::new(
            document.span(),
            toml::de::DeValue::Table(document.into_inner()),
        );
        Self::from_toml_value(text, document).map_err(LoadError)
    }

    /// Reads the policy that is the table `name` of a larger document, such as a configuration
    /// file. The rest of the document is not looked at.
    ///
    /// # Errors
    /// [`LoadError`], with the line of the fault in the whole document.
    #[cfg(feature = "policy-file")]
    pub fn from_toml_table(text: &str, name: &str) -> Result<Self, LoadError> {
        let document = toml::de::DeTable::parse(text).map_err(|error| not_toml(text, &error))?;
        let table = document
            .into_inner()
            .into_iter()
            .find_map(|(key, value)| (key.get_ref() == name).then_some(value));
        let table = table.ok_or_else(|| LoadFault::NoTable {
            name: name.to_owned(),
        })?;
        Self::from_toml_value(text, table).map_err(LoadError)
    }

    #[cfg(feature = "policy-file")]
    fn from_toml_value(
        text: &str,
        value: toml::Spanned<toml::de::DeValue<'_>>,
    ) -> Result<Self, LoadFault> {
        let policy = Form::deserialize(toml::de::ValueDeserializer::from(value.clone()))
            .map_err(|error| not_toml(text, &error))?;
        policy.checked(text, |turns| place_in_toml(&value, turns))
    }

    /// The policy as TOML, every field written out: [`Policy::from_toml`] reads it back.
    ///
    /// # Errors
    /// [`InvalidPolicy`] when [`Policy::check`] refuses it, so that nothing could read it back.
    #[cfg(feature = "policy-file")]
    pub fn to_toml(&self) -> Result<String, InvalidPolicy> {
        self.check()?;
        toml::to_string(self).map_err(|_| InvalidPolicy(super::PolicyFault::Unwritable))
    }

    fn checked(
        self,
        text: &str,
        offset: impl FnOnce(&[PathSegment]) -> usize,
    ) -> Result<Self, LoadFault> {
        match self.check() {
            Ok(()) => Ok(self),
            Err(fault) => Err(LoadFault::Invalid {
                at: Position::of(text, offset(fault.0.place().turns())),
                fault,
            }),
        }
    }
}

crate::error_code::opaque! {
    /// Why a text is no policy.
    #[derive(Clone, PartialEq, Eq)]
    pub struct LoadError(LoadFault);
}

impl LoadError {
    /// The line of the fault, counted from 1, where it is at one.
    #[must_use]
    pub fn line(&self) -> Option<usize> {
        match self.0 {
            LoadFault::Unreadable { at, .. } | LoadFault::Invalid { at, .. } => Some(at.line),
            LoadFault::NoTable { .. } => None,
        }
    }
}

/// What is behind [`LoadError`].
#[allow(dead_code, reason = "some features only have all of these reasons")]
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum LoadFault {
    /// It is no TOML or no JSON, or a field is unknown, missing or of the wrong type.
    #[error("{at}: {reason}")]
    Unreadable {
        /// Where.
        at: Position,
        /// What is wrong and what was expected.
        reason: String,
    },
    /// It can be read, and can't be what is meant.
    #[error("{at}: {fault}")]
    Invalid {
        /// Where.
        at: Position,
        /// What is wrong.
        #[source]
        fault: InvalidPolicy,
    },
    /// There is no policy in the document.
    #[error("there is no table `{name}`: add one, it may be empty")]
    NoTable {
        /// The table that was looked for.
        name: String,
    },
}

/// A place in a text. Lines and columns count from 1, columns in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Position {
    /// The line.
    pub(crate) line: usize,
    /// The column.
    pub(crate) column: usize,
}

impl Position {
    fn of(text: &str, offset: usize) -> Self {
        let before = text.get(..offset).unwrap_or(text);
        let line = before.rsplit('\n').next().unwrap_or_default();
        Self {
            line: before.matches('\n').count() + 1,
            column: line.chars().count() + 1,
        }
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}, column {}", self.line, self.column)
    }
}

fn not_json(error: &serde_json::Error) -> LoadFault {
    let (line, column) = (error.line(), error.column());
    let text = error.to_string();
    let place = format!(" at line {line} column {column}");
    LoadFault::Unreadable {
        at: Position {
            line: line.max(1),
            column: column.max(1),
        },
        reason: text.strip_suffix(&place).unwrap_or(&text).to_owned(),
    }
}

/// Where the value is that the turns lead to, or the nearest around it: what is left out stands
/// nowhere.
fn place_in_json(text: &str, turns: &[PathSegment]) -> usize {
    let Ok(mut here) = serde_json::from_str::<&RawValue>(text) else {
        return 0;
    };
    for turn in turns {
        let next = match turn {
            PathSegment::Field(name) => json_fields(here).remove(*name),
            PathSegment::Element(place) => {
                let all: Vec<&RawValue> = serde_json::from_str(here.get()).unwrap_or_default();
                all.get(*place).copied()
            }
            PathSegment::Only => json_fields(here).into_values().next(),
        };
        match next {
            Some(next) => here = next,
            None => break,
        }
    }
    // A raw value is a slice of the text that it was read from.
    here.get()
        .as_ptr()
        .addr()
        .saturating_sub(text.as_ptr().addr())
}

fn json_fields(value: &RawValue) -> BTreeMap<String, &RawValue> {
    serde_json::from_str(value.get()).unwrap_or_default()
}

#[cfg(feature = "policy-file")]
fn not_toml(text: &str, error: &toml::de::Error) -> LoadFault {
    LoadFault::Unreadable {
        at: Position::of(text, error.span().map_or(0, |span| span.start)),
        reason: error.message().to_owned(),
    }
}

/// As [`place_in_json`].
#[cfg(feature = "policy-file")]
fn place_in_toml(document: &toml::Spanned<toml::de::DeValue<'_>>, turns: &[PathSegment]) -> usize {
    let mut here = document;
    for turn in turns {
        let next = match turn {
            PathSegment::Field(name) => here.get_ref().get(*name),
            PathSegment::Element(place) => here.get_ref().get(*place),
            PathSegment::Only => here
                .get_ref()
                .as_table()
                .and_then(|table| table.values().next()),
        };
        match next {
            Some(next) => here = next,
            None => break,
        }
    }
    here.span().start
}
