//! `interface.…`: what it costs to put peers on an interface and to take them off.

use std::net::IpAddr;
use std::time::Duration;

use mfagate::interface::netstack::Netstack;
use mfagate::interface::{InterfaceBackend, PeerConfig};
use mfagate::key::{PresharedKey, PrivateKey, PublicKey};

use crate::floor::Error;
use crate::measure::{Samples, micros, time_async};
use crate::report::{Report, Target};

/// Peers on the interface already, the fewest and the most.
const FEW: u32 = 1;
const MANY: u32 = 10_000;
/// Peers that come and go on top of them, one at a time.
const ON_TOP: u32 = 500;

/// Measures what is wanted of this subject.
pub(crate) fn rows(report: &mut Report) -> Result<(), Error> {
    if !report.wants("interface.in_process") {
        return Ok(());
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let (few, many) = runtime
        .block_on(async { Ok::<_, Error>((in_process(FEW).await?, in_process(MANY).await?)) })?;
    for (name, few, many) in [("install", few.0, many.0), ("remove", few.1, many.1)] {
        report.add(
            format!("interface.in_process_{name}_10k"),
            micros(many),
            "µs",
            Target::Lower,
        );
        report.add(
            format!("interface.in_process_{name}_10k_to_1"),
            many.as_secs_f64() / few.as_secs_f64(),
            "ratio",
            Target::AtMost(3.0),
        );
    }
    Ok(())
}

/// What one more peer takes to install and to remove, at the median.
async fn in_process(already: u32) -> Result<(Duration, Duration), Error> {
    let interface = Netstack::builder(PrivateKey::generate()?)
        .listen("127.0.0.1:0".parse()?)
        .address("10.0.0.1/8".parse()?)
        .build()
        .await?;
    interface.install((0..already).map(peer).collect()).await?;
    let (mut installs, mut removals) = (Vec::new(), Vec::new());
    for number in already..already + ON_TOP {
        let peer = peer(number);
        let key = peer.key;
        let (took, installed) = time_async(interface.install(vec![peer])).await;
        installed?;
        installs.push(took);
        let (took, removed) = time_async(interface.remove(&[key])).await;
        removed?;
        removals.push(took);
    }
    Ok((
        Samples::of(installs).median(),
        Samples::of(removals).median(),
    ))
}

fn peer(number: u32) -> PeerConfig {
    let mut key = [0; 32];
    key[..4].copy_from_slice(&number.wrapping_mul(0x9E37_79B1).to_be_bytes());
    key[4..8].copy_from_slice(&number.to_be_bytes());
    let [_, a, b, c] = number.to_be_bytes();
    let address = IpAddr::from([10, a + 1, b, c]);
    let psk = PresharedKey::from_bytes([7; 32]);
    PeerConfig::new(PublicKey::from_bytes(key), Some(psk), vec![address.into()])
}
