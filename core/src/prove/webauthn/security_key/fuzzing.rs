//! What the fuzz target calls: a security key that says whatever it likes. Not a part of the crate
//! as it is built elsewhere.

use std::collections::VecDeque;
use std::io;
use std::time::Duration;

use passkey_transports::hid::{ChannelHandler, Command, Message};
use zeroize::Zeroizing;

use super::hid::{CAN_CBOR, PACKET, Packets};
use super::{Holder, SecurityKey};
use crate::channel::message::Answer;

pub(super) const RP: &str = "gate.example.com";
pub(super) const CHANNEL: [u8; 4] = [1, 2, 3, 4];

/// What the gate asks to sign in, and to enrol.
pub(super) const GET: &str = include_str!("fuzzing/get.json");
pub(super) const CREATE: &str = include_str!("fuzzing/create.json");

/// What comes of a key that gives us a channel and then says these packets: an answer to an
/// enrolment or to a sign-in, as the first byte has it.
pub fn answer(bytes: &[u8]) -> Option<Answer> {
    let (is_enrolment, said) = bytes.split_first()?;
    let device = Scripted {
        arriving: ChannelHandler::default(),
        leaving: VecDeque::new(),
        said: said.to_vec().into(),
    };
    let mut key = SecurityKey::over(RP, &NoHolder, Box::new(device));
    if *is_enrolment == 0 {
        key.get(GET).ok()
    } else {
        key.create(CREATE).ok()
    }
}

/// Has no PIN to give.
struct NoHolder;

impl Holder for NoHolder {
    fn pin(&self) -> Option<Zeroizing<String>> {
        None
    }

    fn touch(&self) {}
}

struct Scripted {
    arriving: ChannelHandler,
    leaving: VecDeque<[u8; PACKET]>,
    said: VecDeque<u8>,
}

impl Packets for Scripted {
    fn write(&mut self, packet: &[u8; PACKET]) -> io::Result<()> {
        let Some(message) = self.arriving.handle_packet(packet) else {
            return Ok(());
        };
        if matches!(message.command, Command::Init) {
            let channel = [&message.payload[..], &CHANNEL, &[2, 0, 0, 0, CAN_CBOR]].concat();
            let given = Message::new(message.channel, Command::Init, &channel);
            let given = given.map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
            given.send(&mut Wire(&mut self.leaving))?;
        }
        Ok(())
    }

    fn read(&mut self, _: Duration) -> io::Result<Option<[u8; PACKET]>> {
        if let Some(given) = self.leaving.pop_front() {
            return Ok(Some(given));
        }
        let said: Vec<u8> = self.said.drain(..self.said.len().min(PACKET)).collect();
        Ok(said.try_into().ok())
    }
}

/// Packets as [`Message::send`] writes them.
pub(super) struct Wire<'a>(pub(super) &'a mut VecDeque<[u8; PACKET]>);

impl io::Write for Wire<'_> {
    fn write(&mut self, packet: &[u8]) -> io::Result<usize> {
        let packet = packet
            .try_into()
            .map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
        self.0.push_back(packet);
        Ok(PACKET)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
