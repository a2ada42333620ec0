use ipnet::IpNet;
use proptest::prelude::*;

use super::*;
use crate::assurance::FactorKind;
use crate::id::{FactorId, LocationId, SessionId, UserId};
use crate::key::PublicKey;
use crate::time::Timestamp;

fn id(text: &str) -> KeyId {
    text.parse().unwrap()
}

fn ring() -> KeyRing {
    KeyRing::new(id("2026-11"), RingKey::from_bytes([7; 32]))
}

/// A row whose fields can be changed one by one.
#[derive(Debug, Clone, PartialEq)]
struct SessionRow {
    id: SessionId,
    location: LocationId,
    peer: PublicKey,
    user: UserId,
    allowed_ips: Vec<IpNet>,
    verified_at: Timestamp,
    not_after: Timestamp,
    renewable_until: Timestamp,
    factors: Vec<FactorId>,
}

impl SessionRow {
    fn row(&self) -> AssociatedData<'_> {
        AssociatedData::Session {
            id: &self.id,
            location: &self.location,
            peer: &self.peer,
            user: &self.user,
            allowed_ips: &self.allowed_ips,
            verified_at: self.verified_at,
            not_after: self.not_after,
            renewable_until: self.renewable_until,
            factors: &self.factors,
        }
    }
}

fn session_row() -> impl Strategy<Value = SessionRow> {
    let net = prop_oneof![
        (any::<[u8; 4]>(), 0..=32u8).prop_map(|(addr, len)| IpNet::new(addr.into(), len).unwrap()),
        (any::<[u8; 16]>(), 0..=128u8)
            .prop_map(|(addr, len)| IpNet::new(addr.into(), len).unwrap()),
    ];
    (
        any::<[u8; 16]>(),
        "[a-c]{1,4}",
        any::<[u8; 32]>(),
        "[a-c]{1,4}",
        prop::collection::vec(net, 0..3),
        any::<u64>(),
        any::<u64>(),
        prop::option::of(any::<u64>()),
        prop::collection::vec(any::<[u8; 16]>().prop_map(FactorId::from_bytes), 0..3),
    )
        .prop_map(
            |(id, location, peer, user, allowed_ips, verified_at, not_after, until, factors)| {
                SessionRow {
                    id: SessionId::from_bytes(id),
                    location: location.parse().unwrap(),
                    peer: PublicKey::from_bytes(peer),
                    user: user.parse().unwrap(),
                    allowed_ips,
                    verified_at: Timestamp::from_millis(verified_at),
                    not_after: Timestamp::from_millis(not_after),
                    renewable_until: Timestamp::from_millis(until.unwrap_or(not_after)),
                    factors,
                }
            },
        )
}

/// The row with one field of the other's.
fn with_one_field_of(row: &SessionRow, other: &SessionRow, field: usize) -> SessionRow {
    let mut edited = row.clone();
    let other = other.clone();
    match field {
        0 => edited.id = other.id,
        1 => edited.location = other.location,
        2 => edited.peer = other.peer,
        3 => edited.user = other.user,
        4 => edited.allowed_ips = other.allowed_ips,
        5 => edited.verified_at = other.verified_at,
        6 => edited.not_after = other.not_after,
        7 => edited.renewable_until = other.renewable_until,
        _ => edited.factors = other.factors,
    }
    edited
}

