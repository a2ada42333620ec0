//! The figures of a client.

use std::time::Duration;

/// How a client behaves. [`Config::default`] fits a person's device.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Config {
    /// What the gate is called in texts for people: its control URL.
    pub gate: String,
    /// How long before a lease's end [`Event::Ending`](super::Event::Ending) warns; for a short
    /// lease, in its last quarter.
    pub warn_before: Duration,
    /// Whether leases are renewed without being asked, as far as no factor is needed.
    pub renewal: Renewal,
    /// How often the tunnel's traffic is looked at.
    pub sample_every: Duration,
    /// How long nothing may come back through the tunnel, while something is sent, before the gate
    /// is asked what became of the session. WireGuard itself needs up to 15 s to notice a loss.
    pub silence: Duration,
    /// How long nothing may come back through a tunnel that was live, while something is sent,
    /// before the endpoint's name is looked up again and another of its addresses is tried.
    pub move_after: Duration,
    /// The same for a tunnel that nothing has come through yet, and for each further address. Later
    /// ones take longer.
    pub move_first_after: Duration,
    /// How long an exchange that someone waits for may take before its failure is told. It goes on
    /// in the background, so that what the gate says later is put right. With the lookup of a
    /// name before it, no one waits longer than 20 s by default.
    pub foreground: Duration,
    /// How long one exchange with the gate may take in all, every repetition included.
    pub exchange: Duration,
    /// The first wait before an exchange that failed is tried again; each further one doubles it.
    pub first_wait: Duration,
    /// No wait is longer than this.
    pub longest_wait: Duration,
}

/// When a client renews.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Renewal {
    /// By itself, when this many hundredths of a lease are over.
    Automatic {
        /// Hundredths; over 100 counts as 100.
        percent: u8,
    },
    /// When the app says so.
    OnRequest,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            gate: "(no URL)".to_owned(),
            warn_before: Duration::from_secs(5 * 60),
            renewal: Renewal::Automatic { percent: 66 },
            sample_every: Duration::from_secs(5),
            silence: Duration::from_secs(20),
            // WireGuard's own patience: KEEPALIVE_TIMEOUT and REKEY_TIMEOUT (section 6.1).
            move_after: Duration::from_secs(15),
            move_first_after: Duration::from_secs(2),
            foreground: Duration::from_secs(15),
            exchange: Duration::from_secs(45),
            first_wait: Duration::from_secs(2),
            longest_wait: Duration::from_secs(60),
        }
    }
}

impl Config {
    /// How long to wait after this many failures in a row. A figure of zero still waits a little,
    /// so that no failure turns into a loop.
    pub(super) fn wait(&self, failures: u32) -> Duration {
        let doublings = failures.saturating_sub(1).min(16);
        self.first_wait
            .saturating_mul(2_u32.saturating_pow(doublings))
            .min(self.longest_wait)
            .max(Duration::from_millis(100))
    }

    /// How long nothing may come back from an address before another is tried, after so many moves.
    pub(super) fn patience(&self, was_live: bool, moves: u32) -> Duration {
        if was_live && moves == 0 {
            return self.move_after;
        }
        let doublings = (moves / 2).min(16);
        self.move_first_after
            .saturating_mul(2_u32.saturating_pow(doublings))
            .min(self.longest_wait)
            .max(Duration::from_millis(100))
    }

    /// When, after the start of a lease, it is renewed without being asked.
    pub(super) fn renew_after(&self, lease: Duration) -> Option<Duration> {
        match self.renewal {
            Renewal::Automatic { percent } => {
                Some(lease.saturating_mul(u32::from(percent.min(100))) / 100)
            }
            Renewal::OnRequest => None,
        }
    }
}
