//! Binding a user to an identity at an OpenID provider, in an administrator's hands.

use super::{EnrolError, Registrar};
use crate::assurance::FactorKind;
use crate::factor::oidc::Identity;
use crate::id::{FactorId, Label, UserId};

impl Registrar {
    /// Binds a user to an identity, which is in use at once. Where the user is to prove to have it,
    /// let them enrol it from their client instead.
    ///
    /// # Errors
    /// `enrol-credential-taken` when it is someone's already;
    /// `enrol-randomness`, what [`SealError`](crate::seal::SealError) says; what the store says, also when the user
    /// is unknown.
    pub async fn bind_identity(
        &self,
        user: &UserId,
        label: &Label,
        identity: &Identity,
    ) -> Result<FactorId, EnrolError> {
        let (secret, credential) = (identity.to_secret(), identity.credential());
        self.add_factor(user, FactorKind::OIDC, label, &secret, Some(credential))
            .await
    }
}
