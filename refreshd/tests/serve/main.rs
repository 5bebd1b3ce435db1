//! `refreshd serve` as its users meet it: the real binary, real signals, and a provider that judges by what it saw.

mod daemon;
mod provider;

#[path = "../../../tests/support/certified.rs"]
mod certified;

#[path = "../../../tests/support/environment.rs"]
mod environment;

#[path = "../../../tests/support/redis.rs"]
mod redis;

#[path = "../../../tests/support/stopwatch.rs"]
mod stopwatch;

#[path = "../support/within.rs"]
mod within;

mod connections;
mod drain;
mod fleet;
mod http2;
mod lifetimes;
mod limits;
mod onward;
mod outage;
mod refresh;
mod rules;
mod secrets;
mod start;
mod tls;

use within::within;
