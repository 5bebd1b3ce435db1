//! The built-in provider: a token endpoint in a process of its own, on 127.0.0.1 unless it is told otherwise.
//!
//! It judges a refresh token the moment it comes and answers a fixed time later, so requests that overlap cannot
//! slip past each other. It authenticates no client: it protects nothing but the rotation.
//!
//! * `POST /token`: `grant_type=refresh_token` (RFC 6749 section 6)
//! * `POST /storm/batches/<families>`: new logins, see [`Batch`](crate::ledger::Batch)
//! * `GET /storm/batches/<batch>`: what the log says of them, see [`Counts`](crate::ledger::Counts)
//! * `GET /readyz`: 200, for health checks
//! * `GET /storm/batches/<batch>/presentations/<families>`: every [`Presentation`](crate::timeline::Presentation) for
//!   the first of them

use std::convert::Infallible;
use std::io::Write;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use refresh_coordinator_cli::Span;
use serde_json::json;
use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpSocket};
use tokio::time::Instant;

use crate::ledger::{Judgement, Ledger};
use crate::{clock, limits};

/// Where the built-in provider listens, and how slow it is.
#[derive(Debug, clap::Args)]
pub(crate) struct ProviderArguments {
    /// Where to listen; port 0 picks a free one. Everybody who reaches it can log in and read its log: it is for tests
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// How long a refresh takes
    #[arg(long, value_name = "TIME", default_value = "50ms")]
    delay: Span,
    /// End with stdin, too: with the program that started this one
    #[arg(long, hide = true)]
    with_stdin: bool,
}

/// Thousands of callers connect in the same instant; a caller that finds the queue full tries again a second later
/// only.
const BACKLOG: u32 = 4096;

/// More than any token request.
const LARGEST_REQUEST: usize = 64 * 1024;

/// Serves until SIGTERM or SIGINT. The first line of stdout is the URL.
pub(crate) async fn run_provider(arguments: ProviderArguments) -> ExitCode {
    limits::raise_open_files();
    let listener = match listen(arguments.listen) {
        Ok(listener) => listener,
        Err(error) => {
            eprintln!("refresh-storm: --listen {} cannot be used: {error}", arguments.listen);
            return ExitCode::from(2);
        }
    };
    let url = listener.local_addr().map(|address| format!("http://{address}"));
    match url.and_then(|url| announce(&url)) {
        Ok(()) => {}
        Err(_) => return ExitCode::FAILURE,
    }

    let provider = Arc::new(Provider { ledger: Mutex::default(), delay: arguments.delay.0 });
    tokio::select! {
        () = serve(&listener, &provider) => unreachable!("BUG: it never ends"),
        () = stdin_ended(), if arguments.with_stdin => ExitCode::SUCCESS,
        () = asked_to_end() => ExitCode::SUCCESS,
    }
}

async fn serve(listener: &TcpListener, provider: &Arc<Provider>) {
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(_) => {
                // Files ran out, most likely: the connections that are open end some day.
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        let provider = Arc::clone(provider);
        tokio::spawn(async move {
            let answering = service_fn(|request| answer_to(&provider, request));
            // A caller that goes away in the middle is no matter of the provider's.
            _ = http1::Builder::new().serve_connection(TokioIo::new(stream), answering).await;
        });
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

/// The program that holds the other end is gone.
async fn stdin_ended() {
    let mut stdin = tokio::io::stdin();
    let mut ignored = [0; 64];
    while let Ok(1..) = stdin.read(&mut ignored).await {}
}

/// A process with the number 1, as containers have it, is not ended by a signal that it does not listen to.
async fn asked_to_end() {
    let terminated = async {
        #[cfg(unix)]
        if let Ok(mut signal) = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()) {
            signal.recv().await;
            return;
        }
        std::future::pending().await
    };
    tokio::select! {
        () = terminated => {}
        Ok(()) = tokio::signal::ctrl_c() => {}
    }
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

type Answer = Response<Full<Bytes>>;

async fn answer_to(provider: &Provider, request: Request<Incoming>) -> Result<Answer, Infallible> {
    let (parts, body) = request.into_parts();
    let path: Vec<&str> = parts.uri.path().split('/').skip(1).collect();
    let answer = match (&parts.method, &path[..]) {
        (&Method::POST, ["token"]) => match Limited::new(body, LARGEST_REQUEST).collect().await {
            Ok(body) => token(provider, &body.to_bytes()).await,
            Err(_) => refused("invalid_request"),
        },
        (&Method::GET, ["readyz"]) => answer(StatusCode::OK, &json!({ "ready": true })),
        (&Method::POST, ["storm", "batches", families]) => match families.parse() {
            Ok(families) => answer(StatusCode::CREATED, &json!(provider.ledger().open(families))),
            Err(_) => refused("invalid_request"),
        },
        (&Method::GET, ["storm", "batches", batch]) => match batch.parse() {
            Ok(batch) => answer(StatusCode::OK, &json!(provider.ledger().counts(batch))),
            Err(_) => refused("invalid_request"),
        },
        (&Method::GET, ["storm", "batches", batch, "presentations", families]) => {
            match (batch.parse(), families.parse()) {
                (Ok(batch), Ok(families)) => {
                    answer(StatusCode::OK, &json!(provider.ledger().presentations(batch, families)))
                }
                _ => refused("invalid_request"),
            }
        }
        _ => answer(StatusCode::NOT_FOUND, &json!({ "error": "not_found" })),
    };
    Ok(answer)
}

fn answer(status: StatusCode, body: &serde_json::Value) -> Answer {
    let mut answer = Response::new(Full::from(body.to_string()));
    *answer.status_mut() = status;
    answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    answer.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    answer
}

fn refused(error: &str) -> Answer {
    answer(StatusCode::BAD_REQUEST, &json!({ "error": error }))
}

async fn token(provider: &Provider, body: &[u8]) -> Answer {
    let arrived = Instant::now();
    let parameter = |name: &str| form_urlencoded::parse(body).find(|(n, _)| n == name).map(|(_, value)| value);
    if parameter("grant_type").as_deref() != Some("refresh_token") {
        return refused("unsupported_grant_type");
    }
    let Some(token) = parameter("refresh_token") else {
        return refused("invalid_request");
    };

    let judgement = provider.ledger().present(&token, clock::unix_us());
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
