//! Whether somebody listens at an address of the operator's: connects once, and sends nothing.

use refresh_coordinator_cli::{BadSetting, Span};
use tokio::net::TcpStream;

pub(super) async fn reach(flag: &str, (host, port): &(String, u16), within: Span) -> Result<(), BadSetting> {
    let connect = TcpStream::connect((host.trim_matches(['[', ']']), *port));
    let reason = match tokio::time::timeout(within.0, connect).await {
        Ok(Ok(_)) => return Ok(()),
        Ok(Err(error)) => error.to_string(),
        Err(_) => format!("no answer within {within}"),
    };
    Err(BadSetting::new(format!(
        "{flag}: {host}:{port} cannot be reached: {reason}; correct the URL, or start without looking by \
         --no-check-upstream"
    )))
}
