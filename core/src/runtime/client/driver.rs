//! The task that drives the machine: time, commands, outcomes, and the way out.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{broadcast, mpsc, oneshot};
use tokio::time::Instant;

use super::SignOutError;
use super::exchange::GateConnection;
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
    /// Sign out and stop, and say when the first is done.
    Close {
        done: oneshot::Sender<Result<(), SignOutError>>,
    },
    /// Sign out, and say when that is done.
    SignOut {
        done: oneshot::Sender<Result<(), SignOutError>>,
    },
}

/// The task's state.
pub(super) struct Driver {
    machine: Arc<Mutex<Machine>>,
    clock: Arc<dyn Clock>,
    link: GateConnection,
    tunnel: Tunnel,
    /// None once the client was closed, so that its readers come to the end.
    events: Option<broadcast::Sender<Event>>,
    sign_out: Duration,
    leaving: Vec<Leaving>,
    is_closed: bool,
}

/// Someone who waits for a signing out.
struct Leaving {
    done: oneshot::Sender<Result<(), SignOutError>>,
    until: Instant,
    /// What the gate could not be told.
    untold: Option<SignOutError>,
}

impl Driver {
    pub(super) const fn new(
        machine: Arc<Mutex<Machine>>,
        clock: Arc<dyn Clock>,
        link: GateConnection,
        tunnel: Tunnel,
        events: broadcast::Sender<Event>,
        sign_out: Duration,
    ) -> Self {
        Self {
            machine,
            clock,
            link,
            tunnel,
            events: Some(events),
            sign_out,
            leaving: Vec::new(),
            is_closed: false,
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
                    Some(Command::Detach) => {
                        drop(inbox); // what is asked from now on finds the client stopped
                        return self.cancel_first().await;
                    }
                    Some(Command::Close { done }) => {
                        is_open = false;
                        self.is_closed = true;
                        inbox.close();
                        while inbox.try_recv().is_ok() {}
                        self.sign_out(done);
                    }
                    Some(command) => self.take_in(command),
                    None => {
                        is_open = false;
                        self.leave();
                    }
                },
                done = self.link.next() => self.done(done),
                done = self.tunnel.next() => self.done(done),
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
            Command::Detach | Command::Close { .. } => {}
            Command::Input(input) => self.input(input),
            Command::Begin { input, begun } => {
                // A caller that is gone already wants nothing begun.
                let events = self.events.as_ref().map(broadcast::Sender::subscribe);
                if events.is_some_and(|events| begun.send(events).is_ok()) {
                    self.input(input);
                }
            }
            Command::SignOut { done } => self.sign_out(done),
        }
    }

    fn sign_out(&mut self, done: oneshot::Sender<Result<(), SignOutError>>) {
        self.leaving.push(Leaving {
            done,
            until: Instant::now() + self.sign_out,
            untold: None,
        });
        self.leave();
    }

    /// Signs out, and sees to what an earlier run left.
    fn leave(&mut self) {
        self.tunnel.leave();
        self.input(Input::SignOut);
    }

    /// A call or an exchange is over; its outcome, where the machine waits for one.
    fn done(&self, outcome: Option<Input>) {
        if let Some(input) = outcome {
            self.input(input);
        }
    }

    /// An attempt that was given up is closed at the gate before the task goes. Each exchange has
    /// its own end, so that this has one.
    async fn cancel_first(mut self) {
        while self.lock().is_cancelling() && !self.link.is_idle() {
            let done = self.link.next().await;
            self.done(done);
            self.drain();
        }
    }

    fn input(&self, input: Input) {
        let now = self.clock.now();
        self.lock().handle_input(now, input);
    }

    /// Carries out what the machine asks for, and tells what it tells.
    fn drain(&mut self) {
        if let Some(endpoint) = self.tunnel.take_moved() {
            self.tell(Event::EndpointMoved { endpoint });
        }
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
        drop(machine);
        self.tell_leaving();
        if self.is_closed && self.leaving.is_empty() {
            self.events = None;
        }
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
            Action::ResumeTunnel { ticket, psk } => self.tunnel.push(Call::Resume(ticket, psk)),
            Action::RemoveTunnel { ticket } => self.tunnel.push(Call::Remove(ticket)),
            Action::SampleTunnel { ticket } => self.tunnel.push(Call::Sample(ticket)),
            Action::MoveTunnel { ticket } => self.tunnel.push(Call::Move(ticket)),
        }
    }

    fn tell(&mut self, event: Event) {
        let said = event.clone();
        crate::log::later(move || tracing::debug!(event = ?said, "client"));
        let untold = match event {
            Event::SignOutUnconfirmed => Some(SignOutError::Unconfirmed),
            Event::CancelUnconfirmed => Some(SignOutError::AttemptOpen),
            Event::Challenge { .. }
            | Event::Enrolled { .. }
            | Event::Failed { .. }
            | Event::Granted { .. }
            | Event::TunnelUp { .. }
            | Event::Renewed { .. }
            | Event::Live
            | Event::Ending { .. }
            | Event::MfaRequired { .. }
            | Event::Unreachable { .. }
            | Event::Reachable
            | Event::TunnelSilent
            | Event::EndpointMoved { .. }
            | Event::Ended { .. }
            | Event::RemovalFailed
            | Event::Lagged { .. } => None,
        };
        if let Some(error) = untold {
            for leaving in &mut self.leaving {
                // A session that stays open is the worse of the two.
                if leaving.untold != Some(SignOutError::Unconfirmed) {
                    leaving.untold = Some(error);
                }
            }
        }
        if let Some(events) = &self.events {
            _ = events.send(event); // no one may be listening
        }
    }

    fn tell_leaving(&mut self) {
        if self.leaving.is_empty() {
            return;
        }
        let now = Instant::now();
        let is_done = self.is_done();
        let is_off = self.is_off();
        for leaving in std::mem::take(&mut self.leaving) {
            let outcome = if is_done {
                let down = is_off.then_some(()).ok_or(SignOutError::StillUp);
                down.and_then(|()| leaving.untold.map_or(Ok(()), Err))
            } else if leaving.until > now {
                self.leaving.push(leaving);
                continue;
            } else if is_off {
                // Only the gate is waited for; it is told when it can be.
                Err(leaving.untold.unwrap_or(if self.lock().is_ending() {
                    SignOutError::Unconfirmed
                } else {
                    SignOutError::AttemptOpen
                }))
            } else {
                Err(SignOutError::StillUp)
            };
            _ = leaving.done.send(outcome); // the caller may have gone
        }
    }

    /// Whether nothing is on the interface, and nothing is being done to it.
    fn is_off(&self) -> bool {
        self.lock().is_down() && self.tunnel.is_idle() && self.tunnel.is_clear()
    }

    fn is_done(&self) -> bool {
        self.lock().is_idle() && self.tunnel.is_idle() && self.link.is_idle()
    }

    /// When to look at the machine's deadlines next.
    fn sleep_until(&self, from: Instant) -> Option<Instant> {
        let machine = self.lock();
        // An app that reports wake-ups has the driver called when it is to look again.
        let longest = if machine.is_quiet() {
            Duration::MAX
        } else {
            LONGEST_SLEEP
        };
        let due = machine.poll_timeout().map(|(at, _)| {
            let left = at.saturating_since(self.clock.now().instant);
            from + left.min(longest)
        });
        drop(machine);
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
