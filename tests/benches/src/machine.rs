//! `machine.…`: what the machine's own primitives cost. No targets: these are what other rows are
//! compared with.

use std::path::Path;

use crate::floor::{self, Error};
use crate::measure::{Pair, micros};
use crate::report::{Report, Target};

/// Where files are written to measure the disk: beside the report, on the project's own disk.
const FOLDER: &str = "target/bench";

/// Measures what is wanted of this subject.
pub(crate) fn rows(report: &mut Report) -> Result<(), Error> {
    if !report.wants("machine.") {
        return Ok(());
    }
    let spans = [
        (
            "machine.fdatasync_p50",
            floor::fdatasync_p50(Path::new(FOLDER))?,
        ),
        ("machine.x25519_openssl", floor::x25519_openssl()?),
        ("machine.x25519_aws_lc", floor::x25519_aws_lc()?),
        ("machine.x_wing_encapsulate", floor::x_wing_encapsulate()),
        ("machine.ml_kem_encapsulate", floor::ml_kem_encapsulate()?),
        ("machine.chacha20poly1305_1k", floor::chacha20poly1305(1024)),
        ("machine.blake2s_64", floor::blake2s(64)),
        ("machine.hmac_sha1", floor::hmac_sha1()?),
    ];
    for (name, span) in spans {
        report.add(name, micros(span), "µs", Target::Lower);
    }
    let x25519 = Pair::take(
        51,
        50,
        floor::x25519_dalek_call(),
        floor::x25519_aws_lc_call()?,
    );
    report.add(
        "machine.x25519_dalek_to_aws_lc",
        x25519.ratio(),
        "ratio",
        Target::Lower,
    );
    Ok(())
}
