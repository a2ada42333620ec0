//! Counts steps that no test harness counts, and goes on after a failure so that one run shows
//! all of them.

use crate::command::Failure;

/// What has passed and what has failed so far.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    passed: usize,
    failed: Vec<String>,
}

impl Tally {
    /// Takes the outcome of one step.
    pub(crate) fn take(&mut self, step: &str, outcome: Result<(), Failure>) {
        match outcome {
            Ok(()) => {
                self.passed += 1;
                println!("ok      {step}");
            }
            Err(failure) => {
                println!("FAILED  {step}: {failure}");
                self.failed.push(step.to_owned());
            }
        }
    }

    /// `N passed, N failed`.
    pub(crate) fn line(&self) -> String {
        format!("{} passed, {} failed", self.passed, self.failed.len())
    }

    /// An error that names the failed steps, if there are any.
    pub(crate) fn verdict(self) -> Result<(), Failure> {
        if self.failed.is_empty() {
            return Ok(());
        }
        Err(Failure(format!("failed: {}", self.failed.join("; "))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_failure_fails_the_whole_and_all_are_counted() {
        let mut tally = Tally::default();
        tally.take("a", Ok(()));
        tally.take("b", Err(Failure("broken".to_owned())));
        tally.take("c", Ok(()));
        assert_eq!(tally.line(), "2 passed, 1 failed");
        assert!(tally.verdict().unwrap_err().0.contains('b'));
        assert!(Tally::default().verdict().is_ok());
    }
}
