//! The client against a gate that plays its part by a script, over the real channel, with an
//! interface that is a map.

#![allow(
    clippy::wildcard_enum_match_arm,
    reason = "a test picks the variant that it is about"
)]

mod connect;
mod events;
mod gate;
mod handover;
mod interface;
mod leaving;
mod quiet;
mod session;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use super::*;
use crate::channel::message::{Answer, Denied};
use crate::client::{AuthChallenge, Response};
use crate::client::{Config, Renewal};
use crate::key::PrivateKey;
use gate::ScriptedGate;
use interface::MapInterface;

const CODE: &str = "271828";

/// A client, its gate and its interface.
struct Bench {
    client: Client,
    gate: Arc<ScriptedGate>,
    interface: Arc<MapInterface>,
}

impl Bench {
    fn new() -> Self {
        Self::with(|builder| builder)
    }

    fn with(change: impl FnOnce(ClientBuilder) -> ClientBuilder) -> Self {
        let gate = ScriptedGate::new();
        let interface = MapInterface::new();
        let builder = Client::builder(profile(&gate))
            .transport(gate.clone())
            .interface(interface.clone())
            .config(quick());
        let client = change(builder).build().expect("a client");
        Self {
            client,
            gate,
            interface,
        }
    }

    async fn connected(&self) -> Connected {
        let mut prompt = Codes::of(&[CODE]);
        self.client.connect(&mut prompt).await.expect("a tunnel")
    }

    fn parts(self) -> (Client, Arc<ScriptedGate>, Arc<MapInterface>) {
        (self.client, self.gate, self.interface)
    }

    /// Reads events until one is as asked. Fails after ten seconds.
    async fn event(&self, is_it: impl Fn(&Event) -> bool) -> Event {
        let wait = async {
            while let Some(event) = self.client.next_event().await {
                if is_it(&event) {
                    return event;
                }
            }
            panic!("the client stopped");
        };
        tokio::time::timeout(Duration::from_secs(10), wait)
            .await
            .expect("the event in time")
    }
}

/// A machine that looks often, so that tests need not wait.
fn quick() -> Config {
    Config {
        renewal: Renewal::OnRequest,
        sample_every: Duration::from_millis(10),
        silence: Duration::from_millis(50),
        first_wait: Duration::from_millis(20),
        longest_wait: Duration::from_millis(50),
        ..Config::default()
    }
}

fn profile(gate: &ScriptedGate) -> Profile {
    Profile {
        location: "office".parse().expect("a name"),
        location_key: gate.public_key(),
        control: Vec::new(),
        endpoint: "192.0.2.1:51820".parse().expect("an endpoint"),
        private_key: PrivateKey::from_bytes([5; 32]),
        addresses: vec!["10.0.0.2/32".parse().expect("a prefix")],
        allowed_ips: vec!["10.0.0.0/24".parse().expect("a prefix")],
        keepalive: Some(Duration::from_secs(25)),
        dns: Vec::new(),
        mtu: None,
    }
}

/// Answers with one code after the other, and keeps what it was told. Gives up when it has none.
struct Codes {
    left: Vec<&'static str>,
    denials: Vec<Denied>,
}

impl Codes {
    fn of(codes: &[&'static str]) -> Self {
        Self {
            left: codes.iter().rev().copied().collect(),
            denials: Vec::new(),
        }
    }
}

#[async_trait]
impl Prompt for Codes {
    async fn answer(&mut self, question: &AuthChallenge) -> Result<Option<Response>, PromptFailed> {
        self.denials.extend(question.denied.clone());
        let code = self.left.pop().map(|code| code.parse().expect("a code"));
        Ok(code.map(|code| Answer::Code { code }.into()))
    }
}

/// A user who never answers.
struct NoPrompt;

#[async_trait]
impl Prompt for NoPrompt {
    async fn answer(&mut self, _: &AuthChallenge) -> Result<Option<Response>, PromptFailed> {
        std::future::pending().await
    }
}

/// An app whose code fails.
struct BrokenApp;

#[async_trait]
impl Prompt for BrokenApp {
    async fn answer(&mut self, _: &AuthChallenge) -> Result<Option<Response>, PromptFailed> {
        Err(PromptFailed::new("no window"))
    }
}

/// Waits until something holds. Fails after ten seconds.
async fn eventually(what: &str, holds: impl Fn() -> bool) {
    for _ in 0..2000 {
        if holds() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("not in time: {what}");
}
