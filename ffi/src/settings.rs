//! How a client behaves.

use std::collections::HashMap;
use std::time::Duration;

use mfagate::channel::message::Posture;
use mfagate::client::{ClientTimeouts, Config, Renewal};

use crate::error::MfagateError;

/// How a client behaves. What is none is as the core has it.
#[derive(Debug, Clone, PartialEq, Eq, uniffi::Record)]
pub struct ClientSettings {
    /// How long before a lease's end the client warns, in milliseconds.
    #[uniffi(default = None)]
    pub warn_before_ms: Option<u64>,
    /// Whether leases are renewed without being asked, as far as no factor is needed.
    #[uniffi(default = true)]
    pub renews_automatically: bool,
    /// Whether the app reports wake-ups, changes of the network and traffic, so that the client need
    /// not wake the device to look.
    #[uniffi(default = false)]
    pub is_quiet: bool,
    /// How long one call of the app's transport or tunnel may take, in milliseconds. A longer one
    /// counts as failed.
    #[uniffi(default = None)]
    pub callback_timeout_ms: Option<u64>,
    /// How long a signing out is waited for, in milliseconds.
    #[uniffi(default = None)]
    pub sign_out_timeout_ms: Option<u64>,
    /// What to tell the gate's authoriser of this device, such as its system's version.
    #[uniffi(default = None)]
    pub posture: Option<HashMap<String, String>>,
}

impl ClientSettings {
    pub(crate) fn config(&self) -> Config {
        let mut config = Config::default();
        if let Some(warn_before) = self.warn_before_ms {
            config.warn_before = Duration::from_millis(warn_before);
        }
        if !self.renews_automatically {
            config.renewal = Renewal::OnRequest;
        }
        config
    }

    pub(crate) fn timeouts(&self) -> ClientTimeouts {
        let mut timeouts = ClientTimeouts::default();
        if let Some(callback) = self.callback_timeout_ms {
            timeouts.round_trip = Duration::from_millis(callback);
            timeouts.interface = Duration::from_millis(callback);
        }
        if let Some(sign_out) = self.sign_out_timeout_ms {
            timeouts.sign_out = Duration::from_millis(sign_out);
        }
        timeouts
    }

    pub(crate) fn posture(&self) -> Result<Posture, MfagateError> {
        let said = self.posture.clone().unwrap_or_default();
        let too_much = || {
            let explanation = "a posture has at most 32 entries of at most 256 bytes each";
            MfagateError::fault("posture-too-long", explanation)
        };
        Posture::new(said.into_iter().collect()).ok_or_else(too_much)
    }
}