proptest! {
    #[test]
    fn what_was_sealed_opens_for_its_row(
        row in session_row(),
        secret in prop::collection::vec(any::<u8>(), 0..200),
    ) {
        let sealed = ring().seal(&row.row(), &secret).unwrap();
        let opened = ring().open(&row.row(), &sealed).unwrap();
        prop_assert_eq!(opened.expose_secret(), secret.as_slice());
    }

    #[test]
    fn an_envelope_with_any_bit_flipped_does_not_open(
        row in session_row(),
        at in any::<prop::sample::Index>(),
        bit in 0..8u8,
    ) {
        let sealed = ring().seal(&row.row(), b"a preshared key, say").unwrap();
        let mut bytes = sealed.as_bytes().to_vec();
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        prop_assert!(ring().open(&row.row(), &Sealed::from_bytes(bytes)).is_err());
    }

    #[test]
    fn a_cut_or_random_envelope_is_an_error_and_no_panic(
        row in session_row(),
        noise in prop::collection::vec(any::<u8>(), 0..100),
        keep in any::<prop::sample::Index>(),
    ) {
        let sealed = ring().seal(&row.row(), b"secret").unwrap();
        let cut = sealed.as_bytes()[..keep.index(sealed.as_bytes().len())].to_vec();
        prop_assert!(ring().open(&row.row(), &Sealed::from_bytes(cut)).is_err());
        prop_assert!(ring().open(&row.row(), &Sealed::from_bytes(noise)).is_err());
    }

    #[test]
    fn a_row_with_any_field_edited_does_not_open(
        row in session_row(),
        other in session_row(),
        field in 0..9usize,
    ) {
        let edited = with_one_field_of(&row, &other, field);
        prop_assume!(edited != row);
        let sealed = ring().seal(&row.row(), b"secret").unwrap();
        prop_assert_eq!(ring().open(&edited.row(), &sealed).unwrap_err(), SealError(SealFault::Altered));
    }

    #[test]
    fn different_rows_have_different_encodings(row in session_row(), other in session_row()) {
        let encode = |row: &SessionRow| {
            let mut bytes = Vec::new();
            row.row().encode(&mut bytes);
            bytes
        };
        prop_assert_eq!(encode(&row) == encode(&other), row == other);
    }
}

#[test]
fn names_that_read_alike_side_by_side_are_different_rows() {
    let factor = FactorId::from_bytes([1; 16]);
    let (ab, a): (UserId, UserId) = ("ab".parse().unwrap(), "a".parse().unwrap());
    let (c, bc) = (FactorKind::new("c"), FactorKind::new("bc"));
    let row = |user, kind| AssociatedData::Factor {
        id: &factor,
        user,
        kind,
    };
    let sealed = ring().seal(&row(&ab, &c), b"secret").unwrap();

    let opened = ring().open(&row(&a, &bc), &sealed);

    assert_eq!(opened.unwrap_err(), SealError(SealFault::Altered));
}

#[test]
fn a_wider_net_a_later_end_and_other_factors_do_not_open() {
    let row = SessionRow {
        id: SessionId::from_bytes([1; 16]),
        location: "office".parse().unwrap(),
        peer: PublicKey::from_bytes([2; 32]),
        user: "alice".parse().unwrap(),
        allowed_ips: vec!["10.0.0.2/32".parse().unwrap()],
        verified_at: Timestamp::from_millis(1000),
        not_after: Timestamp::from_millis(2000),
        renewable_until: Timestamp::from_millis(3000),
        factors: vec![FactorId::from_bytes([3; 16])],
    };
    let sealed = ring().seal(&row.row(), b"psk").unwrap();
    let mut wider = row.clone();
    wider.allowed_ips = vec!["10.0.0.2/31".parse().unwrap()];
    let mut more = row.clone();
    more.allowed_ips.push("10.0.0.3/32".parse().unwrap());
    let mut later = row.clone();
    later.not_after = Timestamp::from_millis(2001);
    let mut renewable = row.clone();
    renewable.renewable_until = Timestamp::from_millis(3001);
    let mut unrenewable = row.clone();
    unrenewable.renewable_until = unrenewable.not_after;
    let mut other = row.clone();
    other.factors = vec![FactorId::from_bytes([4; 16])];
    let mut unnamed = row.clone();
    unnamed.factors.clear();

    for edited in [wider, more, later, renewable, unrenewable, other, unnamed] {
        let opened = ring().open(&edited.row(), &sealed);
        assert_eq!(
            opened.unwrap_err(),
            SealError(SealFault::Altered),
            "{edited:?}"
        );
    }
}

fn factor_row() -> (FactorId, UserId) {
    (FactorId::from_bytes([3; 16]), "alice".parse().unwrap())
}

