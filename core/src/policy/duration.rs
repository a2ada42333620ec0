//! How figures stand in a policy's file: spans as people write them, and `"off"` for no limit.

use std::fmt;
use std::time::Duration;

use serde::de::{self, Unexpected, Visitor};
use serde::{Deserializer, Serializer};

const OFF: &str = "off";

/// For `#[serde(with = "duration")]`.
pub(super) fn serialize<T: Human, S: Serializer>(
    value: &T,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    value.write(serializer)
}

/// For `#[serde(with = "duration")]`.
pub(super) fn deserialize<'de, T: Human, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<T, D::Error> {
    T::read(deserializer)
}

/// For `#[serde(with = "duration::given")]`: a field that may be left out, and says something when it
/// is there.
pub(super) mod given {
    use super::{Deserializer, Human, Serializer};

    pub(in super::super) fn serialize<T: Human, S: Serializer>(
        value: &Option<T>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        match value {
            Some(value) => value.write(serializer),
            None => serializer.serialize_none(),
        }
    }

    pub(in super::super) fn deserialize<'de, T: Human, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<T>, D::Error> {
        T::read(deserializer).map(Some)
    }
}

/// A figure with a form for people.
pub(super) trait Human: Sized {
    fn write<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error>;
    fn read<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error>;
}

impl Human for Duration {
    fn write<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&humantime::format_duration(*self))
    }

    fn read<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(Span)
    }
}

impl Human for Option<Duration> {
    fn write<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Some(span) => span.write(serializer),
            None => serializer.serialize_str(OFF),
        }
    }

    fn read<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(SpanOrOff)
    }
}

impl Human for Option<u32> {
    fn write<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Some(count) => serializer.serialize_u32(*count),
            None => serializer.serialize_str(OFF),
        }
    }

    fn read<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(CountOrOff)
    }
}

struct Span;

impl Visitor<'_> for Span {
    type Value = Duration;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a span of time such as \"8h\", \"15m\" or \"90s\"")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Duration, E> {
        humantime::parse_duration(text).map_err(|_| E::invalid_value(Unexpected::Str(text), &self))
    }
}

struct SpanOrOff;

impl Visitor<'_> for SpanOrOff {
    type Value = Option<Duration>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a span of time such as \"8h\", \"15m\" or \"90s\", or \"off\"")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Option<Duration>, E> {
        if text == OFF {
            return Ok(None);
        }
        humantime::parse_duration(text)
            .map(Some)
            .map_err(|_| E::invalid_value(Unexpected::Str(text), &self))
    }
}

struct CountOrOff;

impl Visitor<'_> for CountOrOff {
    type Value = Option<u32>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a whole number above zero, or \"off\"")
    }

    fn visit_i64<E: de::Error>(self, count: i64) -> Result<Option<u32>, E> {
        u32::try_from(count)
            .map(Some)
            .map_err(|_| E::invalid_value(Unexpected::Signed(count), &self))
    }

    fn visit_u64<E: de::Error>(self, count: u64) -> Result<Option<u32>, E> {
        u32::try_from(count)
            .map(Some)
            .map_err(|_| E::invalid_value(Unexpected::Unsigned(count), &self))
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Option<u32>, E> {
        (text == OFF)
            .then_some(None)
            .ok_or_else(|| E::invalid_value(Unexpected::Str(text), &self))
    }
}
