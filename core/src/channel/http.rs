//! How the channel's bodies travel over HTTP, for any HTTP stack: which URL they are posted to, as
//! what, and what a response means. It opens no connection.
//!
//! A client posts each body to [`ControlUrl::as_str`] with the type [`CONTENT_TYPE`], follows no
//! redirect, keeps no cookie, reads no more than [`MAX_BODY`] bytes of the response, and hands what
//! came back to [`ControlUrl::judge`]. Security does not rest on what carries the bodies.

use super::transport::TransportError;
use super::{MAX_BODY, Unauthenticated};

/// The path that requests are posted to.
pub const PATH: &str = "/mfagate/v1";

/// The content type of requests and responses.
pub const CONTENT_TYPE: &str = "application/octet-stream";

/// The URL of a gate's control channel, [`PATH`] included.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ControlUrl(String);

impl ControlUrl {
    /// The URL of the gate at a control URL from a profile, such as `https://gate.example`:
    /// [`PATH`] is appended unless the URL ends with it.
    ///
    /// Plain `http` is accepted: the channel inside is encrypted and authenticated by itself, but
    /// anyone on the way learns that the two talk.
    ///
    /// # Errors
    /// [`TransportError::BadUrl`] for another scheme, no host, or a URL that holds a name, a
    /// password, a query or a fragment. The error repeats none of these.
    pub fn parse(text: &str) -> Result<Self, TransportError> {
        url_of(text.trim())
            .map(Self)
            .ok_or_else(|| TransportError::BadUrl {
                gate: without_credentials(text),
            })
    }

    /// The URL to post to. In texts for people it is what the gate is called.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The body of a response that is to be taken to the channel, which authenticates it.
    ///
    /// # Errors
    /// As [`judge_head`](Self::judge_head) and [`judge_length`](Self::judge_length).
    pub fn judge(
        &self,
        status: u16,
        content_type: Option<&str>,
        body: Vec<u8>,
    ) -> Result<Vec<u8>, TransportError> {
        self.judge_head(status, content_type)?;
        self.judge_length(body.len())?;
        Ok(body)
    }

    /// Whether the body is worth reading. A gate's refusal has a status of its own, and a body of
    /// the protocol's type; any other status is that of a server in front of it.
    ///
    /// # Errors
    /// [`TransportError::BadGateway`].
    pub(crate) fn judge_head(
        &self,
        status: u16,
        content_type: Option<&str>,
    ) -> Result<(), TransportError> {
        if status == 200 || content_type.is_some_and(is_of_the_protocol) {
            return Ok(());
        }
        Err(TransportError::BadGateway {
            gate: self.0.clone(),
            status,
        })
    }

    /// Whether so many bytes may be a body. Stop reading at the first error.
    ///
    /// # Errors
    /// [`TransportError::NotTheGate`].
    pub(crate) fn judge_length(&self, bytes: usize) -> Result<(), TransportError> {
        if bytes <= MAX_BODY {
            return Ok(());
        }
        let gate = self.0.clone();
        Err(TransportError::NotTheGate { gate })
    }
}

/// The HTTP status of a response with this refusal.
pub const fn status_of(refusal: &Unauthenticated) -> u16 {
    match refusal {
        Unauthenticated::Malformed | Unauthenticated::Version => 400,
        Unauthenticated::TooLarge => 413,
        Unauthenticated::NoAttempt => 404,
        Unauthenticated::Unavailable => 503,
    }
}

/// Whether a content type is the protocol's, whatever parameters a server on the way has added.
fn is_of_the_protocol(content_type: &str) -> bool {
    let essence = content_type.split(';').next().unwrap_or_default();
    essence.trim().eq_ignore_ascii_case(CONTENT_TYPE)
}

fn url_of(text: &str) -> Option<String> {
    let (scheme, rest) = text.split_once("://")?;
    let scheme = ["https", "http"]
        .into_iter()
        .find(|known| scheme.eq_ignore_ascii_case(known))?;
    let is_plain =
        |c: char| !matches!(c, '?' | '#' | '\\') && !c.is_whitespace() && !c.is_control();
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let has_host = !authority.is_empty() && !authority.starts_with(':');
    if !has_host || authority.contains('@') || !rest.chars().all(is_plain) {
        return None;
    }
    let path = path.trim_end_matches('/');
    let appended = if path.ends_with(PATH) { "" } else { PATH };
    Some(format!("{scheme}://{authority}{path}{appended}"))
}

/// A URL as it can be shown, whatever it is.
fn without_credentials(text: &str) -> String {
    let (scheme, rest) = text.split_once("://").unwrap_or(("", text));
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let host = authority.rsplit('@').next().unwrap_or_default();
    if scheme.is_empty() {
        host.to_owned()
    } else {
        format!("{scheme}://{host}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_control_url_gets_the_path_once() {
        for (given, url) in [
            ("https://gate.example", "https://gate.example/mfagate/v1"),
            ("HTTPS://gate.example/", "https://gate.example/mfagate/v1"),
            (
                "http://[2001:db8::1]:7000/mfagate/v1",
                "http://[2001:db8::1]:7000/mfagate/v1",
            ),
            ("http://a.example/vpn/", "http://a.example/vpn/mfagate/v1"),
        ] {
            let parsed = ControlUrl::parse(given).unwrap();
            assert_eq!(parsed.as_str(), url);
        }
    }

    #[test]
    fn a_bad_control_url_is_refused_and_its_secrets_are_not_shown() {
        for bad in [
            "",
            "gate.example",
            "ftp://gate.example",
            "https://",
            "https://:443",
            "https:///mfagate/v1",
            "https://user:secret@gate.example",
            "https://gate.example/?key=secret",
            "https://gate.example/#secret",
            "https://gate.example/a b",
            "https://gate.example\\@elsewhere.example",
            "user:secret@gate.example",
        ] {
            let error = ControlUrl::parse(bad).unwrap_err();
            assert!(matches!(error, TransportError::BadUrl { .. }), "{bad}");
            assert!(!format!("{error} {error:?}").contains("secret"), "{bad}");
        }
    }

    #[test]
    fn a_response_is_judged_by_status_type_and_length() {
        let url = ControlUrl::parse("https://gate.example").unwrap();
        let judge = |status, content_type, len| url.judge(status, content_type, vec![7; len]);

        assert_eq!(judge(200, None, 3), Ok(vec![7; 3]));
        assert_eq!(judge(404, Some(CONTENT_TYPE), 3), Ok(vec![7; 3]));
        let added = "Application/Octet-Stream; charset=binary";
        assert_eq!(judge(503, Some(added), 3), Ok(vec![7; 3]));
        for content_type in [None, Some("text/html"), Some("application/octet-streams")] {
            let gate = url.as_str().to_owned();
            let status = 502;
            let expected = Err(TransportError::BadGateway { gate, status });
            assert_eq!(judge(status, content_type, 3), expected);
        }
        assert!(judge(200, None, MAX_BODY).is_ok());
        let gate = url.as_str().to_owned();
        let too_long = Err(TransportError::NotTheGate { gate });
        assert_eq!(judge(200, None, MAX_BODY + 1), too_long);
    }
}