#[test]
fn an_older_key_opens_and_the_active_one_seals() {
    let (factor, user) = factor_row();
    let row = AssociatedData::Factor {
        id: &factor,
        user: &user,
        kind: &FactorKind::TOTP,
    };
    let old = ring().seal(&row, b"secret").unwrap();
    let rotated = KeyRing::new(id("2027-11"), RingKey::from_bytes([8; 32]))
        .with_older(id("2026-11"), RingKey::from_bytes([7; 32]));

    let opened = rotated.open(&row, &old).unwrap();
    let new = rotated.seal(&row, opened.expose_secret()).unwrap();

    assert_eq!(opened.expose_secret(), b"secret");
    assert!(!rotated.is_current(&old) && rotated.is_current(&new));
    assert_eq!(
        ring().open(&row, &new).unwrap_err().to_string(),
        "sealed with the ring key \"2027-11\", which is not on the key ring: \
         put that key back as an older one"
    );
}

#[test]
fn another_key_under_the_same_id_does_not_open() {
    let (factor, user) = factor_row();
    let row = AssociatedData::Factor {
        id: &factor,
        user: &user,
        kind: &FactorKind::TOTP,
    };
    let sealed = ring().seal(&row, b"secret").unwrap();
    let other = KeyRing::new(id("2026-11"), RingKey::from_bytes([8; 32]));
    assert_eq!(
        other.open(&row, &sealed).unwrap_err(),
        SealError(SealFault::Altered)
    );
    let unchanged = other.with_older(id("2026-11"), RingKey::from_bytes([7; 32]));
    assert_eq!(
        unchanged.open(&row, &sealed).unwrap_err(),
        SealError(SealFault::Altered)
    );
}

#[test]
fn the_same_secret_never_seals_to_the_same_bytes() {
    let (factor, user) = factor_row();
    let row = AssociatedData::Factor {
        id: &factor,
        user: &user,
        kind: &FactorKind::TOTP,
    };
    let seal = || ring().seal(&row, b"secret").unwrap();
    assert_ne!(seal(), seal());
}

/// The envelope and its associated data are what rows in the field were sealed with: this one was
/// made by the first version and must open forever.
#[test]
fn an_envelope_of_version_1_still_opens() {
    let (factor, user) = factor_row();
    let row = AssociatedData::Factor {
        id: &factor,
        user: &user,
        kind: &FactorKind::TOTP,
    };
    let sealed = data_encoding::HEXLOWER
        .decode(VERSION_1_ENVELOPE.as_bytes())
        .map(Sealed::from_bytes)
        .unwrap();
    let opened = ring().open(&row, &sealed).unwrap();
    assert_eq!(opened.expose_secret(), b"a secret of version 1");
}

const VERSION_1_ENVELOPE: &str = concat!(
    "0107323032362d3131282155aacf1112b03733b1755e53cc335b5bad2759a41293396ae11111bccc",
    "6e332975f002ff1c00195978ed92ccb968bc7a231994720895d473e2d64a",
);

#[test]
fn keys_and_secrets_never_print() {
    let key = RingKey::from_bytes([7; 32]);
    let shown = format!("{:?} {:?} {:?}", key, ring(), SecretBytes::new(vec![7; 4]));
    assert!(!shown.contains('7') || !shown.contains("7, 7"), "{shown}");
    assert!(!shown.contains(key.expose_base64().as_str()), "{shown}");
    assert_eq!(shown.matches("redacted").count(), 3);
}

#[test]
fn a_ring_reads_back_as_it_was_written() {
    let ring = ring().with_older(id("old"), RingKey::from_bytes([9; 32]));
    let text = ring.expose_lines();

    let read: KeyRing = text.parse().unwrap();

    assert_eq!(*read.expose_lines(), *text);
    assert_eq!(read.active(), &id("2026-11"));
}

