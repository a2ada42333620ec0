//! The control channel over HTTP: bodies of POSTs to one path. Security does not rest on what
//! carries them; TLS in front is recommended anyway, since it hides who talks.

#[cfg(feature = "http-server")]
mod files;
#[cfg(feature = "http-server")]
mod serve;
#[cfg(feature = "http-server")]
mod server;

#[cfg(all(unix, feature = "http-server"))]
pub use files::raise_file_limit;
#[cfg(feature = "http-server")]
pub use serve::{Server, serve};
#[cfg(feature = "http-server")]
pub use server::router;

pub use crate::channel::http::{CONTENT_TYPE, PATH};
#[cfg(feature = "http-client")]
pub use crate::runtime::HttpTransport;
