//! What a caller may cost: connections, sizes, times. The listener keeps to some of the limits, the endpoint to others.

use std::time::Duration;

use refresh_coordinator_cli::{BadSetting, Span};

use crate::size::Size;

// No doc comment: clap would take it for the subcommand's own text.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Limits")]
pub(crate) struct Limits {
    /// How many connections are open at once; more wait to be accepted
    #[arg(long, value_name = "N", env = "REFRESHD_MAX_CONNECTIONS", default_value_t = 4096,
        value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) max_connections: u32,
    /// How large the body of a request may be; more is answered with 413
    #[arg(long, value_name = "SIZE", env = "REFRESHD_MAX_BODY", default_value_t = Size(64 * 1024))]
    pub(crate) max_body: Size,
    /// How large all headers of a request together may be; more is answered with 431
    #[arg(long, value_name = "SIZE", env = "REFRESHD_MAX_HEADERS", default_value_t = Size(32 * 1024))]
    pub(crate) max_headers: Size,
    /// How long reading the headers may take, and reading the body; also how long an idle connection stays open
    #[arg(long, value_name = "TIME", env = "REFRESHD_READ_TIMEOUT", default_value = "30s")]
    pub(crate) read_timeout: Span,
}

/// hyper's smallest buffer.
const LEAST_HEADERS: usize = 8 * 1024;

impl Limits {
    pub(crate) fn validate(&self) -> Result<(), BadSetting> {
        if self.max_headers.0 < LEAST_HEADERS {
            return Err(BadSetting::new(format!("--max-headers is {}: it must be 8KiB or more", self.max_headers)));
        }
        if self.max_body.0 == 0 {
            return Err(BadSetting::new("--max-body is 0: it must be 1 or more"));
        }
        if self.read_timeout.0 < Duration::from_millis(10) {
            return Err(BadSetting::new(format!("--read-timeout is {}: it must be 10ms or more", self.read_timeout)));
        }
        Ok(())
    }
}
