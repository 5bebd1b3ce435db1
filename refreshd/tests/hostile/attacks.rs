//! What a hostile caller does, again and again until it is told to stop: each attack is some connections from one address.

use std::net::Ipv4Addr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::daemon::{Daemon, FORM};
use crate::{connect_from, within};

/// Where attacks come from. No honest caller has this address.
const ATTACKER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 3);

/// What is done to refreshd.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Attack {
    /// Requests in a row, and no answer is read.
    WriteStalls,
    /// Most of the largest body, and then nothing.
    HalfBodies,
    /// Connections without a byte.
    IdleFlood,
    /// Headers without an end: over the limit, or just below it and then nothing.
    HeaderFlood,
    /// Far more connections than there are places.
    Descriptors,
    /// Nobody reads the log, and requests that are refused write more of it than is kept.
    BlockedLog,
}

/// An attack goes on for as long as this lives.
pub(crate) struct Begun<'a> {
    attack: Attack,
    daemon: &'a Daemon,
    _connections: JoinSet<()>,
}

impl Attack {
    pub(crate) const ALL: [Self; 6] =
        [Self::WriteStalls, Self::HalfBodies, Self::IdleFlood, Self::HeaderFlood, Self::Descriptors, Self::BlockedLog];

    /// As `tests/hostile/run` is told it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::WriteStalls => "write-stalls",
            Self::HalfBodies => "half-bodies",
            Self::IdleFlood => "idle-flood",
            Self::HeaderFlood => "header-flood",
            Self::Descriptors => "descriptors",
            Self::BlockedLog => "blocked-log",
        }
    }

    /// More than the 64 places that refreshd has here, but for the log, which needs few callers. Not so many that they take the
    /// processors, which they share with refreshd: an attacker with more of those than refreshd has can always do that.
    fn connections(self) -> usize {
        match self {
            Self::WriteStalls => 72,
            Self::HalfBodies | Self::HeaderFlood => 128,
            Self::IdleFlood => 256,
            Self::Descriptors => 3000,
            Self::BlockedLog => 4,
        }
    }

    /// When a connection that was cut comes again. Thousands at once, or hundreds of kilobytes of answers again and again, take the
    /// processors of the attacker, which are refreshd's here.
    fn before_the_next(self) -> Duration {
        match self {
            Self::HalfBodies | Self::IdleFlood | Self::HeaderFlood | Self::BlockedLog => Duration::from_millis(50),
            Self::WriteStalls | Self::Descriptors => Duration::from_secs(1),
        }
    }

    /// Thousands come within a second: at the same moment they would be measured as they are opened, one behind the other.
    fn before_the_first(self, number: usize) -> Duration {
        match self {
            Self::Descriptors => Duration::from_secs(1) * number as u32 / self.connections() as u32,
            _ => Duration::ZERO,
        }
    }

    /// The smallest, so that an answer which nobody reads stalls soon.
    fn receive_buffer(self) -> Option<u32> {
        (self == Self::WriteStalls).then_some(4096)
    }

    pub(crate) async fn begin(self, daemon: &Daemon) -> Begun<'_> {
        if self == Self::BlockedLog {
            daemon.read_log(false);
            fill_log(daemon).await;
        }
        let mut connections = JoinSet::new();
        for number in 0..self.connections() {
            let address = daemon.address;
            let first = self.before_the_first(number);
            connections.spawn(async move {
                tokio::time::sleep(first).await;
                loop {
                    if let Ok(stream) = connect_from(ATTACKER, address, self.receive_buffer()).await {
                        self.hold(number, stream).await;
                    }
                    tokio::time::sleep(self.before_the_next()).await;
                }
            });
        }
        Begun { attack: self, daemon, _connections: connections }
    }

    /// Ends when the connection does.
    async fn hold(self, number: usize, mut stream: TcpStream) {
        let sent = match self {
            Self::WriteStalls => loop {
                if let Err(error) = stream.write_all(&b"GET /metrics HTTP/1.1\r\nhost: x\r\n\r\n".repeat(100)).await {
                    break Err(error);
                }
            },
            Self::HalfBodies => stream.write_all(&half_a_body()).await,
            Self::IdleFlood | Self::Descriptors => Ok(()),
            Self::HeaderFlood => {
                let bytes = if number.is_multiple_of(2) { 40 * 1024 } else { 30 * 1024 };
                let headers = format!("GET / HTTP/1.1\r\nx: {}", "y".repeat(bytes));
                stream.write_all(headers.as_bytes()).await
            }
            Self::BlockedLog => loop {
                if refused(&mut stream, 10).await.is_err() {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            },
        };
        if sent.is_ok() {
            // Until it is cut, or told that its request is refused.
            while stream.read(&mut [0; 512]).await.is_ok_and(|read| read > 0) {}
        }
    }
}

impl Drop for Begun<'_> {
    fn drop(&mut self) {
        if self.attack == Attack::BlockedLog {
            self.daemon.read_log(true);
        }
    }
}

/// Of 128 KiB, the largest there is.
fn half_a_body() -> Vec<u8> {
    let head = format!("POST /token HTTP/1.1\r\nhost: x\r\ncontent-type: {FORM}\r\ncontent-length: 131072\r\n\r\n");
    let body = format!("grant_type=refresh_token&refresh_token={}", "x".repeat(120 * 1024));
    (head + &body).into_bytes()
}

/// Sends requests that are refused with a line of the log each, and reads the answers.
async fn refused(stream: &mut TcpStream, times: usize) -> std::io::Result<()> {
    let body = "grant_type=refresh_token&refresh_token=a&refresh_token=b";
    let head =
        format!("POST /token HTTP/1.1\r\nhost: x\r\ncontent-type: {FORM}\r\ncontent-length: {}\r\n\r\n", body.len());
    stream.write_all((head + body).repeat(times).as_bytes()).await?;
    // With what may be the beginning of an answer that comes in two parts.
    let (mut answers, mut some, mut begun) = (0, vec![0; 16 * 1024], 0);
    while answers < times {
        let read = stream.read(&mut some[begun..]).await?;
        if read == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        let end = begun + read;
        answers += some[..end].windows(9).filter(|bytes| bytes == b"HTTP/1.1 ").count();
        begun = end.min(8);
        some.copy_within(end - begun..end, 0);
    }
    Ok(())
}

/// Until lines are left out: the pipe is full, and so is what refreshd keeps.
async fn fill_log(daemon: &Daemon) {
    let mut stream = within(connect_from(ATTACKER, daemon.address, None)).await.expect("it listens");
    let is_full = |metrics: &str| {
        metrics
            .lines()
            .any(|line| line.strip_prefix("refreshd_log_lines_left_out_total ").is_some_and(|left_out| left_out != "0"))
    };
    while !is_full(&daemon.get("/metrics").await.1) {
        within(refused(&mut stream, 500)).await.expect("answered");
    }
}
