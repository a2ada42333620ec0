//! Turns at a device whose calls block.

use std::sync::Arc;

use tokio::sync::Mutex;
use tokio::task::{JoinError, spawn_blocking};

use super::InterfaceError;
use super::shutdown_state::ShutdownState;

/// A device that is called by one at a time. Turns are taken one after the other, in the order in
/// which they were asked for, even when anyone who asked has given up: so what a dropped call still
/// does, it has done before the next begins. A cheap handle: clones share the device.
pub(super) struct Turns<D> {
    device: Arc<Mutex<D>>,
    stage: Arc<ShutdownState>,
}

/// Why a turn was not taken, or came to nothing.
#[derive(Debug)]
pub(super) enum NotDone<E> {
    /// The device is down, or on its way.
    Down,
    /// It failed.
    Failed(E),
    /// The call panicked.
    Panicked(JoinError),
}

impl<D: Send + 'static> Turns<D> {
    pub(super) fn at(device: D) -> Self {
        Self {
            device: Arc::new(Mutex::new(device)),
            stage: Arc::default(),
        }
    }

    /// Lets peers on. Not once the device is to go down.
    pub(super) async fn add<T: Send + 'static, E: Send + 'static>(
        &self,
        calls: impl FnOnce(&mut D) -> Result<T, E> + Send + 'static,
    ) -> Result<T, NotDone<E>> {
        self.turn(ShutdownState::check_open, calls).await
    }

    /// Reads, or takes peers off. Not once the device is down.
    pub(super) async fn ask<T: Send + 'static, E: Send + 'static>(
        &self,
        calls: impl FnOnce(&mut D) -> Result<T, E> + Send + 'static,
    ) -> Result<T, NotDone<E>> {
        self.turn(ShutdownState::check_up, calls).await
    }

    /// Takes the device down. From now on, and also if that fails, it lets no one on; if it fails,
    /// it can be asked for more, and be taken down again.
    pub(super) async fn take_down<E: Send + 'static>(
        &self,
        calls: impl FnOnce(&mut D) -> Result<(), E> + Send + 'static,
    ) -> Result<(), NotDone<E>> {
        self.stage.close();
        let stage = Arc::clone(&self.stage);
        let down = move |device: &mut D| {
            calls(device)?;
            stage.go_down();
            Ok(())
        };
        self.turn(|_| Ok(()), down).await
    }

    async fn turn<T: Send + 'static, E: Send + 'static>(
        &self,
        check: impl FnOnce(&ShutdownState) -> Result<(), InterfaceError> + Send + 'static,
        calls: impl FnOnce(&mut D) -> Result<T, E> + Send + 'static,
    ) -> Result<T, NotDone<E>> {
        let mut device = Arc::clone(&self.device).lock_owned().await;
        let stage = Arc::clone(&self.stage);
        let done = spawn_blocking(move || {
            check(&stage).map_err(|_| NotDone::Down)?;
            calls(&mut device).map_err(NotDone::Failed)
        })
        .await;
        done.map_err(NotDone::Panicked)?
    }
}

impl<D> Clone for Turns<D> {
    fn clone(&self) -> Self {
        Self {
            device: Arc::clone(&self.device),
            stage: Arc::clone(&self.stage),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    /// Counts whom it let on.
    type Device = u32;

    fn let_on(device: &mut Device) -> Result<(), &'static str> {
        *device += 1;
        Ok(())
    }

    async fn on_it(device: &Turns<Device>) -> Result<u32, NotDone<&'static str>> {
        device.ask(|device| Ok(*device)).await
    }

    #[tokio::test]
    async fn an_interface_stuck_up_admits_no_one_and_still_lists() {
        let device = Turns::at(0);
        device.add(let_on).await.unwrap();
        let failed = device.take_down(|_| Err("no")).await;
        assert!(matches!(failed, Err(NotDone::Failed("no"))));
        assert!(matches!(device.add(let_on).await, Err(NotDone::Down)));
        assert_eq!(on_it(&device).await.unwrap(), 1);

        let down = device.take_down(|device| {
            *device = 0;
            Ok::<_, &str>(())
        });
        down.await.unwrap();
        assert!(matches!(device.add(let_on).await, Err(NotDone::Down)));
        assert!(matches!(on_it(&device).await, Err(NotDone::Down)));
    }

    #[tokio::test]
    async fn who_waits_for_a_turn_when_it_is_to_go_down_is_not_let_on() {
        let device = Turns::at(0);
        let (go_on, held) = mpsc::channel::<()>();
        let before = tokio::spawn({
            let device = device.clone();
            async move { device.ask(move |_| held.recv()).await }
        });
        // Each is in the queue before the next is: the first holds the device.
        while device.device.try_lock().is_ok() {
            tokio::task::yield_now().await;
        }
        let mut waiting = Box::pin(device.add(let_on));
        assert!(futures_util::poll!(&mut waiting).is_pending());
        let mut fence = Box::pin(device.take_down(|_| Err("no")));
        assert!(futures_util::poll!(&mut fence).is_pending());

        go_on.send(()).unwrap();
        before.await.unwrap().unwrap();
        assert!(matches!(waiting.await, Err(NotDone::Down)));
        assert!(matches!(fence.await, Err(NotDone::Failed("no"))));
        assert_eq!(on_it(&device).await.unwrap(), 0);
    }

    #[tokio::test]
    async fn a_call_that_panics_takes_nothing_with_it() {
        let device = Turns::at(0);
        let panicked = device.take_down(|_| -> Result<(), ()> { panic!("a fault") });
        assert!(matches!(panicked.await, Err(NotDone::Panicked(_))));
        assert_eq!(on_it(&device).await.unwrap(), 0);
    }
}
