//! A SOCKS5 listener (RFC 1928) for programs on this machine, by `fast-socks5`.

use std::net::SocketAddr;
use std::time::Duration;

use fast_socks5::server::Socks5ServerProtocol;
use fast_socks5::util::target_addr::TargetAddr;
use fast_socks5::{ReplyError, Socks5Command};
use tokio::net::{TcpListener, TcpStream};

use super::forward::{Forward, local_addr, relay};
use super::{Netstack, NetstackError};
use crate::log;

/// How long a program may take to say what it wants.
const GREETING_TIMEOUT: Duration = Duration::from_secs(10);

pub(super) fn serve(netstack: Netstack, listener: TcpListener) -> Result<Forward, NetstackError> {
    let (forward, stop) = Forward::new(local_addr(&listener)?);
    tokio::spawn(stop.clone().run_until_cancelled_owned(async move {
        while let Ok((host, _)) = listener.accept().await {
            let netstack = netstack.clone();
            tokio::spawn(stop.clone().run_until_cancelled_owned(async move {
                if let Err(error) = handle(&netstack, host).await {
                    let error = error.to_string();
                    log::later(move || tracing::debug!(error, "a SOCKS connection ended"));
                }
            }));
        }
    }));
    Ok(forward)
}

async fn handle(
    netstack: &Netstack,
    host: TcpStream,
) -> Result<(), fast_socks5::server::SocksServerError> {
    let greeting = async {
        let protocol = Socks5ServerProtocol::accept_no_auth(host).await?;
        protocol.read_command().await
    };
    let Ok(greeted) = tokio::time::timeout(GREETING_TIMEOUT, greeting).await else {
        return Ok(());
    };
    let (protocol, command, target) = greeted?;
    if !matches!(command, Socks5Command::TCPConnect) {
        protocol
            .reply_error(&ReplyError::CommandNotSupported)
            .await?;
        return Ok(());
    }
    // A name that is an address in words is taken; any other would have to be resolved inside.
    let target = match target {
        TargetAddr::Ip(addr) => Some(addr),
        TargetAddr::Domain(name, port) => name.parse().ok().map(|ip| SocketAddr::new(ip, port)),
    };
    let Some(target) = target else {
        protocol
            .reply_error(&ReplyError::AddressTypeNotSupported)
            .await?;
        return Ok(());
    };
    match netstack.connect(target).await {
        Ok(stream) => {
            let host = protocol.reply_success(target).await?;
            relay(stream, host).await;
        }
        Err(error) => {
            let reply = match error {
                NetstackError::Refused { .. } => ReplyError::ConnectionRefused,
                NetstackError::TimedOut { .. } => ReplyError::TtlExpired,
                NetstackError::Unroutable { .. } => ReplyError::NetworkUnreachable,
                NetstackError::AddressInUse { .. }
                | NetstackError::Exposed { .. }
                | NetstackError::Listening { .. }
                | NetstackError::Addresses
                | NetstackError::Mtu(_)
                | NetstackError::Device(_) => ReplyError::GeneralFailure,
            };
            protocol.reply_error(&reply).await?;
        }
    }
    Ok(())
}
