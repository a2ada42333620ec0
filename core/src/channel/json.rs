//! Messages as JSON: filled up when they are written, so that a length says little, and read
//! strictly.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, Write};

use serde::de::{DeserializeOwned, Error, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use zeroize::Zeroizing;

use super::ChannelError;
use super::frame::MAX_BODY;

/// The least length of a text that is sent. A first message with its key has less, and so has a
/// grant: so that nearly all messages have the same length.
const LEAST: usize = 2048;

/// What the frame of a first message adds, the longest there is: two bytes, an ephemeral key, a
/// sealed static key and a tag.
const FRAME: usize = 2 + 32 + 48 + 16;

/// The greatest length of a text: what fits into a body of every kind.
pub(super) const LONGEST: usize = MAX_BODY - FRAME;

/// Writes a message, filled up with spaces.
pub(super) fn to_json(message: &impl Serialize) -> Result<Zeroizing<Vec<u8>>, ChannelError> {
    let mut json = write(message)?;
    // There is room for it: nothing moves.
    let len = filled(json.len());
    json.resize(len, b' ');
    Ok(json)
}

/// Reads a message and nothing else: all its fields and no others, once each, and each of its own
/// kind.
///
/// Derived decoders are more tolerant than that, for the sake of other formats: they take an array
/// for an object, a number for a tag, and a name that comes twice where names are free. So what was
/// read is compared, shape by shape, with what would have been written.
pub(super) fn from_json<T: DeserializeOwned + Serialize>(json: &[u8]) -> Result<T, ChannelError> {
    let message = serde_json::from_slice(json).map_err(|_| ChannelError::Unknown)?;
    if shape(json)? == shape(&write(&message)?)? {
        Ok(message)
    } else {
        Err(ChannelError::Unknown)
    }
}

/// The length that a text of this length is filled up to: the next power of two.
fn filled(len: usize) -> usize {
    len.max(LEAST).next_power_of_two().min(LONGEST)
}

fn write(message: &impl Serialize) -> Result<Zeroizing<Vec<u8>>, ChannelError> {
    let mut json = Text(Zeroizing::new(Vec::with_capacity(LEAST)));
    serde_json::to_writer(&mut json, message).map_err(|_| ChannelError::TooLong)?;
    Ok(json.0)
}

/// A text that leaves no copy of a secret behind when it grows, has room to be filled up, and takes
/// no more than a body has room for.
struct Text(Zeroizing<Vec<u8>>);

impl Write for Text {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let len = self.0.len() + bytes.len();
        if len > LONGEST {
            return Err(io::ErrorKind::StorageFull.into());
        }
        if len > self.0.capacity() {
            let mut roomier = Vec::with_capacity(filled(len));
            roomier.extend_from_slice(&self.0);
            self.0 = Zeroizing::new(roomier);
        }
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn shape(json: &[u8]) -> Result<Shape, ChannelError> {
    serde_json::from_slice(json).map_err(|_| ChannelError::Unknown)
}

/// A JSON text without what its values say. No object of it has a name twice.
#[derive(PartialEq, Eq)]
enum Shape {
    Null,
    Bool,
    Number,
    Text,
    List(Vec<Self>),
    Object(BTreeMap<String, Self>),
}

impl<'de> Deserialize<'de> for Shape {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Outline)
    }
}

struct Outline;

impl<'de> Visitor<'de> for Outline {
    type Value = Shape;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON without a name that comes twice")
    }

    fn visit_unit<E: Error>(self) -> Result<Shape, E> {
        Ok(Shape::Null)
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<Shape, E> {
        Ok(Shape::Bool)
    }

    fn visit_u64<E: Error>(self, _: u64) -> Result<Shape, E> {
        Ok(Shape::Number)
    }

    fn visit_str<E: Error>(self, _: &str) -> Result<Shape, E> {
        Ok(Shape::Text)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Shape, A::Error> {
        let mut shapes = Vec::new();
        while let Some(shape) = list.next_element()? {
            shapes.push(shape);
        }
        Ok(Shape::List(shapes))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<Shape, A::Error> {
        let mut shapes = BTreeMap::new();
        while let Some((name, shape)) = object.next_entry()? {
            if shapes.insert(name, shape).is_some() {
                return Err(A::Error::custom("a name that comes twice"));
            }
        }
        Ok(Shape::Object(shapes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_of_any_length_is_whole_and_filled_up_to_a_power_of_two() {
        for (len, filled) in [
            (2, 2048),
            (2048, 2048),
            (2049, 4096),
            (16_385, 32_768),
            (40_000, LONGEST),
            (LONGEST, LONGEST),
        ] {
            let json = to_json(&"x".repeat(len - 2)).unwrap();
            assert_eq!(json.len(), filled);
            assert!(json[len..].iter().all(|byte| *byte == b' '));
            assert_eq!(from_json::<String>(&json).unwrap().len(), len - 2);
        }
        assert!(to_json(&"x".repeat(LONGEST - 1)).is_err());
    }

    #[test]
    fn a_text_that_grows_by_pieces_is_whole() {
        let message = ("x".repeat(3000), "y".repeat(9000));
        let json = to_json(&message).unwrap();
        assert_eq!(json.len(), 16_384);
        assert_eq!(from_json(&json), Ok(message));
    }
}
