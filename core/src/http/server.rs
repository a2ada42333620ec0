//! An axum router that serves one gate.

use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use axum::body::{Bytes, HttpBody};
use axum::extract::rejection::{BytesRejection, FailedToBufferBody};
use axum::extract::{ConnectInfo, DefaultBodyLimit, FromRequest, FromRequestParts, Request, State};
use axum::http::{HeaderValue, StatusCode, header, request::Parts};
use axum::response::{IntoResponse, Response};
use axum::routing::post;

use crate::channel::http::{CONTENT_TYPE, PATH, status_of};
use crate::channel::{MAX_BODY, Unauthenticated};
use crate::runtime::Gate;

/// How long the body of a request may take to come in, from the end of its head. What takes longer
/// is answered with HTTP 408, and its connection ends.
pub(crate) const BODY_TIME: Duration = Duration::from_secs(10);

/// A router that serves the gate's control channel at [`PATH`], to be mounted into an embedder's
/// own. [`serve`](fn@super::serve) serves it as it is, and [`Server::of`](super::Server::of) serves
/// the embedder's:
///
/// ```no_run
/// # async fn serve(gate: mfagate::gate::Gate, own: axum::Router) -> std::io::Result<()> {
/// let listener = tokio::net::TcpListener::bind("0.0.0.0:7000").await?;
/// let app = own.merge(mfagate::http::router(gate));
/// mfagate::http::Server::of(app).serve(listener, std::future::pending()).await;
/// # Ok(())
/// # }
/// ```
///
/// Bodies over 65,535 bytes are refused without being read to their end, and so are those that take
/// longer than [`BODY_TIME`]. The head of a request comes in before this router sees it: how long
/// that may take, and how many connections there may be, is the server's to limit.
/// [`Server`](super::Server) does; `axum::serve` does not, so that anyone can use up the process's
/// files.
///
/// With connect info, which `Server` gives, the client's address reaches the audit trail; behind a
/// reverse proxy that is the proxy's.
pub fn router(gate: Gate) -> Router {
    router_within(gate, BODY_TIME)
}

fn router_within(gate: Gate, body_time: Duration) -> Router {
    let served = ServerState { gate, body_time };
    Router::new()
        .route(PATH, post(exchange))
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .with_state(served)
}

#[derive(Clone)]
struct ServerState {
    gate: Gate,
    body_time: Duration,
}

async fn exchange(
    State(served): State<ServerState>,
    Source(source): Source,
    request: Request,
) -> Response {
    let ServerState { gate, body_time } = served;
    let handled = match tokio::time::timeout(body_time, read(request)).await {
        Ok(Ok(body)) => gate.handle(body.into(), source.map(|addr| addr.ip())).await,
        Ok(Err(refusal)) => Err(refusal),
        // Nothing of the protocol's: there is no request that it could answer.
        Err(_) => {
            let close = [(header::CONNECTION, "close")];
            return (StatusCode::REQUEST_TIMEOUT, close).into_response();
        }
    };
    // What is left of a body that was not read to its end would be taken for the next request: the
    // client is told to open another connection for that.
    let is_unread = matches!(handled, Err(Unauthenticated::TooLarge));
    let (status, body) = match handled {
        Ok(body) => (StatusCode::OK, body),
        Err(refusal) => (status_code(&refusal), refusal.to_body()),
    };
    let headers = [
        (header::CONTENT_TYPE, CONTENT_TYPE),
        (header::CACHE_CONTROL, "no-store"),
    ];
    let mut response = (status, headers, body).into_response();
    if is_unread {
        let close = HeaderValue::from_static("close");
        response.headers_mut().insert(header::CONNECTION, close);
    }
    response
}

/// Reads a body to its end, or until it is known to be too long: by what its head says, or by what
/// came.
async fn read(request: Request) -> Result<Bytes, Unauthenticated> {
    let least = usize::try_from(request.body().size_hint().lower()).unwrap_or(usize::MAX);
    if least > MAX_BODY {
        return Err(Unauthenticated::TooLarge);
    }
    match Bytes::from_request(request, &()).await {
        Ok(body) => Ok(body),
        Err(BytesRejection::FailedToBufferBody(FailedToBufferBody::LengthLimitError(_))) => {
            Err(Unauthenticated::TooLarge)
        }
        // A body that breaks off is none.
        Err(_) => Err(Unauthenticated::Malformed),
    }
}

fn status_code(refusal: &Unauthenticated) -> StatusCode {
    StatusCode::from_u16(status_of(refusal)).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}

/// The client's address, where the router is served with connect info.
struct Source(Option<SocketAddr>);

impl<S: Send + Sync> FromRequestParts<S> for Source {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Self::Rejection> {
        let info = parts.extensions.get::<ConnectInfo<SocketAddr>>();
        Ok(Self(info.map(|ConnectInfo(addr)| *addr)))
    }
}

#[cfg(test)]
#[cfg(all(feature = "totp", feature = "testing"))]
mod tests;
