//! The call to the provider: one HTTP request on a connection of its own, stopped wherever the driver wants.

use std::net::SocketAddr;

use refresh_coordinator::exchange::read_answer;
use refresh_coordinator::{ProviderFailure, TokenResponse};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Presents a token. `sent` is awaited when the request is out.
pub(crate) async fn present(
    provider: SocketAddr,
    call: u64,
    token: &str,
    secret: &str,
    sent: impl AsyncFnOnce(),
) -> Result<TokenResponse, ProviderFailure> {
    let mut stream =
        TcpStream::connect(provider).await.map_err(|error| ProviderFailure::not_sent(error.to_string()))?;
    let unknown = |error: std::io::Error| ProviderFailure::unknown(error.to_string());
    let body = format!("grant_type=refresh_token&refresh_token={token}&client_secret={secret}");
    let request = format!(
        "POST /token HTTP/1.1\r\nhost: provider\r\nx-call: {call}\r\n\
         content-type: application/x-www-form-urlencoded\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).await.map_err(unknown)?;
    sent().await;
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).await.map_err(unknown)?;
    let answer = read_response(&bytes).ok_or_else(|| ProviderFailure::unknown("no whole answer"))?;
    read_answer(answer)
}

fn read_response(bytes: &[u8]) -> Option<http::Response<Vec<u8>>> {
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n")?;
    let head = std::str::from_utf8(&bytes[..end]).ok()?;
    let body = &bytes[end + 4..];
    let mut lines = head.split("\r\n");
    let status: u16 = lines.next()?.split(' ').nth(1)?.parse().ok()?;
    let mut response = http::Response::builder().status(status);
    for line in lines {
        let (name, value) = line.split_once(':')?;
        if name == "content-length" && value.trim().parse() != Ok(body.len()) {
            return None;
        }
        response = response.header(name, value.trim());
    }
    response.body(body.to_vec()).ok()
}
