//! One netlink socket to nftables. It blocks, so it lives on a thread of its own.

use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use netlink_packet_core::{
    ErrorBuffer, NLM_F_DUMP_INTR, NLMSG_DONE, NLMSG_ERROR, NetlinkBuffer, parse_i32,
};
use rustix::io::Errno;
use rustix::net::netlink::{self, SocketAddrNetlink};
use rustix::net::{self, AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, sockopt};

use super::message::{Ask, Attributes, Messages};

/// Longer than any answer: a refusal repeats the message that it refuses.
const BUFFER: usize = 128 * 1024;
/// The kernel answers at once or not at all.
const PATIENCE: Duration = Duration::from_secs(5);
/// How often a listing is begun again because the tables changed meanwhile.
const DUMPS: u32 = 20;
/// Family, version and resource id, ahead of the attributes.
const NFGENMSG: usize = 4;

/// The kernel did not do as asked.
#[derive(Debug)]
pub(super) enum Trouble {
    /// It said why.
    Refused(Errno),
    /// Its answer was lost or cut short: what it did is not known.
    Unanswered,
}

#[derive(Debug)]
pub(super) struct Connection {
    socket: OwnedFd,
    next: u32,
    buffer: Vec<u8>,
}

impl Connection {
    /// Opens a socket in the network namespace of this thread.
    pub(super) fn open() -> io::Result<Self> {
        let kernel = SocketAddrNetlink::new(0, 0);
        let socket = net::socket_with(
            AddressFamily::NETLINK,
            SocketType::RAW,
            SocketFlags::CLOEXEC,
            Some(netlink::NETFILTER),
        )?;
        net::bind(&socket, &kernel)?;
        // Connected, it takes nothing from other processes.
        net::connect(&socket, &kernel)?;
        sockopt::set_socket_timeout(&socket, sockopt::Timeout::Recv, Some(PATIENCE))?;
        Ok(Self {
            socket,
            next: 1,
            buffer: vec![0; BUFFER],
        })
    }

    /// Messages to be sent next.
    pub(super) const fn messages(&self) -> Messages {
        Messages::from_sequence(self.next)
    }

    /// Sends a transaction and reads what the kernel says of each of its messages. All of it was
    /// done, or an error comes back.
    pub(super) fn transact(&mut self, messages: &Messages) -> Result<(), Trouble> {
        self.send(messages)?;
        // Neither end of a transaction is answered, unless it fails as a whole.
        let unanswered = messages.sequences().len().saturating_sub(2);
        self.settle(messages, unanswered)
    }

