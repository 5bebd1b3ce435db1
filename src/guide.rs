//! The guide: what no single type tells. The pages are in `docs/`.

#[doc = include_str!("../docs/guarantees.md")]
pub mod guarantees {}

#[doc = include_str!("../docs/redis-cli.md")]
pub mod redis_cli {}

#[doc = include_str!("../docs/differences.md")]
pub mod differences {}
