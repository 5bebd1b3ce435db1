//! What the tests share.
#![allow(dead_code, unreachable_pub, reason = "each test binary uses a part of it")]

pub mod endpoint;
pub mod fleet;
pub mod leaks;
pub mod left_out;
pub mod logged;
pub mod monitor;
pub mod mortal;
#[cfg(feature = "postgres")]
pub mod postgres;
pub mod provider;
pub mod proxy;
pub mod redis;
pub mod rotating;
pub mod session_stores;
pub mod stopwatch;
pub mod strict;
pub mod wait;
pub mod way;
