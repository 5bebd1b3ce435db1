//! Many tenants, each with a provider and a namespace of its own, over one set of connections to Redis.
//!
//! ```sh
//! cargo run --example tenants --features reqwest -- redis://localhost acme=https://acme.example/token tiny=https://tiny.example/token
//! ```
//!
//! `tests/examples.rs` runs it against a provider that revokes whatever comes twice.

use std::collections::HashMap;
use std::time::Duration;

use refresh_coordinator::adapters::reqwest::{client_builder, present};
use refresh_coordinator::{Config, Fleet, Refresh, RefreshError, Refreshed};

type Error = Box<dyn std::error::Error + Send + Sync>;

/// What a request needs to refresh for its tenant. Shared by all requests of a process.
pub struct Tenants {
    fleet: Fleet,
    http: reqwest::Client,
    token_urls: HashMap<String, String>,
}

impl Tenants {
    /// Connects to nothing yet: a tenant's namespace is opened, and checked, when it is first used.
    pub async fn new(redis: &str, config: Config, token_urls: HashMap<String, String>) -> Result<Self, Error> {
        let fleet = Fleet::connect(redis, config).await?;
        Ok(Self { fleet, http: client_builder().build()?, token_urls })
    }

    /// Tenants neither share answers nor limits: the circuit and the permits of one provider are not those of another.
    pub async fn refresh(&self, tenant: &str, token: &str) -> Result<Result<Refreshed, RefreshError>, Error> {
        // Only names that are known become namespaces: what a caller may choose would be without bounds.
        let url = self.token_urls.get(tenant).ok_or("there is no such tenant")?.clone();
        let coordinator = self.fleet.namespace(tenant).await?;
        let refresh = Refresh::new(token).client("my-app", "its-secret").token_from_attempt();
        let (http, presented) = (self.http.clone(), refresh.clone());
        Ok(coordinator.refresh(refresh, move |attempt| present(http, url, attempt, presented)).await)
    }

    /// All tenants at once, when the process is to end.
    pub async fn close(&self) {
        self.fleet.close(Duration::from_secs(20)).await;
    }
}

#[tokio::main]
async fn main() -> Result<(), Error> {
    let mut arguments = std::env::args().skip(1);
    let redis = arguments.next().ok_or("usage: REDIS TENANT=TOKEN_URL...")?;
    let urls = arguments.map(|pair| pair.split_once('=').map(|(name, url)| (name.to_owned(), url.to_owned())));
    let urls = urls.collect::<Option<HashMap<_, _>>>().ok_or("a tenant is written NAME=TOKEN_URL")?;
    let names: Vec<String> = urls.keys().cloned().collect();
    let tenants = Tenants::new(&redis, Config::default(), urls).await?;
    for name in names {
        let token = std::env::var(format!("{}_REFRESH_TOKEN", name.to_uppercase()))?;
        match tenants.refresh(&name, &token).await? {
            Ok(refreshed) => println!("{name}: new tokens, the {}th fence", refreshed.fence()),
            Err(error) => println!("{name}: {error}"),
        }
    }
    tenants.close().await;
    Ok(())
}
