//! An HTTP stack of the app's own carries the control channel.

use async_trait::async_trait;
use mfagate::channel::TransportError;
use mfagate::client::{
    AttemptFailure, ConnectError, HttpPost, HttpResponse, PostFailed, PostTransport,
};
use std::sync::Arc;

use crate::office::Office;

/// Stands for the platform's own.
struct Stack(reqwest::Client);

#[async_trait]
impl HttpPost for Stack {
    async fn post(
        &self,
        url: &str,
        content_type: &str,
        body: Vec<u8>,
    ) -> Result<HttpResponse, PostFailed> {
        let request = self.0.post(url).header("content-type", content_type);
        let sent = request.body(body).send().await;
        let response = sent.map_err(|_| PostFailed::Unreachable)?;
        let status = response.status().as_u16();
        let content_type = response.headers().get("content-type");
        let content_type = content_type.map(|value| value.to_str().unwrap().to_owned());
        let body = response.bytes().await;
        let body = body.map_err(|_| PostFailed::Unreachable)?.to_vec();
        Ok(HttpResponse {
            status,
            content_type,
            body,
        })
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_apps_own_http_stack_signs_in() {
    let office = Office::open().await;
    let laptop = office.device("10.9.0.2/32").await;
    let stack = Stack(reqwest::Client::new());
    let transport = PostTransport::new(&office.control, stack).unwrap();
    let client = laptop.builder().transport(Arc::new(transport)).build();

    let client = client.unwrap();
    client.connect(&mut office.right_codes()).await.unwrap();

    assert!(laptop.reach().await.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_apps_own_http_stack_says_why_it_failed() {
    let office = Office::open().await;
    let laptop = office.device("10.9.0.2/32").await;
    let nowhere = format!("{}/nowhere", office.control);
    let stack = Stack(reqwest::Client::new());
    let transport = PostTransport::new(&nowhere, stack).unwrap();
    let client = laptop.builder().transport(Arc::new(transport)).build();

    let failed = client.unwrap().connect(&mut office.right_codes()).await;

    let gate = format!("{nowhere}/mfagate/v1");
    let failure = TransportError::BadGateway { gate, status: 404 };
    let failure = AttemptFailure::Transport(failure);
    assert_eq!(failed, Err(ConnectError::Failed(failure)));
}
