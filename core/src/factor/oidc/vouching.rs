//! What a provider's words for how a user authenticated mean: other things at each provider.

/// What a provider can vouch for, in the terms of [`Assurance`](crate::assurance::Assurance).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Vouched {
    /// The user passed more than one factor there, one of them physical.
    UserVerified,
    /// What the user authenticated with there can't be relayed from a look-alike site.
    PhishingResistant,
}

/// The words of one provider.
#[derive(Debug, Clone, Default)]
pub(super) struct Vouching {
    amr: Vec<(String, Vouched)>,
    acr: Vec<(String, Vouched)>,
}

impl Vouching {
    pub(super) fn amr(&mut self, word: String, what: Vouched) {
        self.amr.push((word, what));
    }

    pub(super) fn acr(&mut self, word: String, what: Vouched) {
        self.acr.push((word, what));
    }

    /// Whether a token says a word for this.
    pub(super) fn vouches(&self, what: Vouched, acr: Option<&str>, amr: &[String]) -> bool {
        let means = |of: &(String, Vouched), word: &str| of.1 == what && of.0 == word;
        let by_acr = acr.is_some_and(|acr| self.acr.iter().any(|of| means(of, acr)));
        by_acr
            || amr
                .iter()
                .any(|said| self.amr.iter().any(|of| means(of, said)))
    }
}
