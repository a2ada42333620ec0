//! What the fuzz target calls: what comes to a listener, without one. Not a part of the crate as it
//! is built elsewhere.

use super::loopback::{Head, judge, target};
use super::{Login, LoginFault};
use crate::channel::message::{Answer, Challenge, Redirect};

const REDIRECT_URI: &str = "http://127.0.0.1:49152/callback";
const STATE: &str = "the-state-of-this-login";

/// The answer in a request's head, if the request is this login's.
///
/// # Panics
/// When something was taken that must not be.
pub fn heard(head: &[u8]) -> Option<Answer> {
    let Head::Target(target) = target(head) else {
        return None;
    };
    let login = login().ok()?;
    let answer = judge(REDIRECT_URI, &login, &target).ok()?;
    assert!(target.contains(STATE) && target.starts_with("/callback?"));
    let Answer::Redirected { redirect_uri, .. } = &answer else {
        unreachable!("a redirect is what came back")
    };
    assert_eq!(redirect_uri, REDIRECT_URI);
    Some(answer)
}

fn login() -> Result<Login, LoginFault> {
    let authorize = format!(
        "https://id.example.com/authorize?response_type=code&client_id=mfagate&state={STATE}\
         &scope=openid&nonce=n&code_challenge=c&code_challenge_method=S256"
    );
    let challenge = Challenge::OpenId {
        issuer: "https://id.example.com".to_owned(),
        authorize: Some(authorize),
        redirects: vec![Redirect::Loopback {
            path: "/callback".to_owned(),
        }],
        device: false,
        workload: None,
    };
    Login::begin(&challenge, REDIRECT_URI).map_err(LoginFault::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fuzz_targets_seed_is_right() {
        let seed = include_bytes!("../../../../tests/fuzz/corpus/loopback_head/seed-right");
        assert!(heard(seed).is_some());
    }
}
