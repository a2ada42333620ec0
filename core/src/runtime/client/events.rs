//! What an app is told, for each of its readers.

use tokio::sync::broadcast::{Receiver, error::RecvError};

use crate::client::Event;

/// A reader of a client's events. Each reader gets all of them, from the moment at which it was
/// made. Challenges are not among them: the [`Prompt`](super::Prompt) has those.
#[derive(Debug)]
#[must_use]
pub struct ClientEvents {
    receiver: Receiver<Event>,
}

impl ClientEvents {
    pub(super) const fn new(receiver: Receiver<Event>) -> Self {
        Self { receiver }
    }

    /// The next event; `None` once the client has stopped. A reader that lags by more than 256
    /// events misses the oldest, and is told by [`Event::Lagged`] how many.
    ///
    /// Cancel safe.
    pub async fn next(&mut self) -> Option<Event> {
        loop {
            match self.receiver.recv().await {
                Ok(Event::Challenge { .. }) => {}
                Ok(event) => return Some(event),
                Err(RecvError::Lagged(missed)) => return Some(Event::Lagged { missed }),
                Err(RecvError::Closed) => return None,
            }
        }
    }
}
