//! What a run of failovers is told.

use std::path::PathBuf;

#[derive(Clone, Debug, clap::Args)]
pub(crate) struct FailoverArguments {
    /// How many
    #[arg(default_value_t = 10)]
    pub(super) failovers: usize,
    /// Decides which caller comes when, and how long the provider takes
    #[arg(long, default_value_t = 1)]
    pub(super) seed: u64,
    /// Refreshes per second, over all pods
    #[arg(long, default_value_t = 60)]
    pub(super) rate: u64,
    /// What the replica lags behind, in ms
    #[arg(long, default_value_t = 12)]
    pub(super) lag: u64,
    /// The lease, in ms
    #[arg(long, default_value_t = 1000)]
    pub(super) lease: u64,
    /// Where history and logs are kept [default: a temporary directory]
    #[arg(long)]
    pub(super) keep: Option<PathBuf>,
}
