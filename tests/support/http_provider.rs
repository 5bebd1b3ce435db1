//! The strict provider over HTTP: a token endpoint and a revocation endpoint.
#![allow(unreachable_pub, reason = "as all that tests share")]

use axum::Router;
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, HeaderName, StatusCode};
use axum::routing::post;

use crate::support::strict::StrictProvider;

/// Serves it for as long as the test runs. Answers its URL.
pub async fn serve(provider: StrictProvider) -> String {
    let app = Router::new().route("/token", post(token)).route("/revoke", post(revoke)).with_state(provider);
    serve_app(app).await
}

/// Serves an application at a port of its own, for as long as the test runs.
pub async fn serve_app(app: Router) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("its address");
    tokio::spawn(async move { axum::serve(listener, app).await });
    format!("http://{address}")
}

/// JSON, and called so.
type Json = (StatusCode, [(HeaderName, &'static str); 1], String);

fn json(status: StatusCode, body: impl Into<String>) -> Json {
    (status, [(CONTENT_TYPE, "application/json")], body.into())
}

async fn token(State(provider): State<StrictProvider>, headers: HeaderMap, body: String) -> Json {
    let form = parameters(&body);
    let is_right = field(&form, "grant_type") == "refresh_token"
        && headers.get("accept").is_some_and(|accept| accept == "application/json")
        && headers.get("authorization").is_some_and(|credentials| credentials == "Basic bXktYXBwOml0cy1zZWNyZXQ=");
    if !is_right {
        return json(StatusCode::UNAUTHORIZED, r#"{"error":"invalid_client"}"#);
    }
    match provider.answer(field(&form, "refresh_token")).await {
        Ok(body) => json(StatusCode::OK, body),
        Err(error) => json(StatusCode::BAD_REQUEST, format!(r#"{{"error":"{error}"}}"#)),
    }
}

async fn revoke(State(provider): State<StrictProvider>, body: String) {
    provider.revoke(field(&parameters(&body), "token"));
}

fn parameters(body: &str) -> Vec<(String, String)> {
    form_urlencoded::parse(body.as_bytes()).into_owned().collect()
}

fn field<'a>(form: &'a [(String, String)], name: &str) -> &'a str {
    form.iter().find(|(of, _)| of == name).map_or("", |(_, value)| value)
}
