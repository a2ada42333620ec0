//! The way to a provider: HTTPS by reqwest, in the shape that `openidconnect` asks for. It follows
//! no redirect, keeps no cookie, and reads and waits only so much.

use std::pin::Pin;
use std::time::Duration;

use openidconnect::http::Response;
use openidconnect::{AsyncHttpClient, HttpRequest, HttpResponse};
use reqwest::redirect;

use super::error::{ProviderFault, SettingFault};

/// How long making a connection may take.
const CONNECT: Duration = Duration::from_secs(3);
/// How long all of a request may take.
const REQUEST: Duration = Duration::from_secs(6);
/// The longest answer: the largest providers' key sets are a tenth of it.
const MOST: usize = 256 * 1024;

/// A client for one provider.
#[derive(Debug, Clone)]
pub(super) struct Http(reqwest::Client);

impl Http {
    pub(super) fn new() -> Result<Self, SettingFault> {
        reqwest::Client::builder()
            .redirect(redirect::Policy::none())
            // A kept connection may be closed just when a code is sent over it, which is good once.
            .pool_max_idle_per_host(0)
            .connect_timeout(CONNECT)
            .timeout(REQUEST)
            .user_agent(concat!("mfagate/", env!("CARGO_PKG_VERSION")))
            .build()
            .map(Self)
            .map_err(|_| SettingFault::Tls)
    }

    async fn send(&self, request: HttpRequest) -> Result<HttpResponse, ProviderFault> {
        let request = request.try_into().map_err(|_| ProviderFault::Malformed)?;
        let mut response = self.0.execute(request).await.map_err(fault)?;
        if response.status().is_redirection() {
            return Err(ProviderFault::Redirects);
        }
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(fault)? {
            if body.len() + chunk.len() > MOST {
                return Err(ProviderFault::TooLong);
            }
            body.extend_from_slice(&chunk);
        }
        let mut read = Response::new(body);
        *read.status_mut() = response.status();
        *read.headers_mut() = std::mem::take(response.headers_mut());
        Ok(read)
    }
}

impl<'c> AsyncHttpClient<'c> for Http {
    type Error = ProviderFault;
    type Future = Pin<Box<dyn Future<Output = Result<HttpResponse, ProviderFault>> + Send + 'c>>;

    fn call(&'c self, request: HttpRequest) -> Self::Future {
        Box::pin(self.send(request))
    }
}

/// A fault without the address, which has parameters.
fn fault(error: reqwest::Error) -> ProviderFault {
    if error.is_timeout() {
        ProviderFault::TimedOut
    } else {
        ProviderFault::Unreachable
    }
}
