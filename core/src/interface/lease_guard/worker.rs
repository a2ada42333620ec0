//! The thread that the table lives on, as its socket blocks. It works off what it is given in
//! the order in which it was given, also what no one waits for any more.

use std::sync::mpsc;

use tokio::sync::oneshot;

use super::error::GuardFault;
use super::table::Table;

type Job = Box<dyn FnOnce(&mut Table) + Send>;

/// A handle on the thread, which ends when it is dropped. The table stays in the kernel.
#[derive(Debug)]
pub(super) struct Worker {
    jobs: mpsc::Sender<Job>,
}

impl Worker {
    /// Starts a thread and opens the table of an interface on it.
    pub(super) async fn start(interface: &str) -> Result<Self, GuardFault> {
        let (jobs, queue) = mpsc::channel::<Job>();
        let (opened, is_open) = oneshot::channel();
        let interface = interface.to_owned();
        let run = move || match Table::open(&interface) {
            Ok(mut table) => {
                let _awaited = opened.send(Ok(()));
                for job in queue {
                    job(&mut table);
                }
            }
            Err(error) => {
                let _awaited = opened.send(Err(error));
            }
        };
        // Not from the runtime's pool: a new thread has the network namespace of the one that
        // starts it.
        let started = std::thread::Builder::new()
            .name("mfagate-guard".to_owned())
            .spawn(run);
        started.map_err(|_| GuardFault::Unanswered)?;
        is_open.await.map_err(|_| GuardFault::Unanswered)??;
        Ok(Self { jobs })
    }

    /// Has the thread do something with the table. What is given to it is done, whether or not
    /// the future is polled to its end.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        job: impl FnOnce(&mut Table) -> Result<T, GuardFault> + Send + 'static,
    ) -> Result<T, GuardFault> {
        let (answer, answered) = oneshot::channel();
        let job: Job = Box::new(move |table| {
            let _awaited = answer.send(job(table));
        });
        self.jobs.send(job).map_err(|_| GuardFault::Unanswered)?;
        answered.await.map_err(|_| GuardFault::Unanswered)?
    }
}