    /// Sends one message and reads what the kernel says of it.
    pub(super) fn ask(
        &mut self,
        ask: Ask,
        attributes: impl FnOnce(&mut Attributes<'_>),
    ) -> Result<(), Trouble> {
        let mut messages = self.messages();
        messages.ask(ask, attributes);
        self.send(&messages)?;
        self.settle(&messages, 1)
    }

    /// Lists what there is: the attributes of each message that comes back.
    pub(super) fn dump(
        &mut self,
        ask: Ask,
        attributes: impl Fn(&mut Attributes<'_>),
    ) -> Result<Vec<Vec<u8>>, Trouble> {
        for _ in 0..DUMPS {
            let mut messages = self.messages();
            messages.dump(ask, &attributes);
            self.send(&messages)?;
            if let Some(found) = self.collect(&messages)? {
                return Ok(found);
            }
        }
        Err(Trouble::Unanswered)
    }

    fn send(&mut self, messages: &Messages) -> Result<(), Trouble> {
        self.next = messages.sequences().end;
        self.discard();
        let sent = again(|| net::send(&self.socket, messages.bytes(), SendFlags::empty()));
        match sent {
            Ok(length) if length == messages.bytes().len() => Ok(()),
            Ok(_) => Err(Trouble::Unanswered),
            Err(refused) => Err(Trouble::Refused(refused)),
        }
    }

    /// What is left of an earlier answer, an overrun that wasn't reported yet among it.
    fn discard(&mut self) {
        while !matches!(self.receive(RecvFlags::DONTWAIT), Err(Errno::AGAIN)) {}
    }

    /// The kernel works off a message before the call that sends it returns, so all answers are
    /// there. The first refusal is the reason; those after it are mostly its consequences.
    fn settle(&mut self, messages: &Messages, mut unanswered: usize) -> Result<(), Trouble> {
        let mut refused = None;
        loop {
            let length = match self.receive(RecvFlags::DONTWAIT) {
                Ok(length) => length,
                Err(Errno::AGAIN) => break,
                Err(_) => return Err(Trouble::Unanswered),
            };
            for answer in answers(self.buffer.get(..length).unwrap_or_default()) {
                let answer = answer?;
                let ours = messages.sequences().contains(&answer.sequence_number());
                if !ours || answer.message_type() != NLMSG_ERROR {
                    continue;
                }
                match error_code(answer.payload())? {
                    None => unanswered = unanswered.saturating_sub(1),
                    Some(code) => refused = refused.or(Some(code)),
                }
            }
        }
        match refused {
            Some(code) => Err(Trouble::Refused(code)),
            None if unanswered == 0 => Ok(()),
            None => Err(Trouble::Unanswered),
        }
    }

    /// Reads a listing to its end; `None` if the tables changed while it was made.
    fn collect(&mut self, messages: &Messages) -> Result<Option<Vec<Vec<u8>>>, Trouble> {
        let mut found = Vec::new();
        let mut is_consistent = true;
        loop {
            let length = match self.receive(RecvFlags::empty()) {
                Ok(length) => length,
                Err(_) => return Err(Trouble::Unanswered),
            };
            for answer in answers(self.buffer.get(..length).unwrap_or_default()) {
                let answer = answer?;
                if !messages.sequences().contains(&answer.sequence_number()) {
                    continue;
                }
                is_consistent &= answer.flags() & NLM_F_DUMP_INTR == 0;
                let payload = answer.payload();
                match answer.message_type() {
                    NLMSG_ERROR => return Err(refusal(error_code(payload)?)),
                    NLMSG_DONE => match payload.get(..4).map(parse_i32) {
                        None | Some(Ok(0)) => return Ok(is_consistent.then_some(found)),
                        Some(Ok(code)) => return Err(refusal(Some(errno(code)))),
                        Some(Err(_)) => return Err(Trouble::Unanswered),
                    },
                    _ => found.push(payload.get(NFGENMSG..).unwrap_or_default().to_vec()),
                }
            }
        }
    }

    fn receive(&mut self, flags: RecvFlags) -> Result<usize, Errno> {
        let (socket, buffer) = (&self.socket, &mut self.buffer);
        again(|| net::recv(socket, &mut buffer[..], flags)).map(|(length, _)| length)
    }
}

/// A signal is no answer.
fn again<T>(mut call: impl FnMut() -> Result<T, Errno>) -> Result<T, Errno> {
    loop {
        match call() {
            Err(Errno::INTR) => {}
            other => return other,
        }
    }
}

fn answers(bytes: &[u8]) -> impl Iterator<Item = Result<NetlinkBuffer<&[u8]>, Trouble>> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let Ok(answer) = NetlinkBuffer::new_checked(rest) else {
            rest = &[];
            return Some(Err(Trouble::Unanswered));
        };
        let length = usize::try_from(answer.length()).unwrap_or(usize::MAX);
        let padded = length.saturating_add(3) & !3;
        rest = rest.get(padded..).unwrap_or_default();
        Some(Ok(answer))
    })
}

/// What an answer says; `None` is success.
fn error_code(payload: &[u8]) -> Result<Option<Errno>, Trouble> {
    let error = ErrorBuffer::new_checked(payload).map_err(|_| Trouble::Unanswered)?;
    Ok(error.code().map(|code| errno(code.get())))
}

fn errno(code: i32) -> Errno {
    Errno::from_raw_os_error(code.saturating_abs())
}

/// A listing that ends in an answer instead of its end.
const fn refusal(code: Option<Errno>) -> Trouble {
    match code {
        Some(code) => Trouble::Refused(code),
        None => Trouble::Unanswered,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_that_is_cut_short_is_none() {
        let mut messages = Messages::from_sequence(1);
        messages.begin();
        messages.end();
        let bytes = messages.bytes();
        assert_eq!(answers(bytes).filter(Result::is_ok).count(), 2);
        let cut: Vec<_> = answers(&bytes[..bytes.len() - 1]).collect();
        assert!(matches!(&cut[..], [Ok(_), Err(Trouble::Unanswered)]));
        assert!(error_code(&[0, 0]).is_err());
    }
}
