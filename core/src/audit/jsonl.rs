//! The audit trail as JSON Lines: one record a line, out and back in.
//!
//! The form is canonical: reading accepts only the very bytes that writing produces, so that with
//! [`Verifier`](super::Verifier) any changed byte of an export shows.

use std::io::{self, BufRead, Write};

use super::AuditRecord;

/// Writes each record as one line of JSON, each ended by a line feed. Flushes at the end.
///
/// # Errors
/// [`io::Error`] of the writer; what was written up to then stays written.
pub fn write_jsonl<'a>(
    mut out: impl Write,
    records: impl IntoIterator<Item = &'a AuditRecord>,
) -> io::Result<()> {
    for record in records {
        let mut line = serde_json::to_vec(record)?;
        line.push(b'\n');
        out.write_all(&line)?;
    }
    out.flush()
}

/// Reads records that [`write_jsonl`] wrote, one by one, in constant memory. Whether they form a
/// chain is for [`Verifier`](super::Verifier) to say.
///
/// After an error, stop: what follows is not what was written.
pub fn read_jsonl(input: impl BufRead) -> impl Iterator<Item = Result<AuditRecord, ReadError>> {
    let mut input = input;
    let mut number = 0;
    std::iter::from_fn(move || {
        number += 1;
        let mut line = Vec::new();
        match input.read_until(b'\n', &mut line) {
            Ok(0) => None,
            Ok(_) => Some(parse(&line, number).map_err(ReadError)),
            Err(error) => Some(Err(ReadError(ReadFault::Io(error)))),
        }
    })
}

fn parse(line: &[u8], number: u64) -> Result<AuditRecord, ReadFault> {
    let json = line
        .strip_suffix(b"\n")
        .ok_or(ReadFault::CutOff { line: number })?;
    let malformed = |_| ReadFault::Malformed { line: number };
    let record: AuditRecord = serde_json::from_slice(json).map_err(malformed)?;
    if serde_json::to_vec(&record).map_err(malformed)? != json {
        return Err(ReadFault::Malformed { line: number });
    }
    Ok(record)
}

crate::error_code::opaque! {
    /// Why an export can't be read.
    pub struct ReadError(ReadFault);
}

/// What is behind [`ReadError`].
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReadFault {
    /// The input failed.
    #[error("the audit export can't be read: see what the system says")]
    Io(#[source] io::Error),
    /// The line is not an audit record as it is written.
    #[error("line {line} is not an audit record as it was written: export again, and compare")]
    Malformed {
        /// The line's number, from 1.
        line: u64,
    },
    /// The last line has no end.
    #[error("line {line} is cut off: the export was not finished, so export again")]
    CutOff {
        /// The line's number, from 1.
        line: u64,
    },
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::audit::{AuditEvent, AuditKind, Head, Verifier};
    use crate::time::Timestamp;

    fn export() -> (Vec<u8>, Vec<AuditRecord>, Head) {
        let mut head = Head::EMPTY;
        let mut records = Vec::new();
        for n in 0..4 {
            let kind = AuditKind::Admitted {
                not_after: Timestamp::from_millis(n + 9),
                factors: vec![crate::assurance::FactorKind::TOTP],
            };
            let mut event = AuditEvent::new(Timestamp::from_millis(n), kind);
            event.source = Some("2001:db8::7".parse().unwrap());
            event.user = Some("zoë \"z\"".parse().unwrap());
            let record = AuditRecord::chain(&head, event).unwrap();
            head = record.head().unwrap();
            records.push(record);
        }
        let mut bytes = Vec::new();
        write_jsonl(&mut bytes, &records).unwrap();
        (bytes, records, head)
    }

    /// Whether reading and verifying up to the known head finds nothing wrong.
    fn holds(bytes: &[u8], head: &Head) -> bool {
        let mut verifier = Verifier::new();
        read_jsonl(bytes).all(|record| record.is_ok_and(|record| verifier.check(&record).is_ok()))
            && verifier.finish(head).is_ok()
    }

    #[test]
    fn an_export_reads_back_as_it_was_written() {
        let (bytes, records, head) = export();
        let read: Result<Vec<_>, _> = read_jsonl(bytes.as_slice()).collect();
        assert_eq!(read.unwrap(), records);
        assert!(holds(&bytes, &head));
    }

    #[test]
    fn any_cut_of_an_export_is_found() {
        let (bytes, _, head) = export();
        for len in 0..bytes.len() {
            assert!(!holds(&bytes[..len], &head), "cut at {len}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]
        #[test]
        fn any_changed_byte_of_an_export_is_found(at in any::<prop::sample::Index>(), flip in 1_u8..) {
            let (mut bytes, _, head) = export();
            let at = at.index(bytes.len());
            bytes[at] ^= flip;
            prop_assert!(!holds(&bytes, &head));
        }
    }
}
