//! The task that drives the machine: time, commands, outcomes, and the way out.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{broadcast, mpsc, oneshot};
use tokio::time::Instant;

use super::SignOutError;
use super::exchange::Link;
use super::tunnel::{Call, Tunnel};
use crate::client::{Action, Event, Input, Machine};
use crate::time::Clock;

/// The longest sleep while anything is due: a device that slept, or whose clock was set, is noticed
/// by then.
const LONGEST_SLEEP: Duration = Duration::from_secs(5);
/// The clock going on by this much more than was slept means that the device was asleep.
const WOKE: Duration = Duration::from_secs(20);

/// What the handle asks of the task.
pub(super) enum Command {
    /// An input as it is.
    Input(Input),
    /// An input that begins an attempt; its events come to the caller.
    Begin {
        input: Input,
        begun: oneshot::Sender<broadcast::Receiver<Event>>,
    },
    /// Stop, and leave the session and the tunnel as they are.
    Detach,
    /// Sign out, and say when that is done.
    SignOut {
        done: oneshot::Sender<Result<(), SignOutError>>,
    },
}

/// The task's state.
pub(super) struct Driver {
    machine: Arc<Mutex<Machine>>,
    clock: Arc<dyn Clock>,
    link: Link,
    tunnel: Tunnel,
    events: broadcast::Sender<Event>,
    sign_out: Duration,
    leaving: Vec<Leaving>,
}

/// Someone who waits for a signing out.
struct Leaving {
    done: oneshot::Sender<Result<(), SignOutError>>,
    until: Instant,
    is_unconfirmed: bool,
}

impl Driver {
    pub(super) const fn new(
        machine: Arc<Mutex<Machine>>,
        clock: Arc<dyn Clock>,
        link: Link,
        tunnel: Tunnel,
        events: broadcast::Sender<Event>,
        sign_out: Duration,
    ) -> Self {
        Self {
            machine,
            clock,
            link,
            tunnel,
            events,
            sign_out,
            leaving: Vec::new(),
        }
    }

    /// Runs until the handle is gone and the tunnel is down.
    pub(super) async fn run(mut self, mut inbox: mpsc::UnboundedReceiver<Command>) {
        let mut is_open = true;
        loop {
            self.drain();
            if !is_open && self.is_done() {
                return;
            }
            let slept = (Instant::now(), self.clock.now().instant);
            let wake = self.sleep_until(slept.0);
            tokio::select! {
                command = inbox.recv(), if is_open => match command {
                    Some(Command::Detach) => return,
                    Some(command) => self.take_in(command),
                    None => {
                        is_open = false;
                        self.input(Input::SignOut);
                    }
                },
                input = self.link.next() => self.input(input),
                input = self.tunnel.next() => self.input(input),
                () = sleep(wake) => {
                    let passed = self.clock.now().instant.saturating_since(slept.1);
                    if passed > slept.0.elapsed() + WOKE {
                        self.input(Input::Woke);
                    }
                    let now = self.clock.now();
                    self.lock().handle_timeout(now);
                }
            }
        }
    }

    fn take_in(&mut self, command: Command) {
        match command {
            Command::Detach => {}
            Command::Input(input) => self.input(input),
            Command::Begin { input, begun } => {
                // A caller that is gone already wants nothing begun.
                if begun.send(self.events.subscribe()).is_ok() {
                    self.input(input);
                }
            }
            Command::SignOut { done } => {
                self.leaving.push(Leaving {
                    done,
                    until: Instant::now() + self.sign_out,
                    is_unconfirmed: false,
                });
                self.input(Input::SignOut);
            }
        }
    }

    fn input(&self, input: Input) {
        let now = self.clock.now();
        self.lock().handle_input(now, input);
    }

    /// Carries out what the machine asks for, and tells what it tells.
    fn drain(&mut self) {
        loop {
            let action = self.lock().poll_action();
            let Some(action) = action else { break };
            self.perform(action);
        }
        loop {
            let event = self.lock().poll_event();
            let Some(event) = event else { break };
            self.tell(event);
        }
        let machine = self.machine.lock().unwrap_or_else(PoisonError::into_inner);
        self.link.retain(|channel| machine.holds_channel(channel));
        let is_idle = machine.is_idle();
        drop(machine);
        self.tell_leaving(is_idle);
    }

    fn perform(&mut self, action: Action) {
        match action {
            Action::SendHello {
                ticket,
                opening,
                sent_at,
            } => self.link.hello(ticket, opening, sent_at),
            Action::SendRequest {
                ticket,
                channel,
                request,
            } => self.link.request(ticket, channel, request),
            Action::InstallTunnel { ticket, psk } => self.tunnel.push(Call::Install(ticket, psk)),
            Action::RenewTunnel { ticket, psk } => self.tunnel.push(Call::Renew(ticket, psk)),
            Action::RemoveTunnel { ticket } => self.tunnel.push(Call::Remove(ticket)),
            Action::SampleTunnel { ticket } => self.tunnel.push(Call::Sample(ticket)),
        }
    }

    fn tell(&mut self, event: Event) {
        tracing::debug!(?event, "client");
        if event == Event::SignOutUnconfirmed {
            self.leaving
                .iter_mut()
                .for_each(|leaving| leaving.is_unconfirmed = true);
        }
        _ = self.events.send(event); // nobody may be listening
    }

    fn tell_leaving(&mut self, is_idle: bool) {
        let now = Instant::now();
        for leaving in std::mem::take(&mut self.leaving) {
            let outcome = if is_idle && leaving.is_unconfirmed {
                Err(SignOutError::Unconfirmed)
            } else if is_idle {
                Ok(())
            } else if leaving.until <= now {
                Err(SignOutError::StillUp)
            } else {
                self.leaving.push(leaving);
                continue;
            };
            _ = leaving.done.send(outcome); // the caller may have gone
        }
    }

    fn is_done(&self) -> bool {
        self.lock().is_idle() && self.tunnel.is_idle() && self.link.is_idle()
    }

    /// When to look at the machine's deadlines next.
    fn sleep_until(&self, from: Instant) -> Option<Instant> {
        let due = self.lock().poll_timeout().map(|(at, _)| {
            let left = at.saturating_since(self.clock.now().instant);
            from + left.min(LONGEST_SLEEP)
        });
        let leaving = self.leaving.iter().map(|leaving| leaving.until);
        leaving.chain(due).min()
    }

    fn lock(&self) -> MutexGuard<'_, Machine> {
        self.machine.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn sleep(until: Option<Instant>) {
    match until {
        Some(until) => tokio::time::sleep_until(until).await,
        None => std::future::pending().await,
    }
}
