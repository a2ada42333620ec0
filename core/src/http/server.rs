//! An axum router that serves one gate.

use std::net::SocketAddr;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{ConnectInfo, DefaultBodyLimit, FromRequestParts, State};
use axum::http::{StatusCode, header, request::Parts};
use axum::response::{IntoResponse, Response};
use axum::routing::post;

use super::{CONTENT_TYPE, PATH};
use crate::channel::{MAX_BODY, Unauthenticated};
use crate::runtime::Gate;

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
/// Bodies over 65,535 bytes are refused unread. Served with connect info, as above, the client's
/// address reaches the audit trail; behind a reverse proxy that is the proxy's.
pub fn router(gate: Gate) -> Router {
    Router::new()
        .route(PATH, post(exchange))
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .with_state(gate)
}

async fn exchange(State(gate): State<Gate>, Source(source): Source, body: Bytes) -> Response {
    let (status, body) = match gate.handle(body.into(), source.map(|addr| addr.ip())).await {
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
