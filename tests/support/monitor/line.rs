//! What MONITOR writes, line by line: for a test's log as for a bench that plays a run again.
#![allow(dead_code, unreachable_pub, reason = "each binary uses a part of it")]

use std::time::Duration;

use redis::IntoConnectionInfo;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::net::TcpStream;

/// Everything that the server is sent from now on, until this is dropped.
pub async fn listen(url: &str) -> Lines<BufReader<TcpStream>> {
    let info = url.into_connection_info().expect("a redis URL");
    let settings = info.redis_settings();
    let mut commands = Vec::new();
    if let Some(password) = settings.password() {
        commands.push(format!("AUTH {} {password}", settings.username().unwrap_or("default")));
    }
    commands.push("MONITOR".to_owned());

    let socket = TcpStream::connect(info.addr().to_string()).await.expect("redis is there");
    let mut lines = BufReader::new(socket).lines();
    for command in commands {
        lines.get_mut().write_all(format!("{command}\r\n").as_bytes()).await.expect("sent");
        assert_eq!(lines.next_line().await.expect("a line").as_deref(), Some("+OK"));
    }
    lines
}

/// One command as the server got it.
#[derive(Clone, Debug)]
pub struct Sent {
    /// The server's clock.
    pub at: Duration,
    /// Address of the client; `lua` for what a script calls.
    pub by: String,
    pub words: Vec<Vec<u8>>,
}

impl Sent {
    /// `+1791234567.123456 [0 127.0.0.1:4711] "set" "a\"b" "\x00"`; none for anything else.
    pub fn read(line: &str) -> Option<Self> {
        let line = line.strip_prefix('+')?;
        let (at, rest) = line.split_once(" [")?;
        let (client, rest) = rest.split_once("] ")?;
        let (_, by) = client.split_once(' ')?;
        let at = Duration::from_secs_f64(at.parse().ok()?);
        Some(Self { at, by: by.to_owned(), words: words(rest) })
    }
}

fn words(text: &str) -> Vec<Vec<u8>> {
    let (mut words, mut bytes) = (Vec::new(), text.bytes());
    while let Some(byte) = bytes.next() {
        if byte != b'"' {
            continue;
        }
        let mut word = Vec::new();
        loop {
            match bytes.next().expect("the word ends") {
                b'"' => break,
                b'\\' => word.push(match bytes.next().expect("something is escaped") {
                    b'n' => b'\n',
                    b'r' => b'\r',
                    b't' => b'\t',
                    b'a' => 7,
                    b'b' => 8,
                    b'x' => {
                        let digits = [bytes.next().expect("a digit"), bytes.next().expect("a digit")];
                        let digits = std::str::from_utf8(&digits).expect("ASCII");
                        u8::from_str_radix(digits, 16).expect("hex")
                    }
                    other => other,
                }),
                other => word.push(other),
            }
        }
        words.push(word);
    }
    words
}