#[test]
fn a_ring_that_is_not_one_says_which_line_and_repeats_no_key() {
    let key = RingKey::from_bytes([9; 32]).expose_base64().to_string();
    let cases = [
        (String::new(), "holds no key"),
        ("# nothing\n\n".to_owned(), "holds no key"),
        (key.clone(), "line 1 of the key ring: expected `<id>"),
        (
            format!("# x\nid {key}=\n"),
            "line 2 of the key ring: not a ring key",
        ),
        (
            format!("i/d {key}\n"),
            "line 1 of the key ring: a key id is",
        ),
        (format!("id {}\n", &key[4..]), "not a ring key"),
        (
            format!("id {key}\nid {key}\n"),
            "line 2 of the key ring: the id \"id\"",
        ),
    ];
    for (text, expected) in cases {
        let error = text.parse::<KeyRing>().unwrap_err();
        let shown = format!("{error} {error:?}");
        assert!(shown.contains(expected), "{text:?}: {shown}");
        assert!(!shown.contains(&key[..20]), "{shown}");
    }
}

#[cfg(unix)]
#[test]
fn a_ring_that_others_may_read_is_refused_with_what_to_do() {
    use std::os::unix::fs::PermissionsExt;
    let dir = TempDir::new();
    let path = dir.0.join("ring");
    ring().write_new(&path).unwrap();
    assert_eq!(KeyRing::read(&path).unwrap().active(), &id("2026-11"));

    for mode in [0o640, 0o604, 0o620, 0o644] {
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        let error = KeyRing::read(&path).unwrap_err();
        assert!(matches!(error, KeyRingError(KeyRingFault::Exposed { mode: m, .. }) if m == mode));
        assert!(error.to_string().contains("run `chmod 600 "), "{error}");
    }
}

#[test]
fn a_rotated_ring_opens_old_envelopes_and_replaces_the_file() {
    let dir = TempDir::new();
    let path = dir.0.join("ring");
    ring().write_new(&path).unwrap();
    let before = KeyRing::read(&path).unwrap();
    let row = SessionRow {
        id: SessionId::from_bytes([1; 16]),
        location: "office".parse().unwrap(),
        peer: PublicKey::from_bytes([2; 32]),
        user: "ada".parse().unwrap(),
        allowed_ips: Vec::new(),
        verified_at: Timestamp::from_millis(1),
        not_after: Timestamp::from_millis(2),
        renewable_until: Timestamp::from_millis(3),
        factors: Vec::new(),
    };
    let row = row.row();
    let sealed = before.seal(&row, b"secret").unwrap();

    before.rotated().unwrap().replace(&path).unwrap();
    let both = KeyRing::read(&path).unwrap();
    assert!(!both.is_current(&sealed));
    let opened = both.open(&row, &sealed).unwrap();
    assert_eq!(opened.expose_secret(), b"secret");
    let resealed = both.seal(&row, b"secret").unwrap();

    both.without_older().replace(&path).unwrap();
    let new = KeyRing::read(&path).unwrap();
    assert!(matches!(
        new.open(&row, &sealed),
        Err(SealError(SealFault::UnknownKey { .. }))
    ));
    assert!(new.open(&row, &resealed).is_ok());
    let files = std::fs::read_dir(&dir.0).unwrap().count();
    assert_eq!(files, 1, "nothing is left beside it");
}

#[test]
fn a_ring_is_never_overwritten_by_mistake() {
    let dir = TempDir::new();
    let path = dir.0.join("ring");
    ring().write_new(&path).unwrap();
    let again = KeyRing::new(id("new"), RingKey::generate().unwrap()).write_new(&path);
    assert!(matches!(
        again,
        Err(KeyRingError(KeyRingFault::Unwritable { .. }))
    ));
    assert_eq!(KeyRing::read(&path).unwrap().active(), &id("2026-11"));
}

struct TempDir(std::path::PathBuf);

impl TempDir {
    fn new() -> Self {
        let name = SessionId::generate().unwrap().to_string();
        let path = std::env::temp_dir().join(format!("mfagate-{name}"));
        std::fs::create_dir(&path).unwrap();
        Self(path)
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
