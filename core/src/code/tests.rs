//! That every public error has a code, that no two have the same, and that none changes.

use std::collections::BTreeMap;
use std::path::Path;

use super::*;

/// Errors, with their variants and the codes of these.
type Codes = &'static [(&'static str, &'static [(&'static str, &'static str)])];

const ALL: [Codes; 4] = [client::LIST, factor::LIST, gate::LIST, interface::LIST];

/// Only the whole crate has them all.
#[cfg(all(
    target_os = "linux",
    feature = "ctap",
    feature = "device-key",
    feature = "email-code",
    feature = "kernel",
    feature = "lease-guard",
    feature = "netstack",
    feature = "oidc",
    feature = "oidc-login",
    feature = "profile",
    feature = "sqlite",
    feature = "totp",
    feature = "uapi",
    feature = "userspace",
    feature = "webauthn",
))]
#[test]
fn no_code_changes() {
    let mut text = String::new();
    for (error, codes) in ALL.into_iter().flatten() {
        text += &format!("{error}\n");
        for (variant, code) in *codes {
            text += &format!("    {variant} => {code}\n");
        }
    }
    insta::assert_snapshot!(text);
}

#[test]
fn each_code_is_kebab_case_and_belongs_to_one_meaning() {
    // One meaning, which several errors have.
    let shared = ["client-stopped", "resume-clock-set-back"];
    let mut seen = BTreeMap::new();
    for (error, codes) in ALL.into_iter().flatten() {
        for (variant, code) in *codes {
            if *code == "error.code()" {
                continue;
            }
            let code = code.trim_matches('"');
            let fits =
                |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
            assert!(code.bytes().all(fits), "{code}");
            let before = seen.insert(code, (error, variant));
            assert!(
                before.is_none() || shared.contains(&code),
                "{code}: {before:?} and {error} {variant}"
            );
        }
    }
}

#[test]
fn every_public_error_has_a_code() {
    let listed: Vec<&str> = ALL
        .into_iter()
        .flatten()
        .map(|(error, _)| error.rsplit("::").next().unwrap_or_default().trim())
        .collect();
    let mut missing = Vec::new();
    for file in sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src")) {
        let text = std::fs::read_to_string(&file).unwrap();
        // In two parts, so that this file does not find itself.
        for (at, _) in text.match_indices(concat!("thiserror", "::Error")) {
            let item = text[at..].lines().find_map(|line| {
                let words = [
                    "pub enum ",
                    "pub struct ",
                    "enum ",
                    "struct ",
                    "pub(super) ",
                    "pub(crate) ",
                ];
                words
                    .iter()
                    .find_map(|word| line.strip_prefix(word).map(|it| (*word, it)))
            });
            if let Some(("pub enum " | "pub struct ", rest)) = item {
                let name: String = rest.chars().take_while(|c| c.is_alphanumeric()).collect();
                if !listed.contains(&name.as_str()) {
                    missing.push(name);
                }
            }
        }
    }
    assert_eq!(
        missing,
        Vec::<String>::new(),
        "give them codes in core/src/code"
    );
}

fn sources(folder: &Path) -> Vec<std::path::PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files
}

#[test]
fn an_error_that_passes_another_one_on_has_its_code() {
    use crate::channel::transport::TransportError;
    use crate::client::AttemptFailure;
    use crate::runtime::ConnectError;

    let gate = "https://gate.example".to_owned();
    let error = ConnectError::from(AttemptFailure::from(TransportError::Unreachable { gate }));

    assert_eq!(error.code(), "gate-unreachable");
}
