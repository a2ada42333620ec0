//! What a client says that its browser came back with from an OpenID provider: where, a line's end,
//! and the query.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mfagate::factor::oidc::fuzzing::redirect;

fuzz_target!(|text: &str| {
    if let Some((redirect_uri, query)) = text.split_once('\n') {
        redirect(redirect_uri, query);
    }
});
