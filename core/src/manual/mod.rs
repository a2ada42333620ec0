//! The chapters: what the crate promises, against whom, and how to extend it.

#[cfg(all(
    feature = "sqlite",
    feature = "totp",
    feature = "netstack",
    feature = "http-server",
    feature = "http-client"
))]
#[doc = include_str!("first_tunnel.md")]
pub mod first_tunnel {}

#[doc = include_str!("threat_model.md")]
pub mod threat_model {}

#[doc = include_str!("protocol.md")]
pub mod protocol {}

#[doc = include_str!("expiry.md")]
pub mod expiry {}

#[cfg(feature = "runtime")]
#[doc = include_str!("embedding_a_client.md")]
pub mod embedding_a_client {}

#[cfg(feature = "policy-file")]
#[doc = include_str!("policy.md")]
pub mod policy {}

#[cfg(feature = "gate")]
#[doc = include_str!("writing_a_store.md")]
pub mod writing_a_store {}

#[cfg(all(feature = "lease-guard", target_os = "linux"))]
#[doc = include_str!("lease_guard.md")]
pub mod lease_guard {}

#[cfg(all(
    any(feature = "kernel", feature = "uapi", feature = "userspace"),
    target_os = "linux"
))]
#[doc = include_str!("client_routes.md")]
pub mod client_routes {}

#[cfg(all(feature = "gate", feature = "testing"))]
#[doc = include_str!("writing_a_verifier.md")]
pub mod writing_a_verifier {}

#[cfg(all(feature = "netstack", feature = "testing"))]
#[doc = include_str!("writing_a_backend.md")]
pub mod writing_a_backend {}
