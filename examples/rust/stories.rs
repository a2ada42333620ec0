//! Runs the stories, and holds what they show to what the library promises.

use std::path::Path;
use std::process::{Command, Output};

use mfagate::store::keyed::Keyed;

#[path = "own_store.rs"]
mod own_store;
#[allow(
    dead_code,
    reason = "the verifier itself is asked by the stories' gates"
)]
#[path = "own_verifier.rs"]
mod own_verifier;

/// Runs a story, which ends by itself, and gives what it said.
fn tell(program: &str) -> String {
    let Output {
        status,
        stdout,
        stderr,
    } = Command::new(program)
        .output()
        .expect("the story is started");
    let (said, complaint) = (
        String::from_utf8_lossy(&stdout),
        String::from_utf8_lossy(&stderr),
    );
    assert!(status.success(), "{status}\n{said}\n{complaint}");
    said.into_owned()
}

#[test]
fn a_gate_is_embedded_and_makes_a_first_users_file() {
    let said = tell(env!("CARGO_BIN_EXE_embed_gate"));
    assert!(
        said.contains("office") && said.contains("127.0.0.1:"),
        "{said}"
    );
}

#[test]
fn a_code_connects_and_fetches_an_internal_page() {
    assert!(tell(env!("CARGO_BIN_EXE_a_connect")).ends_with("Inside\n"));
}

#[test]
fn a_device_key_signs_and_the_app_owns_the_tunnel() {
    let said = tell(env!("CARGO_BIN_EXE_b_device_key"));
    assert!(said.ends_with("Inside; up: false\n"), "{said}");
}

#[test]
fn an_own_store_verifier_and_transport_admit() {
    assert!(tell(env!("CARGO_BIN_EXE_c_own_gate")).ends_with("Inside\n"));
}

#[test]
fn a_warned_and_revoked_user_signs_in_again() {
    let said = tell(env!("CARGO_BIN_EXE_d_events"));
    let lines: Vec<&str> = said.lines().collect();
    let at = |begin: &str| lines.iter().position(|line| line.starts_with(begin));
    let (warned, over) = (at("the session ends in"), at("the session is over: "));
    assert!(warned.is_some() && warned < over, "{said}");
    assert!(said.ends_with("Inside\n"), "{said}");
}

#[test]
fn a_killed_process_leaves_its_session_to_the_next() {
    let said = tell(env!("CARGO_BIN_EXE_e_resume"));
    let lines: Vec<&str> = said.lines().collect();
    let [killed, .., page, resumed] = lines[..] else {
        panic!("{said}")
    };
    assert!(killed.contains("signal"), "{said}");
    assert!(page == "Inside" && resumed == "exit status: 0", "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_own_store_conforms() {
    let fresh = || async {
        Keyed::open(own_store::Table::default())
            .await
            .expect("it opens")
    };
    mfagate::testing::store::conformance(fresh).await;
}

/// RFC 4226, appendix D.
#[test]
fn the_own_verifier_makes_the_codes_of_the_rfc() {
    let codes = ["755224", "287082", "359152", "969429", "338314", "254676"];
    for (counter, expected) in (0..).zip(codes) {
        let code = own_verifier::code(b"12345678901234567890", counter).expect("a code");
        assert_eq!(code.expose_secret(), expected);
    }
}

/// What people copy stays short enough to be read at once, and other languages' pages quote it by
/// these names.
#[test]
fn each_story_is_short_and_each_snippet_is_there_once() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut snippets = Vec::new();
    for entry in std::fs::read_dir(folder).expect("the folder is read") {
        let path = entry.expect("an entry").path();
        if path.extension().is_none_or(|extension| extension != "rs")
            || path.ends_with("stories.rs")
        {
            continue;
        }
        let text = std::fs::read_to_string(&path).expect("a text");
        assert!(text.lines().count() <= 60, "{} is too long", path.display());
        let begins = text.split("// [snippet: ").skip(1);
        for snippet in begins {
            assert_eq!(snippet.matches("// [end]").count(), 1, "{}", path.display());
            snippets.push(snippet.split(']').next().expect("a name").to_owned());
        }
    }
    snippets.sort();
    let names = [
        "connect",
        "device_key",
        "events",
        "own_store",
        "own_verifier",
        "resume",
    ];
    assert_eq!(snippets, names);
}
