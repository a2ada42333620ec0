//! How far it is with an interface on its way down, from which there is no way back.

use std::sync::atomic::{AtomicBool, Ordering};

use super::InterfaceError;

/// Open at first; closed, once it is to be taken down; down, once that was done. An attempt to take
/// it down that failed leaves it closed: no one is let on any more, and those who are there can
/// still be seen and taken off.
#[derive(Debug, Default)]
pub(super) struct ShutdownState {
    is_closed: AtomicBool,
    is_down: AtomicBool,
}

impl ShutdownState {
    /// It is to be taken down.
    pub(super) fn close(&self) {
        self.is_closed.store(true, Ordering::SeqCst);
    }

    /// It was taken down.
    pub(super) fn go_down(&self) {
        self.close();
        self.is_down.store(true, Ordering::SeqCst);
    }

    pub(super) fn is_down(&self) -> bool {
        self.is_down.load(Ordering::SeqCst)
    }

    /// Before a peer is let on.
    pub(super) fn check_open(&self) -> Result<(), InterfaceError> {
        if self.is_closed.load(Ordering::SeqCst) {
            return Err(InterfaceError::Down);
        }
        Ok(())
    }

    /// Before anything else.
    pub(super) fn check_up(&self) -> Result<(), InterfaceError> {
        if self.is_down() {
            return Err(InterfaceError::Down);
        }
        Ok(())
    }
}
