//! What a peer asks for on the strength of the factors that its owner passed: an admission, or
//! another factor.

use super::super::rows::{self, all, one, to_json, token_columns};
use super::super::writer::Tx;
use super::factors::{insert, is_credential_taken, replace, takes_anothers};
use super::{eligible, end, execute, exists, next_generation, set_failures, snapshot, take};
use crate::audit::AuditKind;
use crate::id::{Generation, TokenId};
use crate::store::attribution;
use crate::store::judge::{Claim, Refused, is_entitled, is_one_too_many};
use crate::store::{
    EndReason, Enrolled, EnrolmentToken, FactorEnrolment, FactorPass, NewSession, OpenOutcome,
    PassOutcome, StoreError,
};

pub(in crate::store::sqlite) fn open_session(
    tx: &mut Tx<'_>,
    new: &NewSession,
) -> Result<OpenOutcome, StoreError> {
    let claim = Claim::from(new);
    let sql = "SELECT 1 FROM sessions WHERE id = ?";
    if exists(tx, sql, [new.id.as_bytes()])? || claim.names_a_factor_twice() {
        return Err(StoreError::Conflict);
    }
    let last = match judge(tx, &claim)? {
        Ok(last) => last,
        Err(refused) => return Ok(refused.into()),
    };
    if is_too_many(tx, new)? {
        tx.append(attribution::claimed(&claim, AuditKind::NotEligible, None))?;
        return Ok(OpenOutcome::TooMany);
    }
    admit(tx, new, last)
}

pub(in crate::store::sqlite) fn pass_factor(
    tx: &mut Tx<'_>,
    pass: &FactorPass,
) -> Result<PassOutcome, StoreError> {
    if let Err(refused) = judge(tx, &Claim::from(pass))? {
        return Ok(refused.into());
    }
    take(tx, &pass.factor_use)?;
    tx.append(attribution::passed(pass))?;
    Ok(PassOutcome::Recorded)
}

pub(in crate::store::sqlite) fn enrol_factor(
    tx: &mut Tx<'_>,
    new: &FactorEnrolment,
) -> Result<Enrolled, StoreError> {
    let claim = Claim::from(new);
    if snapshot(tx, new.factor.id)?.is_some() || claim.names_a_factor_twice() {
        return Err(StoreError::Conflict);
    }
    if let Err(refused) = judge(tx, &claim)? {
        return Ok(refused.into());
    }
    let token = match new.token {
        Some(id) => find_token(tx, id)?,
        None => None,
    };
    if !is_entitled(new, token.as_ref()) {
        tx.append(attribution::claimed(&claim, AuditKind::NotEligible, None))?;
        return Ok(Enrolled::TokenGone);
    }
    if is_credential_taken(tx, &new.factor)? {
        tx.append(attribution::claimed(&claim, AuditKind::NotEligible, None))?;
        return Ok(Enrolled::CredentialTaken);
    }
    for factor_use in &new.factor_uses {
        take(tx, factor_use)?;
    }
    if let Some(token) = new.token {
        execute(tx, "DELETE FROM tokens WHERE id = ?", [token.as_bytes()])?;
    }
    insert(tx, &new.factor)?;
    tx.append(attribution::enrolled(new))?;
    if let Some(old) = token.and_then(|token| token.replaces) {
        replace(tx, new, old)?;
    }
    Ok(Enrolled::Enrolled)
}

/// Judges a claim: the peer's last generation where it stands, and why it doesn't where not, once
/// that has been recorded and counted.
fn judge(tx: &mut Tx<'_>, claim: &Claim<'_>) -> Result<Result<Generation, Refused>, StoreError> {
    let judged = match eligible(tx, claim.location, claim.peer, claim.user)? {
        Some(last) => {
            let mut snapshots = Vec::with_capacity(claim.factor_uses.len());
            let mut taken = Vec::new();
            for factor_use in claim.factor_uses {
                snapshots.push(snapshot(tx, factor_use.factor)?);
                if takes_anothers(tx, factor_use)? {
                    taken.push(factor_use.factor);
                }
            }
            claim.judge(&snapshots, &taken).map(|()| last)
        }
        None => Err(Refused::PeerGone),
    };
    if let Err(refused) = &judged {
        for (factor, failures) in refused.counts() {
            set_failures(tx, *factor, *failures)?;
        }
        for event in refused.events(claim) {
            tx.append(event)?;
        }
    }
    Ok(judged)
}

fn is_too_many(tx: &Tx<'_>, new: &NewSession) -> Result<bool, StoreError> {
    let Some(most) = new.most_per_user else {
        return Ok(false);
    };
    let ends = all(
        tx.connection,
        "SELECT not_after FROM sessions
         WHERE user = ? AND location = ? AND ended_at IS NULL AND peer <> ?",
        (
            new.user.as_str(),
            new.location.as_str(),
            new.peer.as_bytes(),
        ),
        rows::session_end,
    )?;
    Ok(is_one_too_many(most, new.verified_at, ends))
}

fn find_token(tx: &Tx<'_>, id: TokenId) -> Result<Option<EnrolmentToken>, StoreError> {
    let sql = concat!("SELECT ", token_columns!(), " FROM tokens WHERE id = ?");
    one(tx.connection, sql, [id.as_bytes()], rows::token)
}

fn admit(tx: &mut Tx<'_>, new: &NewSession, last: Generation) -> Result<OpenOutcome, StoreError> {
    for factor_use in &new.factor_uses {
        take(tx, factor_use)?;
    }
    let old = one(
        tx.connection,
        "SELECT id, user FROM sessions WHERE location = ? AND peer = ? AND ended_at IS NULL",
        (new.location.as_str(), new.peer.as_bytes()),
        rows::owned_session,
    )?;
    if let Some((old, owner)) = &old {
        end(tx, *old, EndReason::Superseded, &new.event)?;
        tx.append(attribution::superseded(new, *old, owner))?;
    }
    let generation = next_generation(tx, &new.location, new.peer, last)?;
    let factors: Vec<_> = new
        .factor_uses
        .iter()
        .map(|factor_use| factor_use.factor)
        .collect();
    execute(
        tx,
        "INSERT INTO sessions (id, location, peer, user, allowed_ips, generation, verified_at,
           not_after, renewable_until, psk, assurance, factors)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            new.id.as_bytes(),
            new.location.as_str(),
            new.peer.as_bytes(),
            new.user.as_str(),
            to_json(&new.allowed_ips)?,
            generation.get().cast_signed(),
            new.verified_at.as_millis().cast_signed(),
            new.not_after.as_millis().cast_signed(),
            new.renewable_until.as_millis().cast_signed(),
            new.psk.as_bytes(),
            to_json(&new.assurance)?,
            to_json(&factors)?,
        ),
    )?;
    tx.append(attribution::admitted(new))?;
    Ok(OpenOutcome::Opened {
        generation,
        superseded: old.map(|(old, _)| old),
    })
}
