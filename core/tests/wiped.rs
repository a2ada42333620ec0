//! No secret is left in memory that was given back: an allocator looks at what it is given back.
#![cfg(feature = "testing")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use mfagate::channel::engine::{Reply, Request, Share};
use mfagate::channel::message::{Answer, Code};
use serde::Deserialize;
use serde::de::value::{Error, StrDeserializer, StringDeserializer};

const CODE: &str = "4819205736";
const SHARE: [u8; 32] = *b"the gate's random share of a key";
const SHARE_TEXT: &str = "dGhlIGdhdGUncyByYW5kb20gc2hhcmUgb2YgYSBrZXk=";

thread_local! {
    static IS_WATCHED: Cell<bool> = const { Cell::new(false) };
    static FOUND: Cell<usize> = const { Cell::new(0) };
}

/// The system's allocator, with a look at each block that comes back.
struct Watchful;

fn holds_a_secret(block: &[u8]) -> bool {
    // Parts of secrets count too: the first and the last eight bytes of each.
    [CODE.as_bytes(), SHARE_TEXT.as_bytes(), &SHARE]
        .iter()
        .flat_map(|secret| [&secret[..8], &secret[secret.len() - 8..]])
        .any(|part| block.windows(part.len()).any(|bytes| bytes == part))
}

// SAFETY: each call is passed on to the system's allocator as it came. `realloc` is the trait's
// own, which allocates, copies and gives back: so a block that moves is looked at too.
unsafe impl GlobalAlloc for Watchful {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // Zeroed, so that every byte of a block can be read when it comes back.
        // SAFETY: the caller keeps to the contract of `alloc`, which is `alloc_zeroed`'s.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        if IS_WATCHED.try_with(Cell::get).unwrap_or(false) {
            // SAFETY: the block is still the caller's to give, `layout.size()` bytes long, and was
            // initialised when it was allocated.
            let bytes = unsafe { std::slice::from_raw_parts(block, layout.size()) };
            if holds_a_secret(bytes) {
                FOUND.with(|found| found.set(found.get() + 1));
            }
        }
        // SAFETY: the caller keeps to the contract of `dealloc`.
        unsafe { System.dealloc(block, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Watchful = Watchful;

/// In how many blocks that were given back meanwhile a secret was.
fn left_behind<T>(work: impl FnOnce() -> T) -> usize {
    FOUND.set(0);
    IS_WATCHED.set(true);
    drop(work());
    IS_WATCHED.set(false);
    FOUND.get()
}

fn grant() -> String {
    let ciphertext = data_encoding::BASE64.encode(&[0; 1120]);
    format!(
        r#"{{"type":"granted","grant":{{"session":"{}","lease_ms":1,"renewable_ms":1,"addresses":[],"end_on_wake":false,"ciphertext":"{ciphertext}","share":"{SHARE_TEXT}"}}}}"#,
        "03".repeat(16)
    )
}

#[test]
fn the_allocator_sees_what_is_left() {
    assert_eq!(left_behind(|| CODE.to_owned()), 1);
    assert_eq!(left_behind(|| SHARE.to_vec()), 1);
    let grown = || {
        let mut text = String::new();
        CODE.chars().for_each(|c| text.push(c));
        zeroize::Zeroizing::new(text)
    };
    assert_eq!(left_behind(grown), 1, "a copy that growing left");
    assert_eq!(left_behind(|| "nothing".to_owned()), 0);
}

#[test]
fn a_share_leaves_nothing_wherever_its_text_comes_from() {
    let (json, text) = (grant(), SHARE_TEXT.to_owned());
    assert_eq!(
        left_behind(|| Reply::from_json(json.as_bytes()).unwrap()),
        0
    );
    let borrowed = || Share::deserialize(StrDeserializer::<Error>::new(SHARE_TEXT)).unwrap();
    assert_eq!(left_behind(borrowed), 0);
    let owned = || Share::deserialize(StringDeserializer::<Error>::new(text)).unwrap();
    assert_eq!(left_behind(owned), 0);
    let cut = SHARE_TEXT[..40].to_owned();
    let refused = || Share::deserialize(StringDeserializer::<Error>::new(cut)).unwrap_err();
    assert_eq!(left_behind(refused), 0, "of a text that is refused");
}

#[test]
fn a_share_that_is_written_leaves_nothing_but_what_was_asked_for() {
    let reply = Reply::from_json(grant().as_bytes()).unwrap();
    let mut json = Vec::with_capacity(4096);
    assert_eq!(left_behind(|| serde_json::to_writer(&mut json, &reply)), 0);
    assert!(json.ends_with(format!("{SHARE_TEXT}\"}}}}").as_bytes()));
    assert_eq!(left_behind(move || reply), 0);
}

#[test]
fn a_code_leaves_nothing_wherever_it_comes_from() {
    let spaced = "4819-2057 36";
    assert_eq!(left_behind(|| spaced.parse::<Code>().unwrap()), 0);
    let owned = CODE.to_owned();
    assert_eq!(left_behind(|| Code::try_from(owned).unwrap()), 0);
    let too_long = format!("{CODE}1");
    assert_eq!(left_behind(|| Code::try_from(too_long).unwrap_err()), 0);
    let json = format!(r#"{{"type":"answer","answer":{{"type":"code","code":"{CODE}"}}}}"#);
    let request = || Request::from_json(json.as_bytes()).unwrap();
    assert_eq!(left_behind(request), 0);
    let answer = Answer::Code {
        code: CODE.parse().unwrap(),
    };
    assert_eq!(left_behind(|| answer.clone()), 0);
    assert_eq!(left_behind(move || answer), 0);
}
