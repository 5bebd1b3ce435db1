//! The provider: rotates, punishes reuse, logs every presentation before it judges it. A process of its own, so that
//! nothing that happens to a pod happens to its log.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

use crate::steps::{BY_DRIVER, PresentationStep, Reply, Verdict};
use crate::tokens::{CLIENT_SECRET, HUSH, Mode, Token};
use crate::wire::{ProviderSays, say};

/// How long it takes where nothing else was arranged.
pub(crate) const USUAL_DELAY: Duration = Duration::from_millis(20);

#[derive(Default)]
struct Ledger {
    families: HashMap<String, Family>,
    presentations: u64,
}

#[derive(Default)]
struct Family {
    /// Which generation is good.
    current: u64,
    ended: bool,
    asked: bool,
}

pub(crate) async fn serve() -> std::io::Result<()> {
    let socket = TcpSocket::new_v4()?;
    socket.bind(([127, 0, 0, 1], 0).into())?;
    let listener: TcpListener = socket.listen(4096)?;
    say(ProviderSays::Ready { address: listener.local_addr()? });
    let ledger = Arc::new(Mutex::new(Ledger::default()));
    loop {
        let (stream, _) = listener.accept().await?;
        let ledger = Arc::clone(&ledger);
        tokio::spawn(async move {
            // A client that goes away is its own affair.
            _ = answer(stream, ledger).await;
        });
    }
}

async fn answer(mut stream: TcpStream, ledger: Arc<Mutex<Ledger>>) -> std::io::Result<()> {
    let Some((call, token, secret)) = read_request(&mut stream).await? else { return Ok(()) };
    let Some(token) = Token::read(&token) else { return Ok(()) };
    let (number, verdict, mode, delay) = judge(&ledger, call, &token, &secret);
    tokio::time::sleep(delay).await;

    let (status, body) = match verdict {
        _ if matches!(mode, Mode::Rotated500 | Mode::Plain500) => (500, "{}".to_owned()),
        Verdict::Rotated | Verdict::Untouched => {
            let next = token.next().text();
            let access = format!("{HUSH}.access.{number}");
            let body = serde_json::json!({
                "access_token": access, "token_type": "Bearer", "expires_in": token.access_life_s(),
                "refresh_token": next,
            });
            (200, body.to_string())
        }
        Verdict::Reused | Verdict::Revoked => (400, r#"{"error":"invalid_grant"}"#.to_owned()),
        Verdict::WrongClient => (401, r#"{"error":"invalid_client"}"#.to_owned()),
    };
    let whole = format!(
        "HTTP/1.1 {status} x\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    );
    let replied = match mode {
        Mode::Well | Mode::Short | Mode::Rotated500 | Mode::Plain500 => stream.write_all(whole.as_bytes()).await,
        Mode::Half => stream.write_all(&whole.as_bytes()[..whole.len() - body.len() / 2]).await,
        Mode::Close => Ok(()),
        Mode::Reset => stream.set_zero_linger(),
    };
    let is_whole = matches!(mode, Mode::Well | Mode::Short) && replied.is_ok();
    tell(number, PresentationStep::Replied(if is_whole { Reply::Whole } else { Reply::Broken }));
    if mode != Mode::Reset {
        stream.shutdown().await?;
    }
    Ok(())
}

fn judge(ledger: &Mutex<Ledger>, call: u64, token: &Token, secret: &str) -> (u64, Verdict, Mode, Duration) {
    let mut ledger = ledger.lock().expect("BUG: nothing panics with this lock held");
    ledger.presentations += 1;
    let number = ledger.presentations;
    // First the log, then the judgement: what is in doubt has been presented.
    tell(number, PresentationStep::Presented { token: token.text(), call });
    let family = ledger.families.entry(token.family.clone()).or_default();
    let is_first = token.generation == 0 && !family.asked && call != BY_DRIVER;
    let has_delay = is_first || (token.mode == Mode::Short && call != BY_DRIVER);
    let (mode, delay) =
        if has_delay { (token.mode, Duration::from_millis(token.delay_ms)) } else { (Mode::Well, USUAL_DELAY) };
    let verdict = if secret != CLIENT_SECRET {
        Verdict::WrongClient
    } else if family.ended {
        Verdict::Revoked
    } else if token.generation != family.current {
        family.ended = true;
        Verdict::Reused
    } else if is_first && mode == Mode::Plain500 {
        family.asked = true;
        Verdict::Untouched
    } else {
        family.asked = true;
        family.current += 1;
        Verdict::Rotated
    };
    tell(number, PresentationStep::Judged(verdict));
    (number, verdict, mode, delay)
}

/// Call, token and client secret.
async fn read_request(stream: &mut TcpStream) -> std::io::Result<Option<(u64, String, String)>> {
    let mut bytes = Vec::new();
    loop {
        let mut chunk = [0; 4096];
        let read = stream.read(&mut chunk).await?;
        if read == 0 {
            return Ok(None);
        }
        bytes.extend_from_slice(&chunk[..read]);
        let text = String::from_utf8_lossy(&bytes);
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let header = |name: &str| head.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
        let length: usize = header("content-length:").and_then(|length| length.parse().ok()).unwrap_or(0);
        if body.len() < length {
            continue;
        }
        let call = header("x-call:").and_then(|call| call.parse().ok()).unwrap_or(BY_DRIVER);
        let field =
            |name: &str| body.split('&').find_map(|pair| pair.strip_prefix(name)).unwrap_or_default().to_owned();
        return Ok(Some((call, field("refresh_token="), field("client_secret="))));
    }
}

fn tell(number: u64, step: PresentationStep) {
    say(ProviderSays::Presentation { number, step });
}
