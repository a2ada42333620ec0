//! Readers of events, closing, and a runtime that is given.

use super::interface::Fault;
use super::*;

async fn next(events: &mut ClientEvents) -> Option<Event> {
    let next = tokio::time::timeout(Duration::from_secs(10), events.next());
    next.await.expect("an event in time")
}

#[tokio::test]
async fn each_reader_gets_the_events_and_none_gets_a_challenge() {
    let bench = Bench::new();
    let (mut one, mut other) = (bench.client.events(), bench.client.events());

    bench.connected().await;

    for reader in [&mut one, &mut other] {
        assert!(matches!(next(reader).await, Some(Event::Granted { .. })));
        assert!(matches!(next(reader).await, Some(Event::TunnelUp { .. })));
    }
    let mut late = bench.client.events();
    bench.client.sign_out().await.unwrap();
    let first = loop {
        match next(&mut late).await {
            Some(Event::TunnelSilent | Event::Live) => {}
            other => break other,
        }
    };
    assert!(matches!(first, Some(Event::Ended { .. })), "{first:?}");
}

#[tokio::test]
async fn a_reader_that_lags_is_told_how_much_it_missed() {
    let bench = Bench::new();
    let mut reader = bench.client.events();
    for _ in 0..300 {
        let outcome = bench.client.renew(&mut NoPrompt).await;
        assert!(outcome.is_err());
    }

    assert_eq!(next(&mut reader).await, Some(Event::Lagged { missed: 44 }));
    assert!(matches!(
        next(&mut reader).await,
        Some(Event::Failed { .. })
    ));
}

#[tokio::test]
async fn closing_signs_out_and_ends_the_events() {
    let bench = Bench::new();
    bench.connected().await;
    let mut reader = bench.client.events();

    assert_eq!(bench.client.close().await, Ok(()));

    assert!(bench.interface.is_empty());
    assert!(bench.gate.has_heard("end"));
    while next(&mut reader).await.is_some() {}
    let outcome = bench.client.connect(&mut Codes::of(&[CODE])).await;
    assert_eq!(outcome, Err(ConnectError::Stopped));
    assert_eq!(bench.client.close().await, Err(SignOutError::Stopped));
    assert_eq!(bench.client.next_event().await.map(|_| ()), Some(())); // those from before
}

#[tokio::test]
async fn closing_ends_the_events_where_the_tunnel_can_not_be_taken_down() {
    let bench = Bench::with(|builder| {
        builder.timeouts(ClientTimeouts {
            sign_out: Duration::from_millis(100),
            ..ClientTimeouts::default()
        })
    });
    bench.connected().await;
    let mut reader = bench.client.events();
    let fault = Fault::RemoveFails;
    bench.interface.wires(|wires| wires.fault = fault);

    assert_eq!(bench.client.close().await, Err(SignOutError::StillUp));

    while next(&mut reader).await.is_some() {}
}

#[tokio::test]
async fn detaching_ends_the_events_and_leaves_the_tunnel() {
    let bench = Bench::new();
    bench.connected().await;
    let mut reader = bench.client.events();

    bench.client.detach();

    while next(&mut reader).await.is_some() {}
    assert!(!bench.interface.is_empty());
    assert!(!bench.gate.has_heard("end"));
    assert_eq!(bench.client.sign_out().await, Err(SignOutError::Stopped));
}

#[test]
fn a_client_with_a_runtime_of_its_own_works_under_any_executor() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let bench = Bench::with(|builder| builder.runtime(runtime.handle().clone()));

    // An executor without timers and I/O.
    let connected = block_on(bench.connected());

    assert_eq!(connected.addresses.len(), 1);
    assert_eq!(block_on(bench.client.close()), Ok(()));
    assert!(bench.interface.is_empty());
}

/// Polls a future on this thread, outside of any runtime.
fn block_on<T>(future: impl Future<Output = T>) -> T {
    struct Unpark(std::thread::Thread);
    impl std::task::Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Arc::new(Unpark(std::thread::current())).into();
    let mut context = std::task::Context::from_waker(&waker);
    let mut future = std::pin::pin!(future);
    loop {
        match future.as_mut().poll(&mut context) {
            std::task::Poll::Ready(done) => return done,
            std::task::Poll::Pending => std::thread::park(),
        }
    }
}
