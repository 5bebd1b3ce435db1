//! What a caller may cost: connections, sizes, times. The listener keeps to some of the limits, the endpoint to others.

use std::time::Duration;

use refresh_coordinator::Config;
use refresh_coordinator_cli::{BadSetting, Size, Span};

// No doc comment: clap would take it for the subcommand's own text.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Limits")]
pub(crate) struct Limits {
    /// How many connections are open at once. Where all places are taken, one that waits for its caller makes way for the
    /// next: of the address with the most connections, the one that waits the longest. One address has seven eighths of them
    /// at most, where there are eight or more
    #[arg(long, value_name = "N", env = "REFRESHD_MAX_CONNECTIONS", default_value_t = 4096,
        value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) max_connections: u32,
    /// How many connections of one address are open at once; more are closed. Not for callers behind a proxy, which all
    /// come from its address [default: no limit]
    #[arg(long, value_name = "N", env = "REFRESHD_MAX_CONNECTIONS_PER_PEER",
        value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) max_connections_per_peer: Option<u32>,
    /// A connection that has been open for longer is closed after its next answer
    #[arg(long, value_name = "TIME", env = "REFRESHD_MAX_CONNECTION_AGE", default_value = "1h")]
    pub(crate) max_connection_age: Span,
    /// How large the body of a request may be; more is answered with 413. At
    /// least --max-token
    #[arg(long, value_name = "SIZE", env = "REFRESHD_MAX_BODY", default_value_t = Size(128 * 1024))]
    pub(crate) max_body: Size,
    /// How large all headers of a request together may be; more is answered with 431
    #[arg(long, value_name = "SIZE", env = "REFRESHD_MAX_HEADERS", default_value_t = Size(32 * 1024))]
    pub(crate) max_headers: Size,
    /// How long reading the headers may take, and reading the body; also how long an idle connection stays open
    #[arg(long, value_name = "TIME", env = "REFRESHD_READ_TIMEOUT", default_value = "30s")]
    pub(crate) read_timeout: Span,
    /// How long a caller may read nothing of its answer
    #[arg(long, value_name = "TIME", env = "REFRESHD_WRITE_TIMEOUT", default_value = "10s")]
    pub(crate) write_timeout: Span,
}

/// hyper's smallest buffer.
const LEAST_HEADERS: usize = 8 * 1024;
const MOST_HEADERS: usize = 1024 * 1024;
const MOST_BODY: usize = 64 * 1024 * 1024;
/// Of what is read or written.
const TIMEOUTS: std::ops::RangeInclusive<Duration> = Duration::from_millis(10)..=Duration::from_secs(60 * 60);
const AGES: std::ops::RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(24 * 60 * 60);

impl Limits {
    pub(crate) fn validate(&self, config: &Config) -> Result<(), BadSetting> {
        if !(LEAST_HEADERS..=MOST_HEADERS).contains(&self.max_headers.0) {
            return Err(BadSetting::new(format!("--max-headers is {}: it must be 8KiB to 1MiB", self.max_headers)));
        }
        if self.max_body.0 > MOST_BODY {
            return Err(BadSetting::new(format!(
                "--max-body is {}: it must be at most {}",
                self.max_body,
                Size(MOST_BODY)
            )));
        }
        if self.max_body.0 < config.max_token {
            return Err(BadSetting::new(format!(
                "--max-body is {}: it must not be smaller than --max-token ({})",
                self.max_body,
                Size(config.max_token)
            )));
        }
        let spans = [
            ("--read-timeout", self.read_timeout, TIMEOUTS),
            ("--write-timeout", self.write_timeout, TIMEOUTS),
            ("--max-connection-age", self.max_connection_age, AGES),
        ];
        for (flag, span, allowed) in spans {
            if !allowed.contains(&span.0) {
                let (least, most) = (Span(*allowed.start()), Span(*allowed.end()));
                return Err(BadSetting::new(format!("{flag} is {span}: it must be {least} to {most}")));
            }
        }
        Ok(())
    }
}
