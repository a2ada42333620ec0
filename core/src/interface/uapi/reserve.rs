//! Sockets that are opened before they are needed.
//!
//! A program answers each request over a connection of its own (boringtun ends a connection after
//! one request), so a removal needs a new socket. A process that has used up its file limit gets
//! none, and that must not keep anybody in.

use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::io::Errno;
use tokio::net::{UnixSocket, UnixStream};

/// How many. A removal takes two, one after the other; each is replaced when its request is done.
const KEPT: usize = 8;

/// Sockets that are not connected yet.
#[derive(Debug)]
pub(super) struct Reserve(Mutex<Vec<UnixSocket>>);

impl Reserve {
    /// As many as there are descriptors for.
    pub(super) fn new() -> Self {
        let reserve = Self(Mutex::default());
        reserve.fill();
        reserve
    }

    /// Connects, by a socket of the reserve where the process gets no other.
    pub(super) async fn connect(&self, to: &Path) -> std::io::Result<UnixStream> {
        // What earlier requests took may be there again.
        self.fill();
        let socket = match UnixSocket::new_stream() {
            Err(error) if is_out_of_files(&error) => self.sockets().pop().ok_or(error)?,
            made => made?,
        };
        socket.connect(to).await
    }

    /// Makes up for what was taken, as far as there are descriptors.
    pub(super) fn fill(&self) {
        let mut sockets = self.sockets();
        while sockets.len() < KEPT {
            let Ok(socket) = UnixSocket::new_stream() else {
                return;
            };
            sockets.push(socket);
        }
    }

    fn sockets(&self) -> MutexGuard<'_, Vec<UnixSocket>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn is_out_of_files(error: &std::io::Error) -> bool {
    matches!(
        Errno::from_io_error(error),
        Some(Errno::MFILE | Errno::NFILE)
    )
}
