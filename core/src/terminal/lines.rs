//! Bytes to lines. Every byte that passes here may be of a password: there is no buffer but the line
//! itself, and growing leaves no copy of it behind.

use std::io::{ErrorKind, Read};

use zeroize::Zeroizing;

/// The longest line. Far more than any answer; without an end, what is piped in would fill the memory.
const LONGEST: usize = 1024 * 1024;
/// Room for nearly every line.
const USUAL: usize = 4096;

/// Reads lines, byte by byte: what comes after a line stays where it is, for the next one or for another
/// program.
pub(super) struct Lines<R>(R);

impl<R: Read> Lines<R> {
    pub(super) const fn new(from: R) -> Self {
        Self(from)
    }

    /// The next line, without its end; `None` at the end of the input, and where that can't be read
    /// or is no text.
    pub(super) fn next(&mut self) -> Option<Zeroizing<String>> {
        let mut line = Zeroizing::new(Vec::with_capacity(USUAL));
        let mut byte = Zeroizing::new([0; 1]);
        loop {
            match self.0.read(&mut *byte) {
                Ok(0) if line.is_empty() => return None,
                Ok(0) => return text(line),
                Ok(_) if *byte == *b"\n" => return text(line),
                Ok(_) => append(&mut line, byte[0])?,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return None,
            }
        }
    }
}

/// By a new allocation where there is no room: growing in place would leave the old one unwiped.
fn append(line: &mut Zeroizing<Vec<u8>>, byte: u8) -> Option<()> {
    if line.len() == LONGEST {
        return None;
    }
    if line.len() == line.capacity() {
        let mut larger = Zeroizing::new(Vec::with_capacity(2 * line.len()));
        larger.extend_from_slice(line);
        *line = larger;
    }
    line.push(byte);
    Some(())
}

fn text(mut line: Zeroizing<Vec<u8>>) -> Option<Zeroizing<String>> {
    if line.last() == Some(&b'\r') {
        line.pop();
    }
    // Looked at first: the error of the conversion would hold the bytes.
    std::str::from_utf8(&line).ok()?;
    let text = String::from_utf8(std::mem::take(&mut *line));
    text.ok().map(Zeroizing::new)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(mut input: &[u8]) -> Vec<String> {
        let mut lines = Lines::new(&mut input);
        std::iter::from_fn(|| lines.next().map(|line| String::clone(&line))).collect()
    }

    #[test]
    fn a_line_is_what_stands_before_its_end() {
        assert_eq!(lines(b"one\ntwo\r\n\nlast"), ["one", "two", "", "last"]);
        assert_eq!(lines(b""), [""; 0]);
        assert_eq!(lines("é\n\n".as_bytes()), ["é", ""]);
    }

    #[test]
    fn what_comes_after_a_line_is_left_where_it_is() {
        let mut input = &b"one\ntwo"[..];
        assert_eq!(Lines::new(&mut input).next().unwrap().as_str(), "one");
        assert_eq!(input, b"two");
    }

    #[test]
    fn what_is_no_text_or_too_long_ends_the_input() {
        assert_eq!(lines(b"one\n\xff\ntwo\n")[..1], ["one"]);
        assert!(Lines::new(&b"\xff\n"[..]).next().is_none());
        let long = vec![b'a'; LONGEST + 1];
        assert_eq!(lines(&long), [""; 0]);
        assert_eq!(lines(&long[1..]), ["a".repeat(LONGEST)]);
    }

    /// Is interrupted before each byte, and fails after these.
    struct Faulty<'a>(&'a [u8], bool);

    impl Read for Faulty<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
            self.1 = !self.1;
            match self.1 {
                true => Err(ErrorKind::Interrupted.into()),
                false if self.0.is_empty() => Err(ErrorKind::Other.into()),
                false => self.0.read(buffer),
            }
        }
    }

    #[test]
    fn an_interruption_is_none_and_a_failure_ends_the_input() {
        let mut lines = Lines::new(Faulty(b"one\ntwo", false));
        assert_eq!(lines.next().unwrap().as_str(), "one");
        assert!(lines.next().is_none());
    }
}
