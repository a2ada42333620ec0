//! What a gate, its policy, its store and its trail say.

use super::{ErrorCode, codes};

codes! {
    crate::audit::ParseHeadError {
        Self { .. } => "invalid-head",
    }
    crate::audit::BrokenChain {
        Self { reason: error, .. } => error.code(),
    }
    crate::audit::BreakReason {
        Self::OutOfPlace { .. } => "audit-chain-out-of-place",
        Self::Previous => "audit-chain-previous",
        Self::Hash => "audit-chain-hash",
        Self::OtherHead => "audit-chain-other-head",
    }
    crate::audit::HeadFileFault {
        Self::Unreadable { .. } => "head-file-unreadable",
        Self::Unwritable { .. } => "head-file-unwritable",
        Self::Malformed { .. } => "head-file-malformed",
    }
    crate::audit::ReadFault {
        Self::Io(..) => "audit-log-unreadable",
        Self::Malformed { .. } => "audit-log-malformed",
        Self::CutOff { .. } => "audit-log-cut-off",
    }
    crate::authorise::AuthoriseError {
        Self::Refused { .. } => "authoriser-refused",
        Self::Backend(..) => "authoriser-failed",
    }
    crate::enrol::AddressFault {
        Self { reason: error, .. } => error.code(),
    }
    crate::enrol::AddressReason {
        Self::Gate { .. } => "address-gate",
        Self::Reserved { .. } => "address-reserved",
        Self::Outside => "address-outside",
        Self::NotUnicast => "address-not-unicast",
        Self::HostBits => "address-host-bits",
        Self::Repeated => "address-repeated",
    }
    crate::enrol::EnrolFault {
        Self::NoAddress => "enrol-no-address",
        Self::Address(error) => error.code(),
        Self::NoFreeAddress => "enrol-no-free-address",
        Self::NoTemplate => "enrol-no-template",
        Self::NoRegistrar => "enrol-no-registrar",
        Self::KnownPeer => "enrol-known-peer",
        Self::OtherGroups => "enrol-other-groups",
        Self::NoPeer => "enrol-no-peer",
        Self::AddressTaken { .. } => "enrol-address-taken",
        Self::NoToken => "enrol-no-token",
        Self::TokenLifetime => "enrol-token-lifetime",
        Self::NoFactor => "enrol-no-factor",
        Self::LastFactor => "enrol-last-factor",
        Self::CredentialTaken => "enrol-credential-taken",
        Self::WrongCode => "enrol-wrong-code",
        Self::UsedCode => "enrol-used-code",
        Self::Unreadable(..) => "enrol-unreadable",
        Self::Locked(..) => "enrol-locked",
        Self::Name => "enrol-name",
        Self::Randomness => "enrol-randomness",
        Self::Seal(error) => error.code(),
        Self::Store(error) => error.code(),
    }
    crate::enrol::ImportError {
        Self::Refused(..) => "import-refused",
        Self::Failed(error) => error.code(),
    }
    crate::policy::Gap {
        Self::Refused(error) => error.code(),
        Self::NoAuthenticator(..) => "policy-gap-no-authenticator",
        Self::OnlyPossessions(..) => "policy-gap-only-possessions",
        Self::OneFactor(..) => "policy-gap-one-factor",
        Self::Replayable(..) => "policy-gap-replayable",
        Self::NoPhishingResistantOption => "policy-gap-no-phishing-resistant-option",
        Self::Phishable(..) => "policy-gap-phishable",
        Self::Exportable(..) => "policy-gap-exportable",
        Self::Split(..) => "policy-gap-split",
        Self::MaxAge { .. } => "policy-gap-max-age",
        Self::Inactivity { .. } => "policy-gap-inactivity",
    }
    crate::policy::PolicyFault {
        Self::NoFactor => "policy-no-factor",
        Self::EmptyStep { .. } => "policy-empty-step",
        Self::Twice { .. } => "policy-twice",
        Self::Kind { .. } => "policy-kind",
        Self::TooManySteps => "policy-too-many-steps",
        Self::TooManyKinds { .. } => "policy-too-many-kinds",
        Self::Stuck { .. } => "policy-stuck",
        Self::Unprovable { .. } => "policy-unprovable",
        Self::Zero { .. } => "policy-zero",
        Self::TooMany { .. } => "policy-too-many",
        Self::TooLong => "policy-too-long",
        Self::TooLongFor { .. } => "policy-too-long-for",
        Self::TooManyFailures => "policy-too-many-failures",
        Self::Unwritable => "policy-unwritable",
        Self::GroupTwice { .. } => "policy-group-twice",
        Self::Group { .. } => "policy-group",
    }
    crate::policy::LoadFault {
        Self::Unreadable { .. } => "policy-file-unreadable",
        Self::Invalid { .. } => "policy-file-invalid",
        Self::NoTable { .. } => "policy-file-no-table",
    }
    crate::policy::Unmet {
        Self::Property(..) => "requirement-property",
        Self::Age(..) => "requirement-age",
    }
    crate::policy::WindowFault {
        Self::NoDay => "hours-no-day",
        Self::Empty => "hours-empty",
        Self::From => "hours-from",
    }
    crate::policy::TimeFault {
        Self::Time => "invalid-time-of-day",
        Self::Offset => "invalid-offset",
    }
    #[cfg(feature = "runtime")]
    crate::runtime::StartFault {
        Self::Policy(error) => error.code(),
        Self::NoVerifier { .. } => "start-no-verifier",
        Self::Store(error) => error.code(),
        Self::OlderStore { .. } => "start-older-store",
        Self::HeadFile(error) => error.code(),
        Self::WrongKeyRing(..) => "start-wrong-key-ring",
        Self::Interface(error) => error.code(),
        Self::NoInterface => "start-no-interface",
        Self::NotReconciled => "start-not-reconciled",
        Self::Panicked => "start-panicked",
    }
    #[cfg(all(feature = "runtime", feature = "sqlite"))]
    crate::runtime::OpenFault {
        Self::InUse { .. } => "folder-in-use",
        Self::Exposed { .. } => "folder-exposed",
        Self::Owner { .. } => "folder-owner",
        Self::Missing { .. } => "folder-missing-key",
        Self::File { .. } => "folder-file",
        Self::Key { .. } => "folder-key",
        Self::Ring(error) => error.code(),
        Self::Store(error) => error.code(),
        Self::Randomness => "folder-randomness",
    }
    #[cfg(feature = "runtime")]
    crate::runtime::ChangeFault {
        Self::Policy(error) => error.code(),
        Self::NoVerifier { .. } => "policy-change-no-verifier",
        Self::Closed => "policy-change-gate-closed",
        Self::Store(error) => error.code(),
        Self::Unavailable => "policy-change-unavailable",
    }
    #[cfg(feature = "runtime")]
    crate::runtime::RevokeError {
        Self { .. } => "revoke-failed",
    }
    crate::seal::ParseKeyIdError {
        Self { .. } => "invalid-key-id",
    }
    crate::seal::ParseRingKeyError {
        Self { .. } => "invalid-ring-key",
    }
    crate::seal::SealFault {
        Self::Randomness(..) => "seal-randomness",
        Self::TooLong => "seal-too-long",
        Self::UnknownKey { .. } => "seal-unknown-key",
        Self::Altered => "seal-altered",
        Self::UnknownVersion { .. } => "seal-unknown-version",
        Self::Malformed => "seal-malformed",
    }
    crate::seal::KeyRingFault {
        Self::Exposed { .. } => "key-ring-exposed",
        Self::Unreadable { .. } => "key-ring-unreadable",
        Self::Unwritable { .. } => "key-ring-unwritable",
        Self::Empty => "key-ring-empty",
        Self::NotAPair { .. } => "key-ring-not-a-pair",
        Self::Id { .. } => "key-ring-id",
        Self::Key { .. } => "key-ring-key",
        Self::Duplicate { .. } => "key-ring-duplicate",
    }
    crate::store::keyed::BackendError {
        Self { .. } => "store-backend",
    }
    crate::store::StoreError {
        Self::UnknownUser => "store-unknown-user",
        Self::Conflict => "store-conflict",
        Self::AddressTaken { .. } => "store-address-taken",
        Self::CredentialTaken => "store-credential-taken",
        Self::LastFactor => "store-last-factor",
        Self::Refused { .. } => "store-refused",
        Self::Replaced => "store-replaced",
        Self::Corrupt { .. } => "store-corrupt",
        Self::Backend(..) => "store-failed",
    }
    #[cfg(feature = "sqlite")]
    crate::store::sqlite::SqliteFault {
        Self::Full => "sqlite-full",
        Self::ReadOnly => "sqlite-read-only",
        Self::CannotOpen => "sqlite-cannot-open",
        Self::NotAStore => "sqlite-not-a-store",
        Self::NewerSchema { .. } => "sqlite-newer-schema",
        Self::Busy => "sqlite-busy",
        Self::Replaced => "sqlite-replaced",
        Self::Damaged => "sqlite-damaged",
        Self::Overloaded => "sqlite-overloaded",
        Self::Closed => "sqlite-closed",
        Self::Panicked => "sqlite-panicked",
        Self::TransactionLost => "sqlite-transaction-lost",
        Self::NoThread(..) => "sqlite-no-thread",
        Self::Engine(..) => "sqlite-failed",
    }
}
