//! Every form is caught, and what is no secret is not.

use std::fmt::Debug;

use data_encoding::{BASE32, BASE32_NOPAD, BASE64, BASE64URL, BASE64URL_NOPAD, HEXLOWER, HEXUPPER};
use tracing::subscriber::with_default;

use super::*;

/// Bytes that differ between the two alphabets of Base64, and that are no text.
const SECRET: [u8; 20] = [
    0xfb, 0xff, 0xbe, 0x00, 0x0a, 0x7f, 0x80, 0x22, 0x5c, 0x01, 0xfe, 0xef, 0x3e, 0x3f, 0x99, 0xa5,
    0x10, 0x0b, 0xc3, 0xd4,
];

/// Logs a text while a watch for the secrets listens; what it found.
fn found(secrets: &[&[u8]], log: impl FnOnce()) -> Vec<Leak> {
    let watch = SecretWatch::new();
    with_default(watch.subscriber(), log);
    for secret in secrets {
        watch.secret("it", secret);
    }
    let leaks = watch.leaks();
    std::mem::forget(watch); // it would panic, rightly
    leaks
}

fn form_of(secret: &[u8], text: &str) -> Option<&'static str> {
    let leaks = found(&[secret], || tracing::trace!(text, "here"));
    leaks.first().map(|leak| leak.form)
}

#[test]
fn every_form_of_a_secret_is_found() {
    let pretty = format!("{:#?}", Some(SECRET));
    let spaced: Vec<String> = SECRET.iter().map(|byte| format!("{byte:02x}")).collect();
    for (form, text) in [
        ("in hexadecimal", HEXLOWER.encode(&SECRET)),
        ("in hexadecimal", HEXUPPER.encode(&SECRET)),
        ("in hexadecimal", spaced.join(" ")),
        ("in Base64", BASE64.encode(&SECRET)),
        ("in Base64", BASE64URL.encode(&SECRET)),
        ("in Base64", BASE64URL_NOPAD.encode(&SECRET)),
        ("in Base32", BASE32.encode(&SECRET)),
        ("in Base32", BASE32_NOPAD.encode(&SECRET)),
        ("in Base32", BASE32.encode(&SECRET).to_ascii_lowercase()),
        ("as a list of bytes", format!("{SECRET:?}")),
        ("as a list of bytes", format!("{SECRET:x?}")),
        ("as a list of bytes", format!("{SECRET:02X?}")),
        ("as a list of bytes", pretty),
        ("as it is", format!("b\"{}\"", SECRET.escape_ascii())),
    ] {
        assert_eq!(form_of(&SECRET, &text), Some(form), "{text}");
        let inside = format!("key={text};");
        assert_eq!(form_of(&SECRET, &inside), Some(form), "{inside}");
    }
    assert_eq!(
        form_of(b"correct horse", "a correct horse!"),
        Some("as it is")
    );
}

#[test]
fn a_secret_in_the_middle_of_what_was_encoded_is_found() {
    for before in 0..8 {
        for after in 0..4 {
            let whole = [&vec![0xa5; before], SECRET.as_slice(), &vec![0x5a; after]].concat();
            for text in [BASE64.encode(&whole), BASE64URL_NOPAD.encode(&whole)] {
                assert_eq!(
                    form_of(&SECRET, &text),
                    Some("in Base64"),
                    "{before} {after}"
                );
            }
            let text = BASE32.encode(&whole);
            assert_eq!(
                form_of(&SECRET, &text),
                Some("in Base32"),
                "{before} {after}"
            );
            let text = HEXUPPER.encode(&whole);
            assert_eq!(form_of(&SECRET, &text), Some("in hexadecimal"));
            let text = format!("{whole:?}");
            assert_eq!(form_of(&SECRET, &text), Some("as a list of bytes"));
        }
    }
}

#[test]
fn a_secret_with_a_byte_changed_is_not_found() {
    for at in 0..SECRET.len() {
        let mut other = SECRET;
        other[at] ^= 0xf0;
        for text in [
            HEXLOWER.encode(&other),
            BASE64.encode(&other),
            BASE32.encode(&other),
            format!("{other:?} {other:x?}"),
        ] {
            assert_eq!(form_of(&SECRET, &text), None, "{text}");
        }
    }
}

