//! The real clock. It reads; it decides nothing.

use std::time::{SystemTime, UNIX_EPOCH};

use super::{Clock, Instant, Now, Timestamp};

/// The system's clocks. The monotonic one goes on while the machine sleeps where the system has
/// such a clock (`CLOCK_BOOTTIME` on Linux and Android, `CLOCK_MONOTONIC` on Apple's systems);
/// elsewhere it is the standard library's, and the wall clock alone sees a sleep.
#[derive(Debug, Clone, Copy, Default)]
#[non_exhaustive]
pub struct SystemClock;

impl SystemClock {
    /// The system's clocks.
    pub const fn new() -> Self {
        Self
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Now {
        Now {
            instant: monotonic(),
            timestamp: wall(),
        }
    }
}

/// A clock before 1970 reads as 1970: a lease is then judged by the monotonic clock alone.
#[expect(clippy::disallowed_methods, reason = "this is the shell's one clock")]
fn wall() -> Timestamp {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    Timestamp::from_millis(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

#[cfg(any(target_os = "linux", target_os = "android", target_vendor = "apple"))]
fn monotonic() -> Instant {
    #[cfg(not(target_vendor = "apple"))]
    const ID: rustix::time::ClockId = rustix::time::ClockId::Boottime;
    #[cfg(target_vendor = "apple")]
    const ID: rustix::time::ClockId = rustix::time::ClockId::Monotonic;

    let read = rustix::time::clock_gettime(ID);
    let secs = u64::try_from(read.tv_sec).unwrap_or(0);
    let nanos = u64::try_from(read.tv_nsec).unwrap_or(0);
    Instant::from_nanos(secs.saturating_mul(1_000_000_000).saturating_add(nanos))
}

#[cfg(not(any(target_os = "linux", target_os = "android", target_vendor = "apple")))]
#[expect(clippy::disallowed_methods, reason = "this is the shell's one clock")]
fn monotonic() -> Instant {
    use std::sync::OnceLock;
    static START: OnceLock<std::time::Instant> = OnceLock::new();
    let since = START.get_or_init(std::time::Instant::now).elapsed();
    Instant::from_nanos(u64::try_from(since.as_nanos()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_monotonic_clock_never_goes_back_and_the_wall_clock_is_past_2026() {
        let clock = SystemClock::new();
        let (first, second) = (clock.now(), clock.now());
        assert!(second.instant >= first.instant);
        assert!(first.timestamp > Timestamp::from_millis(1_767_225_600_000));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn the_monotonic_clock_counts_from_boot_and_so_through_sleep() {
        let uptime = std::fs::read_to_string("/proc/uptime").unwrap();
        let boot: f64 = uptime.split(' ').next().unwrap().parse().unwrap();
        let read = SystemClock::new().now().instant;
        let earlier = Instant::from_nanos(0) + std::time::Duration::from_secs_f64(boot);
        let apart = read.saturating_since(earlier) + earlier.saturating_since(read);
        assert!(apart < std::time::Duration::from_secs(60), "{apart:?}");
    }
}
