//! The file of the administrator's socket, and how connections to it are taken.

use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use axum::serve::Listener;
use tokio::net::unix::SocketAddr;
use tokio::net::{UnixListener, UnixStream};

/// Connections that are taken also when the process has used up its file limit.
const SPARE: usize = 16;
/// How long after a connection could not be taken the next one is tried.
const ACCEPT_AGAIN: Duration = Duration::from_millis(100);

/// The administrator's socket, whose file goes with it.
pub(crate) struct AdminSocket {
    path: PathBuf,
    listener: Option<AdminListener>,
}

/// Takes connections, also when the process has used up its files: a revocation must get through.
pub(crate) struct AdminListener {
    listener: UnixListener,
    spare: Vec<File>,
}

impl AdminSocket {
    /// Takes the place of a socket that a killed daemon left: the lock says that it is dead.
    pub(crate) fn listen(path: PathBuf) -> io::Result<Self> {
        use std::os::unix::fs::PermissionsExt;

        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let listener = UnixListener::bind(&path)?;
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600))?;
        let mut listener = AdminListener {
            listener,
            spare: Vec::new(),
        };
        listener.fill();
        Ok(Self {
            path,
            listener: Some(listener),
        })
    }

    /// What listens, once.
    pub(crate) fn take(&mut self) -> Option<AdminListener> {
        self.listener.take()
    }
}

impl Drop for AdminSocket {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_file(&self.path) {
            eprintln!("gate-server: {} stays: {error}", self.path.display());
        }
    }
}

impl AdminListener {
    fn fill(&mut self) {
        while self.spare.len() < SPARE {
            let Ok(file) = File::open("/dev/null") else {
                return;
            };
            self.spare.push(file);
        }
    }
}

impl Listener for AdminListener {
    type Io = UnixStream;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (UnixStream, SocketAddr) {
        loop {
            self.fill();
            match self.listener.accept().await {
                Ok(accepted) => return accepted,
                // The file limit, as a rule: what is held for this makes room.
                Err(_) if self.spare.pop().is_some() => {
                    if let Ok(accepted) = self.listener.accept().await {
                        return accepted;
                    }
                }
                Err(_) => {}
            }
            tokio::time::sleep(ACCEPT_AGAIN).await;
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}
