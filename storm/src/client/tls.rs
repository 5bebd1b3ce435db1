//! TLS, and the proxies that the environment names.

use http::{Request, Response};

use super::times::Times;
use super::unanswered::Unanswered;
use crate::urls;

#[derive(Clone)]
pub(crate) struct Tls(reqwest::Client);

impl Tls {
    pub(super) fn new(urls: &[String], connections: usize, times: Times) -> Result<Self, Unanswered> {
        // Building a client panics without a process-wide TLS provider. Another client installed the same one before.
        _ = rustls::crypto::ring::default_provider().install_default();
        let mut client = reqwest::Client::builder();
        if urls.iter().all(|url| url::Url::parse(url).is_ok_and(|url| urls::is_here(&url))) {
            client = client.no_proxy();
        }
        let client = client
            .retry(reqwest::retry::never())
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(times.connect)
            .timeout(times.whole)
            .pool_max_idle_per_host(connections);
        client.build().map(Self).map_err(unanswered)
    }

    pub(super) async fn ask(&self, request: Request<Vec<u8>>) -> Result<Response<Vec<u8>>, Unanswered> {
        let request = request.try_into().map_err(unanswered)?;
        let answer = self.0.execute(request).await.map_err(unanswered)?;
        let mut response = Response::new(Vec::new());
        *response.status_mut() = answer.status();
        *response.headers_mut() = answer.headers().clone();
        *response.body_mut() = answer.bytes().await.map_err(unanswered)?.into();
        Ok(response)
    }
}

fn unanswered(error: reqwest::Error) -> Unanswered {
    let is_unsent = error.is_connect() || error.is_builder();
    Unanswered::new(!is_unsent, &error.without_url())
}
