//! The Python package `mfagate`, over the core: `mfagate._native`.
//!
//! This crate converts and nothing more; what Python programs see is hand-written in `python/mfagate`.
//!
//! | file | concern |
//! |---|---|
//! | `bridge` | asyncio on one side, tokio on the other, and the interpreter's end between them |
//! | `callback` | calls of what an app wrote in Python |
//! | `client` | the client and its events |
//! | `convert` | texts, times and names from one language to the other |
//! | `device_key` | device keys whose signer is written in Python |
//! | `failure` | errors as one Python exception of six kinds |
//! | `gate` | the gate, its events and its server |
//! | `interface` | a WireGuard interface written in Python |
//! | `network` | what goes through a tunnel inside this process |
//! | `profile` | profiles, onboarding files, keys |
//! | `registrar` | users, devices and factors |
//! | `store` | a store written in Python |
//! | `verifier` | a verifier written in Python |

mod bridge;
mod callback;
mod client;
mod convert;
mod device_key;
mod failure;
mod gate;
mod gate_event;
mod interface;
mod network;
mod profile;
mod registrar;
mod store;
mod verifier;

use pyo3::prelude::*;

#[pymodule]
mod _native {
    use super::*;

    #[pymodule_export]
    use super::bridge::{Outcome, leave};
    #[pymodule_export]
    use super::client::{Client, EventReader};
    #[pymodule_export]
    use super::device_key::{DeviceKeyProver, SoftwareKey};
    #[pymodule_export]
    use super::gate::{Gate, GateEventReader, open_gate};
    #[pymodule_export]
    use super::interface::PeerConfig;
    #[pymodule_export]
    use super::network::{Forward, Stream};
    #[pymodule_export]
    use super::profile::{HandoverKey, KeyRing, Onboarding, Policy, PrivateKey, Profile};
    #[pymodule_export]
    use super::registrar::{Registrar, TotpSecret};
    #[cfg(feature = "testing")]
    #[pymodule_export]
    use super::store::check_store;

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        module.add("__version__", env!("CARGO_PKG_VERSION"))
    }
}
