//! An exported audit trail as an auditor gets it from anyone, and the head that it should end with.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mfagate::audit::{Head, Verifier, read_jsonl, verify, write_jsonl};

fuzz_target!(|bytes: &[u8]| {
    let records: Vec<_> = read_jsonl(bytes).map_while(Result::ok).collect();
    let mut again = Vec::new();
    write_jsonl(&mut again, &records).expect("a vector takes it");
    assert!(
        bytes.starts_with(&again),
        "what is read is what was written"
    );

    let mut verifier = Verifier::new();
    let one_by_one = records.iter().try_for_each(|record| verifier.check(record));
    match verify(&records) {
        Ok(head) => {
            assert!(one_by_one.is_ok());
            assert_eq!(head.seq, u64::try_from(records.len()).expect("few"));
            assert_eq!(head.to_string().parse(), Ok(head));
            assert!(verifier.finish(&head).is_ok());
        }
        Err(broken) => {
            assert!(one_by_one.is_err());
            assert!(!broken.to_string().is_empty());
        }
    }
    if let Some(head) = text(bytes).and_then(|text| text.parse::<Head>().ok()) {
        assert_eq!(head.to_string().parse(), Ok(head));
    }
});

fn text(bytes: &[u8]) -> Option<&str> {
    std::str::from_utf8(bytes).ok()
}
