//! A login on another device (RFC 8628, section 3.3).

use std::fmt;
use std::time::Duration;

use super::{LoginError, LoginFault};
use crate::channel::message::{Answer, Challenge};

/// What to show the user, who logs in elsewhere.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct DeviceLogin {
    /// The address to open on the other device.
    pub verification_uri: String,
    /// The same with the code in it, for a QR code. Show the user code anyway: it must be the
    /// one that the other device shows.
    pub verification_uri_complete: Option<String>,
    /// The code to type there.
    pub user_code: String,
    interval: Duration,
}

impl DeviceLogin {
    /// The answer that asks for such a login, where the challenge offers it.
    ///
    /// # Errors
    /// `login-not-asked`.
    pub fn begin(challenge: &Challenge) -> Result<Answer, LoginError> {
        if matches!(challenge, Challenge::OpenId { device: true, .. }) {
            Ok(Answer::BeginDeviceGrant {})
        } else {
            Err(LoginError(LoginFault::NotAsked))
        }
    }

    /// Reads the challenge that comes then, and again after each poll.
    ///
    /// # Errors
    /// `login-not-asked`.
    pub fn read(challenge: &Challenge) -> Result<Self, LoginError> {
        if let Challenge::DeviceGrant {
            verification_uri,
            verification_uri_complete,
            user_code,
            interval_ms,
        } = challenge
        {
            Ok(Self {
                verification_uri: verification_uri.clone(),
                verification_uri_complete: verification_uri_complete.clone(),
                user_code: user_code.clone(),
                interval: Duration::from_millis(*interval_ms),
            })
        } else {
            Err(LoginError(LoginFault::NotAsked))
        }
    }

    /// Waits for as long as the provider wants, and polls. Cancel safe.
    pub async fn poll(&self) -> Answer {
        tokio::time::sleep(self.interval).await;
        Answer::Poll {}
    }
}

impl fmt::Display for DeviceLogin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "On another device, open {} and type {}",
            self.verification_uri, self.user_code
        )
    }
}
