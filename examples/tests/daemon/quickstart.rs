//! The quickstart with a person at the terminal, who types a wrong code first.

use std::path::PathBuf;
use std::process::Command;

use crate::app::{code_ahead, code_before, typed_in};
use crate::site::Running;

#[test]
fn the_quickstart_lets_its_user_in_and_out_again() {
    let mut quickstart = Running::start(&mut Command::new(built()));
    let key = quickstart.wait_for("Or type the key in: ");
    let key = key.trim().rsplit(' ').next().unwrap();
    let secret = typed_in(key);
    quickstart.enter("not a code");
    quickstart.enter(&code_before(&secret));
    quickstart.wait_for("no handshake");
    quickstart.enter("000000");
    let denied = quickstart.wait_for("wrong");
    assert!(
        denied.contains("3 more"),
        "the tries that are left: {denied}"
    );
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
    assert!(
        quickstart.exists(),
        "build it: cargo build --workspace --all-features --examples"
    );
    quickstart
}
