//! What the programs of this repository have in common on the command line: the coordinator's settings as flags, wrong
//! settings and errors as one line, and logs that tell no secret.

mod settings;
mod redis;
mod size;
mod values;
mod secrets;
mod bad_setting;
mod discretion;
mod open_to_all;
mod lines;
mod usage;
mod chain;

pub use bad_setting::BadSetting;
pub use chain::{chain, chain_as, innermost};
pub use discretion::is_discreet;
pub use lines::{complain, print_line};
pub use open_to_all::warn_if_open_to_all;
pub use redis::{Redis, RedisSettings};
pub use secrets::{is_shown_to_everybody, read_secret, secret};
pub use settings::Settings;
pub use size::Size;
pub use usage::{explain, usage_line};
pub use values::Span;
