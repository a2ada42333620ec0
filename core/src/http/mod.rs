//! The control channel over HTTP: bodies of POSTs to one path. Security does not rest on what
//! carries them; TLS in front is recommended all the same, since it hides who talks.

#[cfg(feature = "http-client")]
mod client;
#[cfg(feature = "http-server")]
mod server;

#[cfg(feature = "http-client")]
pub use client::HttpTransport;
#[cfg(feature = "http-server")]
pub use server::{BODY_TIME, router};

/// The path that requests are posted to.
pub const PATH: &str = "/mfagate/v1";

/// The content type of requests and responses.
pub const CONTENT_TYPE: &str = "application/octet-stream";
