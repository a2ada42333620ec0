//! Codes, secrets and the URI, against the RFC and against `oathtool`.

mod verifier;

use proptest::prelude::*;

use super::*;

/// RFC 6238, Appendix B: the secret is the ASCII digits, as long as the hash.
fn rfc_secret(algorithm: HashAlgorithm, len: usize) -> TotpSecret {
    let secret = b"1234567890".iter().copied().cycle().take(len).collect();
    TotpSecret::new(secret, algorithm, 8, 30).unwrap()
}

#[test]
fn the_codes_of_rfc_6238_appendix_b_come_out() {
    let sha1 = rfc_secret(HashAlgorithm::Sha1, 20);
    let sha256 = rfc_secret(HashAlgorithm::Sha256, 32);
    let sha512 = rfc_secret(HashAlgorithm::Sha512, 64);
    for (secs, one, two, three) in [
        (59, "94287082", "46119246", "90693936"),
        (1_111_111_109, "07081804", "68084774", "25091201"),
        (1_111_111_111, "14050471", "67062674", "99943326"),
        (1_234_567_890, "89005924", "91819424", "93441116"),
        (2_000_000_000, "69279037", "90698825", "38618901"),
        (20_000_000_000, "65353130", "77737706", "47863826"),
    ] {
        let at = Timestamp::from_millis(secs * 1000);
        for (secret, code) in [(&sha1, one), (&sha256, two), (&sha512, three)] {
            assert_eq!(secret.code(at).unwrap().expose_secret(), code, "{secs}");
        }
    }
}

#[test]
fn one_step_of_skew_each_way_is_accepted_and_no_more() {
    let secret = TotpSecret::generate().unwrap();
    let at = Timestamp::from_millis(1_767_225_615_000);
    let step = secret.step(at);
    for (offset, expected) in [
        (-2, None),
        (-1, Some(step - 1)),
        (0, Some(step)),
        (1, Some(step + 1)),
        (2, None),
    ] {
        let then = at.as_millis().checked_add_signed(offset * 30_000).unwrap();
        let code = secret.code(Timestamp::from_millis(then)).unwrap();
        assert_eq!(secret.check(&code, at).unwrap(), expected, "{offset}");
    }
}

/// Steps of `1234567890…` that share a code, two neighbours and two with one between, found by
/// search.
const NEIGHBOURS: [u64; 2] = [59_061_240, 59_061_241];
const ONE_APART: [u64; 2] = [58_261_606, 58_261_608];

fn start_of(step: u64) -> Timestamp {
    Timestamp::from_millis(step * 30_000)
}

#[test]
fn a_code_that_steps_share_takes_the_greatest_of_them() {
    let secret = b"12345678901234567890".to_vec();
    let secret = TotpSecret::new(secret, HashAlgorithm::Sha1, 6, 30).unwrap();
    for [first, last] in [NEIGHBOURS, ONE_APART] {
        let code = secret.code(start_of(first)).unwrap();
        assert_eq!(code, secret.code(start_of(last)).unwrap());
        for now in first - 1..=last + 1 {
            let in_reach = |step: u64| step.abs_diff(now) <= 1;
            let expected = [last, first].into_iter().find(|step| in_reach(*step));
            assert_eq!(secret.check(&code, start_of(now)).unwrap(), expected);
        }
    }
}

/// What the program `oathtool` makes of the same secret at the same time.
fn oathtool(secret: &TotpSecret, hash: &str, at: u64) -> String {
    let output = std::process::Command::new("oathtool")
        .args([format!("--totp={hash}"), format!("--now=@{at}")])
        .arg(format!("--digits={}", secret.digits))
        .arg(format!("--time-step-size={}s", secret.period))
        .args(["--base32", &secret.expose_base32()])
        .output()
        .expect("oathtool is needed: install the package `oathtool`");
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn codes_agree_with_oathtool(
        secret in prop::collection::vec(any::<u8>(), 16..=64),
        (algorithm, hash) in prop::sample::select(vec![
            (HashAlgorithm::Sha1, "sha1"),
            (HashAlgorithm::Sha256, "sha256"),
            (HashAlgorithm::Sha512, "sha512"),
        ]),
        digits in 6_u8..=8,
        period in prop_oneof![Just(30_u16), 1..=u16::MAX],
        at in 0_u64..=253_402_300_799, // the end of the year 9999
    ) {
        let secret = TotpSecret::new(secret, algorithm, digits, period).unwrap();
        let code = secret.code(Timestamp::from_millis(at * 1000)).unwrap();
        prop_assert_eq!(code.expose_secret(), oathtool(&secret, hash, at));
    }
}

#[test]
fn the_ends_of_time_have_codes_too() {
    let secret = rfc_secret(HashAlgorithm::Sha1, 20);
    for at in [0, u64::MAX].map(Timestamp::from_millis) {
        let code = secret.code(at).unwrap();
        assert_eq!(secret.check(&code, at).unwrap(), Some(secret.step(at)));
    }
}

#[test]
fn a_secret_reads_back_and_nothing_else_reads_as_one() {
    let secret = TotpSecret::generate().unwrap();
    let back = TotpSecret::from_secret(&secret.to_secret()).unwrap();
    assert_eq!(back.expose_base32(), secret.expose_base32());
    for bytes in [
        vec![],
        vec![1],
        vec![1, 1, 6, 0, 30, 1, 2],
        vec![2; 40],
        vec![1, 9, 6, 0, 30],
    ] {
        assert!(TotpSecret::from_secret(&SecretBytes::new(bytes)).is_err());
    }
}

/// What a camera reads from a terminal that shows bright text on a dark ground.
fn scanned(drawing: &str) -> String {
    const SIZE: usize = 4; // pixels a module
    let lines: Vec<Vec<char>> = drawing.lines().map(|line| line.chars().collect()).collect();
    let is_bright = |x: usize, y: usize| match (lines[y / 2][x], y % 2) {
        (' ', _) | ('▀', 1) | ('▄', 0) => false,
        ('█', _) | ('▀', 0) | ('▄', 1) => true,
        (other, _) => panic!("{other:?} is no part of a QR code"),
    };
    let (width, height) = (lines[0].len() * SIZE, lines.len() * 2 * SIZE);
    let mut picture = rqrr::PreparedImage::prepare_from_greyscale(width, height, |x, y| {
        u8::from(is_bright(x / SIZE, y / SIZE)) * 255
    });
    let codes = picture.detect_grids();
    assert_eq!(codes.len(), 1, "one QR code");
    codes[0].decode().unwrap().1
}

#[test]
fn the_uri_is_what_authenticator_apps_read_and_fits_a_qr_code() {
    let secret = TotpSecret::new(vec![0; 20], HashAlgorithm::Sha1, 6, 30).unwrap();
    let uri = secret.expose_uri("Example", "alice@example.org").unwrap();
    assert!(
        uri.starts_with("otpauth://totp/Example:alice%40example.org?"),
        "{}",
        *uri
    );
    assert!(uri.contains("secret=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"));
    assert_eq!(scanned(&qr_for_terminal(&uri).unwrap()), *uri);
    assert!(secret.expose_uri("a:b", "alice").is_err());
    assert_eq!(format!("{secret:?}"), "TotpSecret([redacted])");
}
