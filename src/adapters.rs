//! What joins the coordinator to crates that applications use already: each is a feature, and none is on by default.
//!
//! * [`reqwest`]: asks a token endpoint right, and tells what was not sent from what is unknown.
//! * [`oauth2`]: a client of `oauth2` 5, and of `openidconnect` 4, refreshes through the coordinator.
//! * [`axum`]: a handler is handed a valid access token, or the caller the right answer.

#[cfg(feature = "axum")]
pub mod axum;
#[cfg(feature = "oauth2")]
pub mod oauth2;
#[cfg(feature = "reqwest")]
pub mod reqwest;
