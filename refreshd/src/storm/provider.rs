//! The built-in provider: a token endpoint in a process of its own, on 127.0.0.1.
//!
//! It judges a refresh token the moment it comes and answers a fixed time later, so requests that overlap cannot
//! slip past each other. It takes any client's word for who it is: it protects nothing but the rotation.
//!
//! * `POST /token`: `grant_type=refresh_token` (RFC 6749 section 6)
//! * `POST /storm/batches/<families>`: new logins, see [`Batch`](super::ledger::Batch)
//! * `GET /storm/batches/<batch>`: what the log says of them, see [`Verdict`](super::ledger::Verdict)

use std::io::Write;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::extract::{Path, State};
use axum::routing::{get, post};
use bytes::Bytes;
use http::{StatusCode, header};
use serde_json::json;
use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpSocket};
use tokio::time::Instant;

use super::ledger::{Judgement, Ledger};
use crate::settings::Span;

/// Where the built-in provider listens, and how slow it is.
#[derive(Debug, clap::Args)]
pub(crate) struct ProviderArguments {
    /// Where to listen; port 0 picks a free one
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// How long a refresh takes
    #[arg(long, value_name = "TIME", default_value = "50ms")]
    delay: Span,
}

/// Thousands of callers connect in the same instant; whoever finds the queue full tries again a second later only.
const BACKLOG: u32 = 4096;

/// Serves until stdin ends, so that it does not outlive whoever started it. The first line of stdout is the URL.
pub(crate) async fn run_provider(arguments: ProviderArguments) -> ExitCode {
    super::limits::raise_open_files();
    let listener = match listen(arguments.listen) {
        Ok(listener) => listener,
        Err(error) => {
            eprintln!("refreshd: --listen {} cannot be used: {error}", arguments.listen);
            return ExitCode::from(2);
        }
    };
    let url = listener.local_addr().map(|address| format!("http://{address}"));
    match url.and_then(|url| announce(&url)) {
        Ok(()) => {}
        Err(_) => return ExitCode::FAILURE,
    }

    let provider = Arc::new(Provider { ledger: Mutex::default(), delay: arguments.delay.0 });
    let routes = Router::new()
        .route("/token", post(token))
        .route("/storm/batches/{number}", get(verdict).post(open))
        .with_state(provider);
    tokio::select! {
        served = axum::serve(listener, routes) => match served {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("refreshd: the storm's provider stopped: {error}");
                ExitCode::FAILURE
            }
        },
        () = stdin_ended() => ExitCode::SUCCESS,
    }
}

fn listen(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

fn announce(url: &str) -> std::io::Result<()> {
    let mut stdout = std::io::stdout().lock();
    writeln!(stdout, "{url}")?;
    stdout.flush()
}

/// Whoever holds the other end is gone.
async fn stdin_ended() {
    let mut stdin = tokio::io::stdin();
    let mut ignored = [0; 64];
    while let Ok(1..) = stdin.read(&mut ignored).await {}
}

struct Provider {
    ledger: Mutex<Ledger>,
    delay: Duration,
}

impl Provider {
    fn ledger(&self) -> std::sync::MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

type Answer = (StatusCode, [(header::HeaderName, &'static str); 2], String);

fn answer(status: StatusCode, body: &serde_json::Value) -> Answer {
    (status, [(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "no-store")], body.to_string())
}

async fn token(State(provider): State<Arc<Provider>>, body: Bytes) -> Answer {
    let arrived = Instant::now();
    let parameter = |name: &str| form_urlencoded::parse(&body).find(|(n, _)| n == name).map(|(_, value)| value);
    if parameter("grant_type").as_deref() != Some("refresh_token") {
        return answer(StatusCode::BAD_REQUEST, &json!({ "error": "unsupported_grant_type" }));
    }
    let Some(token) = parameter("refresh_token") else {
        return answer(StatusCode::BAD_REQUEST, &json!({ "error": "invalid_request" }));
    };

    let judgement = provider.ledger().present(&token);
    tokio::time::sleep_until(arrived + provider.delay).await;

    // Every answer tells how long the provider took for it, so that storm can tell its own wait from that.
    let provider_us = arrived.elapsed().as_micros() as u64;
    match judgement {
        Judgement::Rotated(next) => answer(
            StatusCode::OK,
            &json!({
                "access_token": format!("at{}", uuid::Uuid::new_v4().simple()),
                "token_type": "Bearer",
                "expires_in": 300,
                "refresh_token": next,
                "provider_us": provider_us,
            }),
        ),
        Judgement::Reused | Judgement::Revoked | Judgement::Unknown => {
            answer(StatusCode::BAD_REQUEST, &json!({ "error": "invalid_grant", "provider_us": provider_us }))
        }
    }
}

async fn open(State(provider): State<Arc<Provider>>, Path(families): Path<usize>) -> Answer {
    let batch = provider.ledger().open(families);
    answer(StatusCode::CREATED, &json!(batch))
}

async fn verdict(State(provider): State<Arc<Provider>>, Path(batch): Path<usize>) -> Answer {
    let verdict = provider.ledger().verdict(batch);
    answer(StatusCode::OK, &json!(verdict))
}
