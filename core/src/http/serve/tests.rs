//! Who is served, for how long, and who is turned away.

use axum::routing::get;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::JoinHandle;

use super::*;

/// How long a test waits for what must come.
const PATIENCE: Duration = Duration::from_secs(20);

const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nhost: gate\r\nconnection: close\r\n\r\n";

async fn from(ConnectInfo(from): ConnectInfo<SocketAddr>) -> String {
    from.to_string()
}

/// A server that runs until it is stopped.
struct Running {
    at: SocketAddr,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Running {
    async fn start(change: impl FnOnce(Server) -> Server) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = listener.local_addr().unwrap();
        let app = Router::new().route("/", get(from)).route(
            "/never",
            get(|| async { std::future::pending::<()>().await }),
        );
        let server = change(Server::of(app));
        let stop = CancellationToken::new();
        let stopped = stop.clone().cancelled_owned();
        let task = tokio::spawn(server.serve(listener, stopped));
        Self { at, stop, task }
    }

    /// What it answers to this, until it closes.
    async fn answer_to(&self, sent: &[u8]) -> (String, SocketAddr) {
        let mut client = TcpStream::connect(self.at).await.unwrap();
        let from = client.local_addr().unwrap();
        // One that is turned away may be closed by now.
        _ = client.write_all(sent).await;
        let mut answer = String::new();
        let read = timeout(PATIENCE, client.read_to_string(&mut answer)).await;
        _ = read.expect("the server holds the connection");
        (answer, from)
    }

    /// Whether a request is answered.
    async fn serves(&self) -> bool {
        self.answer_to(REQUEST).await.0.starts_with("HTTP/1.1 200 ")
    }

    async fn stop(self) {
        self.stop.cancel();
        let ended = timeout(PATIENCE, self.task).await;
        ended.expect("the server stops").unwrap();
    }
}

#[tokio::test]
async fn a_connection_without_the_head_of_a_request_is_closed() {
    let server = Running::start(|server| server.head_time(Duration::from_millis(100))).await;
    for sent in [&b""[..], b"GET / HTTP/1.1\r\n"] {
        let (answer, _) = server.answer_to(sent).await;
        assert!(!answer.contains(" 200 "), "{answer}");
    }
    server.stop().await;
}

#[tokio::test]
async fn a_request_is_answered_and_who_sent_it_is_known() {
    let server = Running::start(|server| server).await;
    let (answer, from) = server.answer_to(REQUEST).await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    assert!(answer.ends_with(&from.to_string()), "{answer}");
    server.stop().await;
}

#[tokio::test]
async fn connections_over_the_limit_are_closed_until_one_ends() {
    let server = Running::start(|server| server.connections(2, 2)).await;
    let idle = [
        TcpStream::connect(server.at).await.unwrap(),
        TcpStream::connect(server.at).await.unwrap(),
    ];
    assert!(!server.serves().await);
    drop(idle);
    let served = async {
        while !server.serves().await {
            sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(PATIENCE, served).await.expect("the place is lost");
    server.stop().await;
}

#[test]
fn one_source_does_not_take_up_all_connections() {
    let doorkeeper = Arc::new(Doorkeeper::new(4, 2));
    let admit =
        |from: &str| Doorkeeper::admit(&doorkeeper, SocketAddr::new(from.parse().unwrap(), 1));
    let _first = admit("2001:db8::1").unwrap();
    let _second = admit("2001:db8::ffff:1").unwrap();
    assert!(admit("2001:db8::3").is_none(), "the same /64");
    let _other = admit("2001:db8:0:1::1").unwrap();
    let fourth = admit("192.0.2.1").unwrap();
    assert!(admit("::ffff:192.0.2.1").is_none(), "all places are taken");
    drop(fourth);
    let _mapped = admit("::ffff:192.0.2.1").unwrap();
    assert_eq!(doorkeeper.present().by_source.len(), 3);
}

#[tokio::test]
async fn a_request_that_never_ends_does_not_keep_the_server_from_stopping() {
    let server = Running::start(|server| server.linger(Duration::from_millis(50))).await;
    let mut client = TcpStream::connect(server.at).await.unwrap();
    let request = b"GET /never HTTP/1.1\r\nhost: gate\r\n\r\n";
    client.write_all(request).await.unwrap();
    // Answered after the request above was taken.
    assert!(server.serves().await);
    server.stop().await;
}

#[test]
fn the_limit_keeps_below_the_limit_of_files() {
    let server = Server::of(Router::new());
    assert!(u64::try_from(server.connections).unwrap() <= file_limit() / 2);
    assert!(server.per_source <= server.connections);
}
