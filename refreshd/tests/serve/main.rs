//! `refreshd serve` as its users meet it: the real binary, real signals, and a provider that judges by what it saw.

mod daemon;
mod frames;
mod promtool;
mod provider;

#[path = "../../../tests/support/certified.rs"]
mod certified;

#[path = "../../../tests/support/environment.rs"]
mod environment;

#[path = "../../../tests/support/left_out.rs"]
mod left_out;

#[path = "../../../tests/support/pki.rs"]
mod pki;

#[path = "../../../tests/support/redis.rs"]
mod redis;

#[path = "../../../tests/support/stopwatch.rs"]
mod stopwatch;

#[allow(unreachable_pub, reason = "it is public where other tests take it")]
#[path = "../../../tests/support/wait.rs"]
mod wait;

#[path = "../support/within.rs"]
mod within;

mod another_claim;
mod answer_forms;
mod answers;
mod beside;
mod beside_haproxy;
mod beside_nginx;
mod broken_answers;
mod caller_tls;
mod callers;
mod closed_tabs;
mod config_file;
mod connections;
mod drain;
mod end_after_outage;
mod file_read_again;
mod fleet;
mod gauges;
mod half_closed;
mod http2;
mod http2_left;
mod lifetimes;
mod limits;
mod lines;
mod measured;
mod memory;
mod memory_given_back;
mod moved_under_load;
mod namespace;
mod onward;
mod operate;
mod outage;
mod proxy;
mod reached_at_start;
mod ready;
mod redis_tls;
mod refresh;
mod revocation;
mod rules;
mod secrets;
mod several;
mod shares;
mod signed;
mod start;
mod status;
mod status_in_a_browser;
mod strangers;
mod supervised;
mod tls;
mod tolerated;
mod wrong_protocol;

use within::{within, within_time};
