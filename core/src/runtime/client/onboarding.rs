//! The one-file start: a profile, and what a new user enrols with it first.

use super::{Client, ConnectError, Connected, Profile, Prompt};
use crate::client::{AttemptFailure, EnrolRequest};

/// A profile and, for a new user, what is to be enrolled with it first. Holds the device's private
/// key and a one-time token; prints neither.
///
/// `LocationRegistrar::onboard` makes one (feature `gate`). As a file it
/// is a profile with one more table (feature `profile`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Onboarding {
    /// The profile.
    pub profile: Profile,
    /// The factor to enrol, with its token. `None`: there is nothing left to enrol.
    pub enrol: Option<EnrolRequest>,
}

impl From<Profile> for Onboarding {
    fn from(profile: Profile) -> Self {
        Self {
            profile,
            enrol: None,
        }
    }
}

impl Client {
    /// Enrols a first factor with its one-time token, then connects with it: the user is asked
    /// once for each.
    ///
    /// Where the token is used already, as by an earlier run that was interrupted after the
    /// enrolment, it connects alone.
    ///
    /// Cancel safe as [`Client::enrol`] and [`Client::connect`] are. Once it has returned, the
    /// request has done its work: keep the profile alone.
    ///
    /// # Errors
    /// As of [`Client::enrol`], then of [`Client::connect`].
    /// [`BadToken`](AttemptFailure::BadToken) where the token is not good and the user has no
    /// factor either.
    pub async fn onboard(
        &self,
        request: EnrolRequest,
        prompt: &mut impl Prompt,
    ) -> Result<Connected, ConnectError> {
        let bad_token = ConnectError::Failed(AttemptFailure::BadToken);
        let is_used = match self.enrol(request, prompt).await {
            Ok(_) => false,
            Err(error) if error == bad_token => true,
            Err(error) => return Err(error),
        };
        match self.connect(prompt).await {
            Err(ConnectError::Failed(AttemptFailure::NoFactor)) if is_used => Err(bad_token),
            connected => connected,
        }
    }
}
