//! What the tests share.
#![allow(dead_code, unreachable_pub, reason = "each test binary uses a part of it")]

pub mod fleet;
pub mod leaks;
pub mod left_out;
pub mod monitor;
pub mod mortal;
pub mod provider;
pub mod redis;
pub mod stopwatch;
pub mod wait;
pub mod way;
