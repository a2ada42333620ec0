//! Measuring: samples, their percentiles, and two things in turn so that a noisy machine disturbs
//! both alike.

#![expect(
    clippy::disallowed_methods,
    reason = "a bench measures by the monotonic clock"
)]

use std::time::{Duration, Instant};

/// Spans of one thing, sorted. Never empty.
#[derive(Debug, Clone)]
pub(crate) struct Samples(Vec<Duration>);

impl Samples {
    /// Takes `rounds` samples (at least one), each of `batch` calls (at least one); a sample is
    /// the time of one call.
    pub(crate) fn take(rounds: u32, batch: u32, mut call: impl FnMut()) -> Self {
        sorted((0..rounds.max(1)).map(|_| time(batch, &mut call)).collect())
    }

    /// Samples that were taken elsewhere: at least one.
    pub(crate) fn of(spans: Vec<Duration>) -> Self {
        sorted(spans)
    }

    /// The span that half of the samples stay within.
    pub(crate) fn median(&self) -> Duration {
        self.percentile(50)
    }

    /// The span that `percent` of the samples stay within (nearest rank); 100 is the longest.
    pub(crate) fn percentile(&self, percent: usize) -> Duration {
        let rank = (self.0.len() * percent.min(100)).div_ceil(100);
        self.0
            .get(rank.saturating_sub(1))
            .copied()
            .unwrap_or_default()
    }
}

/// Two things, measured in turn.
#[derive(Debug, Clone)]
pub(crate) struct Pair {
    /// The one that is judged.
    pub(crate) a: Samples,
    /// What it is compared with.
    pub(crate) b: Samples,
}

impl Pair {
    /// Takes `rounds` samples of each, A and B alternately, with `batch` calls per sample. Who
    /// goes first alternates too.
    pub(crate) fn take(rounds: u32, batch: u32, mut a: impl FnMut(), mut b: impl FnMut()) -> Self {
        let (mut of_a, mut of_b) = (Vec::new(), Vec::new());
        for round in 0..rounds.max(1) {
            if round % 2 == 0 {
                of_a.push(time(batch, &mut a));
                of_b.push(time(batch, &mut b));
            } else {
                of_b.push(time(batch, &mut b));
                of_a.push(time(batch, &mut a));
            }
        }
        Self {
            a: sorted(of_a),
            b: sorted(of_b),
        }
    }

    /// The median of A over the median of B.
    pub(crate) fn ratio(&self) -> f64 {
        self.a.median().as_secs_f64() / self.b.median().as_secs_f64()
    }
}

/// The middle one of some figures; of none, no number.
pub(crate) fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures.get(figures.len() / 2).copied().unwrap_or(f64::NAN)
}

/// The monotonic clock, for what is awaited.
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// How long a piece of work takes.
pub(crate) fn span(work: impl FnOnce()) -> Duration {
    let start = Instant::now();
    work();
    start.elapsed()
}

/// Processor time that a piece of work takes on all threads of this process, user and system.
pub(crate) fn cpu(work: impl FnOnce()) -> Duration {
    let before = cpu_now();
    work();
    cpu_now().saturating_sub(before)
}

/// Processor time of this process so far.
pub(crate) fn cpu_now() -> Duration {
    let read = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(
        u64::try_from(read.tv_sec).unwrap_or(0),
        u32::try_from(read.tv_nsec).unwrap_or(0),
    )
}

/// A span in microseconds, for a row.
pub(crate) fn micros(span: Duration) -> f64 {
    span.as_secs_f64() * 1e6
}

/// How long a future takes, and what comes of it.
pub(crate) async fn time_async<T>(future: impl Future<Output = T>) -> (Duration, T) {
    let start = Instant::now();
    let value = future.await;
    (start.elapsed(), value)
}

fn time(batch: u32, call: &mut impl FnMut()) -> Duration {
    let batch = batch.max(1);
    let start = Instant::now();
    for _ in 0..batch {
        call();
    }
    start.elapsed() / batch
}

fn sorted(mut spans: Vec<Duration>) -> Samples {
    spans.sort_unstable();
    Samples(spans)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_by_nearest_rank() {
        let samples = sorted((1..=200).rev().map(Duration::from_millis).collect());
        let ranks = [0, 1, 50, 99, 100].map(|percent| samples.percentile(percent).as_millis());
        assert_eq!(ranks, [1, 2, 100, 198, 200]);
        assert_eq!(samples.median().as_millis(), 100);
    }

    #[test]
    fn a_pair_is_measured_in_turn_and_equally_often() {
        let calls = std::cell::RefCell::new(String::new());
        let pair = Pair::take(
            4,
            2,
            || calls.borrow_mut().push('a'),
            || calls.borrow_mut().push('b'),
        );
        assert_eq!(*calls.borrow(), "aabbbbaaaabbbbaa");
        assert_eq!((pair.a.0.len(), pair.b.0.len()), (4, 4));
    }

    #[test]
    fn a_ratio_is_of_the_medians() {
        let millis = |spans: [u64; 3]| sorted(spans.map(Duration::from_millis).to_vec());
        let pair = Pair {
            a: millis([30, 3, 1000]),
            b: millis([20, 1, 900]),
        };
        assert!((pair.ratio() - 1.5).abs() < 1e-9);
    }
}