#[test]
fn six_digits_are_found_as_a_word_and_in_every_encoding() {
    for text in ["431925", "code=431925,", "\"431925\"", "<431925>"] {
        assert_eq!(form_of(b"431925", text), Some("as it is"), "{text}");
    }
    for text in ["1431925", "4319257", "a431925", "43192", "431 925"] {
        assert_eq!(form_of(b"431925", text), None, "{text}");
    }
    assert!(form_of(b"431925", &BASE64.encode(br#"{"code":"431925"}"#)).is_some());
    assert!(form_of(b"431925", &format!("{:?}", b"431925".as_slice())).is_some());
    assert!(form_of(b"431925", "{'code':[52,51,49,57,50,53]}").is_some());
}

/// Logs the secret where a logger may put it, each in another field.
fn log_everywhere(secret: &str) {
    #[derive(Debug)]
    struct Held<T: Debug>(T);

    #[derive(Debug, thiserror::Error)]
    #[error("outside")]
    struct Outer(#[source] Inner);

    #[derive(Debug, thiserror::Error)]
    #[error("{0}")]
    struct Inner(String);

    let error = Outer(Inner(secret.to_owned()));
    let error: &(dyn std::error::Error + 'static) = &error;
    let span = tracing::trace_span!("a span", at_start = secret, later = tracing::field::Empty);
    span.record("later", secret);
    tracing::error!("in the message: {secret}");
    tracing::warn!(text = secret, "here");
    tracing::info!(display = %secret, "here");
    tracing::debug!(debug = ?Held(Some(secret)), "here");
    tracing::trace!(bytes = secret.as_bytes(), "here");
    tracing::trace!(error, "here");
    tracing::trace!(target: "elsewhere", other = secret.as_bytes(), "here");
    tracing::event!(name: "named", tracing::Level::TRACE, named = secret);
}

#[test]
fn a_secret_in_any_field_is_found_at_every_level() {
    let secret = "correct \"horse\" battery";
    let leaks = found(&[secret.as_bytes()], || log_everywhere(secret));
    let fields: Vec<&str> = leaks.iter().map(|leak| leak.field).collect();
    let expected = [
        "at_start", "later", "message", "text", "display", "debug", "bytes", "error", "other",
        "named",
    ];
    assert_eq!(fields, expected);
    for leak in leaks {
        let said = leak.to_string();
        assert!(
            said.starts_with("it, ") && !said.contains("horse"),
            "{said}"
        );
        assert!(
            leak.field == "later" || said.contains("secret_watch/tests.rs:"),
            "{said}"
        );
    }
}

#[test]
fn what_is_clean_passes_and_shows_that_it_was_seen() {
    let watch = SecretWatch::new();
    watch.secret("a key", SECRET);
    with_default(watch.subscriber(), || tracing::info!(n = 7, "signed in"));
    assert!(watch.has_seen("signed in") && watch.has_seen("7"));
    assert!(!watch.has_seen("signed out"));
    watch.assert_clean();
    assert_eq!(format!("{watch:?}"), "SecretWatch { .. }");
}

fn leaky() -> SecretWatch {
    let watch = SecretWatch::new();
    with_default(watch.subscriber(), || tracing::trace!(key = ?SECRET));
    watch.secret("a key", SECRET);
    watch
}

#[test]
#[should_panic = "secrets are logged: [\n    \"a key, as a list of bytes, in the field `key`"]
fn a_watch_that_found_something_panics_when_it_is_asked() {
    let watch = std::mem::ManuallyDrop::new(leaky());
    watch.assert_clean();
}

#[test]
#[should_panic = "secrets are logged"]
fn a_watch_that_found_something_panics_when_it_is_dropped() {
    drop(leaky());
}

#[test]
#[should_panic = "another failure"]
fn a_watch_adds_nothing_to_a_test_that_fails_already() {
    let _watch = leaky();
    panic!("another failure");
}

#[test]
#[should_panic = "too short"]
fn a_secret_that_would_be_anywhere_is_refused() {
    SecretWatch::new().secret("short", "123");
}

#[test]
fn a_text_from_elsewhere_is_looked_through_too() {
    let watch = SecretWatch::new();
    watch.read(
        "a program's standard error",
        "started\nthe code is 431925\n",
    );
    assert!(watch.has_seen("started"));
    watch.secret("the code", "431925");
    let leaks = watch.leaks();
    std::mem::forget(watch); // it would panic, rightly
    assert_eq!(leaks.len(), 1);
    assert_eq!(
        leaks[0].to_string(),
        "the code, as it is, in the field `message` at a program's standard error"
    );
}
