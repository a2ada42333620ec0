//! The quickstart with somebody at the terminal, who types wrong first.

use std::path::PathBuf;
use std::process::Command;

use data_encoding::BASE32_NOPAD;
use mfagate::factor::totp::{HashAlgorithm, TotpSecret};

use crate::site::Running;
use crate::story::{code_ahead, code_before};

#[test]
fn the_quickstart_lets_its_user_in_and_out_again() {
    let mut quickstart = Running::start(&mut Command::new(built()));
    let key = quickstart.wait_for("Or type the key in: ");
    let key = key.trim().rsplit(' ').next().unwrap();
    let key = BASE32_NOPAD.decode(key.as_bytes()).unwrap();
    let secret = TotpSecret::new(key, HashAlgorithm::Sha1, 6, 30).unwrap();
    quickstart.enter("not a code");
    quickstart.enter(&code_before(&secret));
    quickstart.wait_for("no handshake");
    quickstart.enter("000000");
    let denied = quickstart.wait_for("wrong");
    assert!(denied.contains('4'), "the tries that are left: {denied}");
    quickstart.enter(&code_ahead(&secret));
    quickstart.wait_for(" is open for ");
    quickstart.wait_for("the internal page answers: 200");
    quickstart.wait_for("no traffic after");
    assert_eq!(quickstart.status(), Some(0));
}

/// An example is built beside the tests, and no variable of cargo's names it.
fn built() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let profile = test.ancestors().nth(2).unwrap();
    let quickstart = profile.join("examples/quickstart");
    assert!(quickstart.exists(), "build it: cargo build --examples");
    quickstart
}
