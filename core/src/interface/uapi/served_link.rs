//! Where the interface of the program behind a socket is, and what can be done to it from here.

use std::path::Path;

use tokio::net::UnixStream;

use super::reserve::Reserve;
use super::{Shared, UapiFault, backend};
use crate::interface::InterfaceError;
#[cfg(target_os = "linux")]
use crate::interface::netlink::{Links, NetlinkHandle};

/// What there was to be taken down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Found {
    /// The interface, which is down now.
    Interface,
    /// No interface any more.
    Nothing,
}

/// Whether a program is behind the socket, be it one that hangs. Where that can't be known, there
/// is.
pub(super) async fn is_served(socket: &Path, reserve: &Reserve) -> bool {
    use std::io::ErrorKind::{ConnectionRefused, NotFound};

    let connected = reserve.connect(socket).await;
    !connected.is_err_and(|error| matches!(error.kind(), ConnectionRefused | NotFound))
}

/// The interface that the program made in this network namespace, and the connection by which it
/// can be taken down.
pub(super) struct ServedLink {
    #[cfg(target_os = "linux")]
    links: Links,
    #[cfg(target_os = "linux")]
    index: u32,
}

impl ServedLink {
    /// `None` where the interface is elsewhere, or where the system does not say.
    #[cfg(target_os = "linux")]
    pub(super) async fn find(name: &str, socket: &Path) -> Option<Self> {
        if !is_here(socket).await {
            return None;
        }
        let links = Links::open().ok()?;
        let found = links.named(name).await.ok().flatten();
        // Another program's interface may have the name.
        let found = found.filter(NetlinkHandle::is_tun)?;
        let index = found.index();
        Some(Self { links, index })
    }

    #[cfg(not(target_os = "linux"))]
    pub(super) async fn find(_: &str, _: &Path) -> Option<Self> {
        std::future::ready(None).await
    }
}

impl std::fmt::Debug for ServedLink {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ServedLink").finish_non_exhaustive()
    }
}

/// Whether the program behind the socket is in the network namespace of this thread. Where the
/// system does not say, as it does not of another user's program, it is.
#[cfg(target_os = "linux")]
async fn is_here(socket: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;

    let namespace = |of: &str| {
        let metadata = std::fs::metadata(format!("/proc/{of}/ns/net")).ok()?;
        Some((metadata.dev(), metadata.ino()))
    };
    let connected = UnixStream::connect(socket).await.ok();
    let program = connected.and_then(|stream| stream.peer_cred().ok()?.pid());
    let theirs = program.and_then(|program| namespace(&program.to_string()));
    let ours = namespace("thread-self");
    theirs.is_none_or(|theirs| Some(theirs) == ours)
}

#[cfg(target_os = "linux")]
pub(super) async fn take_down(shared: &Shared) -> Result<Found, InterfaceError> {
    if shared.place.is_none() {
        let name = shared.name.clone();
        return Err(backend(UapiFault::Elsewhere { name }));
    }
    let mut found = Found::Nothing;
    for link in links(shared).await? {
        if link.set_down().await.map_err(backend)? {
            found = Found::Interface;
        }
    }
    Ok(found)
}

#[cfg(not(target_os = "linux"))]
pub(super) async fn take_down(shared: &Shared) -> Result<Found, InterfaceError> {
    let name = shared.name.clone();
    std::future::ready(Err(backend(UapiFault::Elsewhere { name }))).await
}

/// The program's interfaces in this namespace: that of the start, and one that has its name now.
#[cfg(target_os = "linux")]
async fn links(shared: &Shared) -> Result<Vec<NetlinkHandle>, InterfaceError> {
    let Some(ServedLink { links, index }) = &shared.place else {
        return Ok(Vec::new());
    };
    let same = links.numbered(*index).await.map_err(backend)?;
    // The program may have been started again.
    let again = links.named(&shared.name).await.map_err(backend)?;
    let links = [same, again].into_iter().flatten();
    Ok(links.filter(NetlinkHandle::is_tun).collect())
}

/// Whether an interface of the program's is in this network namespace.
#[cfg(target_os = "linux")]
pub(super) async fn is_link_there(shared: &Shared) -> Result<bool, InterfaceError> {
    Ok(!links(shared).await?.is_empty())
}

#[cfg(not(target_os = "linux"))]
pub(super) async fn is_link_there(_: &Shared) -> Result<bool, InterfaceError> {
    std::future::ready(Ok(true)).await
}

/// Whether the interface is in this network namespace, and is down.
#[cfg(target_os = "linux")]
pub(super) async fn is_down(shared: &Shared) -> bool {
    let links = links(shared).await.unwrap_or_default();
    links.iter().any(|link| !link.is_up())
}

#[cfg(not(target_os = "linux"))]
pub(super) async fn is_down(_: &Shared) -> bool {
    std::future::ready(false).await
}

/// The MTU of the interface, where it is in this network namespace.
#[cfg(target_os = "linux")]
pub(super) async fn mtu(shared: &Shared) -> Option<u32> {
    let links = links(shared).await.unwrap_or_default();
    links.iter().find_map(NetlinkHandle::mtu)
}

#[cfg(not(target_os = "linux"))]
pub(super) async fn mtu(_: &Shared) -> Option<u32> {
    std::future::ready(None).await
}

#[cfg(target_os = "linux")]
pub(super) async fn take_up(shared: &Shared) -> Result<(), InterfaceError> {
    for link in links(shared).await? {
        link.set_up().await.map_err(backend)?;
    }
    Ok(())
}

#[cfg(not(target_os = "linux"))]
pub(super) async fn take_up(shared: &Shared) -> Result<(), InterfaceError> {
    let name = shared.name.clone();
    std::future::ready(Err(backend(UapiFault::Elsewhere { name }))).await
}
