//! An axum router that serves one gate.

use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use axum::body::{Bytes, HttpBody};
use axum::extract::rejection::{BytesRejection, FailedToBufferBody};
use axum::extract::{ConnectInfo, DefaultBodyLimit, FromRequest, FromRequestParts, Request, State};
use axum::http::{StatusCode, header, request::Parts};
use axum::response::{IntoResponse, Response};
use axum::routing::post;

use super::{CONTENT_TYPE, PATH};
use crate::channel::{MAX_BODY, Unauthenticated};
use crate::runtime::Gate;

/// How long the body of a request may take to come in, from the end of its head. What takes longer
/// is answered with HTTP 408, and its connection ends.
pub const BODY_TIME: Duration = Duration::from_secs(10);

/// A router that serves the gate's control channel at [`PATH`], to be mounted into an embedder's
/// own or served as it is:
///
/// ```no_run
/// # async fn serve(gate: mfagate::runtime::Gate) -> std::io::Result<()> {
/// let listener = tokio::net::TcpListener::bind("0.0.0.0:7000").await?;
/// let app = mfagate::http::router(gate);
/// axum::serve(listener, app.into_make_service_with_connect_info::<std::net::SocketAddr>()).await
/// # }
/// ```
///
/// Bodies over 65,535 bytes are refused without being read to their end, and so are those that take
/// longer than [`BODY_TIME`]. The head of a request comes in before this router sees it: how long
/// that may take is the server's to limit, and `axum::serve` does not.
///
/// Served with connect info, as above, the client's address reaches the audit trail; behind a
/// reverse proxy that is the proxy's.
pub fn router(gate: Gate) -> Router {
    router_within(gate, BODY_TIME)
}

fn router_within(gate: Gate, body_time: Duration) -> Router {
    let served = Served { gate, body_time };
    Router::new()
        .route(PATH, post(exchange))
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .with_state(served)
}

#[derive(Clone)]
struct Served {
    gate: Gate,
    body_time: Duration,
}

async fn exchange(
    State(served): State<Served>,
    Source(source): Source,
    request: Request,
) -> Response {
    let Served { gate, body_time } = served;
    let handled = match tokio::time::timeout(body_time, read(request)).await {
        Ok(Ok(body)) => gate.handle(body.into(), source.map(|addr| addr.ip())).await,
        Ok(Err(refusal)) => Err(refusal),
        // Nothing of the protocol's: there is no request that it could answer.
        Err(_) => {
            let close = [(header::CONNECTION, "close")];
            return (StatusCode::REQUEST_TIMEOUT, close).into_response();
        }
    };
    let (status, body) = match handled {
        Ok(body) => (StatusCode::OK, body),
        Err(refusal) => (status_of(&refusal), refusal.to_body()),
    };
    (
        status,
        [
            (header::CONTENT_TYPE, CONTENT_TYPE),
            (header::CACHE_CONTROL, "no-store"),
        ],
        body,
    )
        .into_response()
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

fn status_of(refusal: &Unauthenticated) -> StatusCode {
    match refusal {
        Unauthenticated::Malformed | Unauthenticated::Version => StatusCode::BAD_REQUEST,
        Unauthenticated::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        Unauthenticated::NoAttempt => StatusCode::NOT_FOUND,
        Unauthenticated::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
    }
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
