//! The text that says where Redis is.

use redis::Client;

use crate::error::ConnectError;

/// A client that has connected to nothing yet.
///
/// # Errors
///
/// [`ConnectError::Url`], without the URL: it may hold a password.
pub(crate) fn opened(url: &str) -> Result<Client, ConnectError> {
    Client::open(url).map_err(|error| ConnectError::Url { reason: error.to_string() })
}
