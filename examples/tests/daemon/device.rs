//! A device that speaks the control channel by itself, and keeps nothing up behind the test's back.

use std::net::SocketAddr;
use std::time::Duration;

use mfagate::channel::Transport;
use mfagate::channel::engine::{DecapsulationSecret, Hello, Initiator, Reply, Request};
use mfagate::channel::message::{Answer, Code, Posture};
use mfagate::enrol::Registrar;
use mfagate::factor::totp::TotpSecret;
use mfagate::id::{LocationId, SessionId, UserId};
use mfagate::interface::netstack::Netstack;
use mfagate::interface::{InterfaceBackend, PeerConfig};
use mfagate::key::{PresharedKey, PrivateKey, PublicKey};
use mfagate::store::Peer;

use crate::app::{STEP, TO_SPARE, a_step_ago, now};
use crate::site::PAGE;

/// A device with a user and an app of its own.
pub(crate) struct Device {
    pub(crate) key: PrivateKey,
    address: ipnet::IpNet,
    secret: TotpSecret,
    /// The last step that was used up, or may have been.
    last_counter: u64,
}

impl Device {
    pub(crate) async fn enrol(registrar: &Registrar, location: &LocationId, number: u16) -> Self {
        let user: UserId = format!("user-{number}").parse().unwrap();
        registrar.put_user(&user, true).await.unwrap();
        let key = PrivateKey::generate().unwrap();
        let address = format!("10.9.{}.{}/32", 1 + number / 250, 1 + number % 250)
            .parse()
            .unwrap();
        let peer = Peer {
            location: location.clone(),
            key: key.public_key(),
            user: user.clone(),
            allowed_ips: vec![address],
            label: "a label".parse().unwrap(),
            enabled: true,
        };
        registrar.put_peer(peer).await.unwrap();
        let app = registrar
            .begin_totp(&user, &"app".parse().unwrap(), "test")
            .await
            .unwrap();
        let at = a_step_ago();
        let code = app.secret.code(at).unwrap();
        registrar
            .confirm_totp(&user, app.factor, code)
            .await
            .unwrap();
        Self {
            key,
            address,
            last_counter: app.secret.step(at),
            secret: app.secret,
        }
    }

    /// A code that has not been used and is taken now, if there is one.
    pub(crate) fn code(&mut self) -> Option<Code> {
        let at = [now() + TO_SPARE - STEP, now(), now() + STEP]
            .into_iter()
            .find(|at| self.secret.step(*at) > self.last_counter)?;
        self.last_counter = self.secret.step(at);
        self.secret.code(at).ok()
    }

    /// Signs in. `None` where that broke off, so that its outcome is not known.
    pub(crate) async fn sign_in(
        &self,
        gate: &PublicKey,
        transport: &dyn Transport,
        code: Code,
    ) -> Option<(SessionId, PresharedKey)> {
        let (secret, encapsulation_key) = DecapsulationSecret::generate().unwrap();
        let hello = Hello::Begin {
            sent_at: now(),
            encapsulation_key,
            posture: Posture::default(),
        };
        let (channel, body) = Initiator::begin(&self.key, gate, &hello).unwrap();
        let body = transport.round_trip(body).await.ok()?;
        let (mut channel, reply) = channel.finish(&body).ok()?;
        let Reply::Challenge { attempt, .. } = reply else {
            panic!("the gate did not ask for a code: {reply:?}");
        };
        let answer = Answer::Code { code };
        let body = channel.request(&attempt, &Request::Answer { answer });
        let body = transport.round_trip(body.unwrap()).await.ok()?;
        let opened = channel.reply(&body).ok()?;
        let Reply::Granted { grant } = &opened.reply else {
            panic!("the gate did not grant: {:?}", opened.reply);
        };
        let psk = opened.preshared_key(&channel, &secret).unwrap();
        Some((grant.session, psk))
    }

    /// Whether the page inside can be reached over a tunnel of its own.
    pub(crate) async fn reaches(
        &self,
        gate: PublicKey,
        endpoint: SocketAddr,
        psk: &PresharedKey,
        within: Duration,
    ) -> bool {
        let netstack = Netstack::builder(self.key.clone())
            .listen("127.0.0.1:0".parse().unwrap())
            .address(self.address)
            .build()
            .await
            .unwrap();
        let inside = vec!["10.9.0.0/24".parse().unwrap()];
        let peer = PeerConfig::new(gate, Some(psk.clone()), inside).with_endpoint(endpoint);
        netstack.install(vec![peer]).await.unwrap();
        let reached = netstack.connect_within(PAGE.parse().unwrap(), within).await;
        netstack.close().await;
        reached.is_ok()
    }
}
