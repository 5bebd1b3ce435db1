//! Three `refreshd serve` on one Redis in front of real providers, which judge by their own logs.

#[allow(dead_code, reason = "shared with other test binaries")]
#[path = "../serve/daemon.rs"]
mod daemon;
#[path = "../../../tests/support/environment.rs"]
mod environment;
#[path = "../../../tests/support/left_out.rs"]
mod left_out;
#[path = "../../../tests/support/pki.rs"]
mod pki;
#[path = "../support/real_provider.rs"]
mod provider;
#[path = "../../../tests/support/redis.rs"]
mod redis;
#[path = "../support/within.rs"]
mod within;

mod fleet;

mod another_claim;
mod apache;
mod glewlwyd;
mod held;
mod logout;
mod one_presentation;
mod other_claims;
mod passed_on;
mod python;
mod strangers;

use within::{within, within_time};
