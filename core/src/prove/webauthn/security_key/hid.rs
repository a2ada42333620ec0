//! A security key as one speaks to it over USB: CTAPHID (CTAP 2.1, section 11.2), framed by
//! `passkey-transports`.

use std::io;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use passkey_transports::hid::{ChannelHandler, Command, Message};
use webauthn_authenticator_rs::error::WebauthnCError;
use webauthn_authenticator_rs::transport::Token;
use webauthn_authenticator_rs::ui::UiCallback;
use webauthn_rs_proto::AuthenticatorTransport;

/// How many bytes a packet has (section 11.2.4).
pub(super) const PACKET: usize = 64;

/// On which a channel is asked for (section 11.2.3).
const BROADCAST: u32 = u32::MAX;

/// A device that works on a request says so every 100 ms (section 11.2.9.2.3): one that has been
/// silent for this long is gone.
const SILENCE: Duration = Duration::from_secs(2);

/// The device can do CTAP2 (section 11.2.9.1.3).
pub(super) const CAN_CBOR: u8 = 0x04;

/// The device waits for its user to touch it.
const WAITS_FOR_TOUCH: u8 = 2;

/// What carries packets to a device and back.
pub(super) trait Packets: Send {
    fn write(&mut self, packet: &[u8; PACKET]) -> io::Result<()>;

    /// The next one; `None` when none came in time.
    fn read(&mut self, wait: Duration) -> io::Result<Option<[u8; PACKET]>>;
}

/// A device, and the channel that it gave us.
pub(super) struct HidToken<P> {
    // Never shared; the lock is for `Token`, which asks for `Sync`.
    packets: std::sync::Mutex<P>,
    channel: u32,
    deadline: Instant,
}

impl<P: Packets> HidToken<P> {
    pub(super) fn new(packets: P, deadline: Instant) -> Self {
        Self {
            packets: std::sync::Mutex::new(packets),
            channel: BROADCAST,
            deadline,
        }
    }

    fn packets(&mut self) -> &mut P {
        self.packets
            .get_mut()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn send(&mut self, command: Command, payload: &[u8]) -> Result<(), WebauthnCError> {
        let message = Message::new(self.channel, command, payload)
            .map_err(|_| WebauthnCError::MessageTooLarge)?;
        message
            .send(&mut Writer(self.packets()))
            .map_err(|error| WebauthnCError::IoError(error.to_string()))
    }

    /// Whether no one waits any more.
    #[expect(
        clippy::disallowed_methods,
        reason = "a device on this machine is waited for, and no lease hangs on it"
    )]
    fn is_over(&self) -> bool {
        Instant::now() >= self.deadline
    }

    /// The payload of the response to this command. `touch` is called once when the device waits
    /// for it.
    fn receive(
        &mut self,
        command: Command,
        mut touch: Option<&dyn Fn()>,
    ) -> Result<Vec<u8>, WebauthnCError> {
        let channel = self.channel;
        let mut arriving = ChannelHandler::default();
        while !self.is_over() {
            let packet = self
                .packets()
                .read(SILENCE)
                .map_err(|error| WebauthnCError::IoError(error.to_string()))?
                .ok_or_else(|| WebauthnCError::IoError("the device is silent".to_owned()))?;
            let Some(message) = arriving.handle_packet(&packet) else {
                continue;
            };
            // Another program's, which talks to the same device.
            if message.channel != channel {
                continue;
            }
            match message.command {
                Command::KeepAlive => {
                    if message.payload.first() == Some(&WAITS_FOR_TOUCH)
                        && let Some(touch) = touch.take()
                    {
                        touch();
                    }
                }
                Command::Err => {
                    let code = message.payload.first().copied().unwrap_or_default();
                    return Err(WebauthnCError::IoError(format!(
                        "CTAPHID error {code:#04x}"
                    )));
                }
                got if got.encode() == command.encode() => return Ok(message.payload),
                // The response to what was asked before.
                Command::Cbor
                | Command::Init
                | Command::Ping
                | Command::Cancel
                | Command::Wink
                | Command::Lock => {}
            }
        }
        // No one waits for it any more.
        self.send(Command::Cancel, &[])?;
        Err(WebauthnCError::Cancelled)
    }
}

#[async_trait]
impl<P: Packets> Token for HidToken<P> {
    type Id = ();

    fn get_transport(&self) -> AuthenticatorTransport {
        AuthenticatorTransport::Usb
    }

    async fn transmit_raw<U: UiCallback>(
        &mut self,
        cbor: &[u8],
        ui: &U,
    ) -> Result<Vec<u8>, WebauthnCError> {
        self.send(Command::Cbor, cbor)?;
        let mut response = self.receive(Command::Cbor, Some(&|| ui.request_touch()))?;
        let status = *response.first().ok_or(WebauthnCError::MessageTooShort)?;
        if status != 0 {
            return Err(WebauthnCError::Ctap(status.into()));
        }
        Ok(response.split_off(1))
    }

    async fn cancel(&mut self) -> Result<(), WebauthnCError> {
        self.send(Command::Cancel, &[])
    }

    /// Asks for a channel (section 11.2.9.1.3).
    async fn init(&mut self) -> Result<(), WebauthnCError> {
        self.channel = BROADCAST;
        let mut nonce = [0; 8];
        getrandom::fill(&mut nonce).map_err(|_| WebauthnCError::Internal)?;
        self.send(Command::Init, &nonce)?;
        loop {
            let response = self.receive(Command::Init, None)?;
            let [
                n @ ..,
                a,
                b,
                c,
                d,
                _protocol,
                _major,
                _minor,
                _build,
                capabilities,
            ] = response.as_slice()
            else {
                return Err(WebauthnCError::MessageTooShort);
            };
            // Someone else's, where the nonce is another.
            if *n != nonce {
                continue;
            }
            if capabilities & CAN_CBOR == 0 {
                return Err(WebauthnCError::NotSupported);
            }
            // The frames keep channels as they are in memory.
            self.channel = u32::from_ne_bytes([*a, *b, *c, *d]);
            return Ok(());
        }
    }

    async fn close(&mut self) -> Result<(), WebauthnCError> {
        Ok(())
    }
}

impl<P> std::fmt::Debug for HidToken<P> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HidToken").finish_non_exhaustive()
    }
}

/// A message's packets, each in one write, as [`Message::send`] makes them.
struct Writer<'a, P>(&'a mut P);

impl<P: Packets> io::Write for Writer<'_, P> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let packet = bytes
            .try_into()
            .map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
        self.0.write(packet)?;
        Ok(PACKET)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
