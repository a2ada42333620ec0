//! A gate's events, as names and fields.

use crate::native::convert::word;
use mfagate::gate::Event;
use mfagate::{PublicKey, SessionId, UserId};
use pyo3::prelude::*;
use pyo3::types::PyDict;

pub(crate) fn to_py<'py>(py: Python<'py>, event: &Event) -> PyResult<Bound<'py, PyAny>> {
    let told = Fields(PyDict::new(py));
    let name = match event {
        Event::Open => "open",
        Event::Admitted {
            session,
            peer,
            user,
            not_after,
            factors,
        } => {
            told.session(session)?.peer(peer)?.user(user)?;
            told.set("not_after", not_after.as_millis())?;
            let kinds: Vec<&str> = factors.iter().map(|kind| kind.as_str()).collect();
            told.set("factors", kinds)?;
            "admitted"
        }
        Event::Renewed {
            session,
            peer,
            not_after,
        } => {
            told.session(session)?.peer(peer)?;
            told.set("not_after", not_after.as_millis())?;
            "renewed"
        }
        Event::Ending {
            session,
            peer,
            left,
        } => {
            told.session(session)?.peer(peer)?;
            told.set("ends_in", *left)?;
            "ending"
        }
        Event::EndpointChanged {
            session,
            peer,
            user,
            from,
            to,
        } => {
            told.session(session)?.peer(peer)?.user(user)?;
            told.set("moved_from", from.to_string())?;
            told.set("moved_to", to.to_string())?;
            "endpoint-changed"
        }
        Event::Ended {
            session,
            peer,
            user,
            reason,
        } => {
            told.session(session)?.peer(peer)?.user(user)?;
            told.set("reason", word(reason))?;
            "ended"
        }
        Event::Denied {
            peer,
            user,
            factor,
            denied,
        } => {
            told.peer(peer)?.user(user)?;
            told.set("factor", factor.to_string())?;
            told.set("reason", word(&denied.reason))?;
            told.set("tries_left", denied.tries_left)?;
            "denied"
        }
        Event::NotAdmitted {
            peer,
            user,
            refusal,
        } => {
            told.peer(peer)?.user(user)?;
            told.set("reason", word(refusal))?;
            "not-admitted"
        }
        Event::RecoveryCodeUsed { peer, user } => {
            told.peer(peer)?.user(user)?;
            "recovery-code-used"
        }
        Event::FactorEnrolled { user, factor } => {
            told.user(user)?;
            told.set("factor", factor.to_string())?;
            "factor-enrolled"
        }
        Event::StoreReplaced => "store-replaced",
        Event::RemovalFailing { peer } => {
            told.peer(peer)?;
            "removal-failing"
        }
        Event::StoreFailing { session } => {
            told.session(session)?;
            "store-failing"
        }
        Event::UnleasedPeer { peer } => {
            told.peer(peer)?;
            "unleased-peer"
        }
        Event::PeerMissing { session, peer } => {
            told.session(session)?.peer(peer)?;
            "peer-missing"
        }
        Event::PeerChanged { session, peer } => {
            told.session(session)?.peer(peer)?;
            "peer-changed"
        }
        Event::InterfaceAway => "interface-away",
        Event::InterfaceBack => "interface-back",
        Event::InterfaceUnreadable => "interface-unreadable",
        Event::InterfaceGone => "interface-gone",
        Event::Fenced => "fenced",
        Event::FenceFailing => "fence-failing",
        _ => "other",
    };
    Ok((name, told.0).into_pyobject(py)?.into_any())
}

struct Fields<'py>(Bound<'py, PyDict>);

impl<'py> Fields<'py> {
    fn set(&self, name: &str, value: impl IntoPyObject<'py>) -> PyResult<&Self> {
        self.0.set_item(name, value)?;
        Ok(self)
    }

    fn session(&self, session: &SessionId) -> PyResult<&Self> {
        self.set("session", session.to_string())
    }

    fn peer(&self, peer: &PublicKey) -> PyResult<&Self> {
        self.set("peer", peer.to_string())
    }

    fn user(&self, user: &UserId) -> PyResult<&Self> {
        self.set("user", user.as_str())
    }
}
