//! What a run of the suite is told.

use std::path::PathBuf;

use crate::transport::Transport;

#[derive(Clone, Debug, clap::Args)]
pub(crate) struct RunArguments {
    /// Decides the order of the faults, their victims, and which caller asks when
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
    /// For about an hour
    #[arg(long)]
    pub(crate) long: bool,
    /// How often each fault happens to each fleet [default: 1, or as often as fits an hour]
    #[arg(long)]
    pub(crate) repeat: Option<usize>,
    /// Only faults whose name holds this
    #[arg(long)]
    pub(crate) only: Option<String>,
    /// Only fleets whose name holds this: retry, retry0, never, local, chains; sentinel, sentinel-never, sentinel-local, cluster ...
    #[arg(long)]
    pub(crate) policy: Option<String>,
    /// Where the fleets' Redis is: standalone, sentinel, cluster, all [default: standalone, and a few rows of both others
    /// where no fault and no fleet is named; with --long all]
    #[arg(long, value_parser = ["standalone", "sentinel", "cluster", "all"])]
    pub(crate) topology: Option<String>,
    /// How pods come to their Redis: other ways than TCP only where there is one server. `mtls` is a user with exactly the
    /// documented rights, over mutual TLS
    #[arg(long, value_enum, default_value_t)]
    pub(crate) over: Transport,
    /// Breaks something on purpose: the suite must fail
    #[arg(long)]
    pub(crate) sabotage: Option<String>,
    /// Where histories and logs are kept [default: a temporary directory]
    #[arg(long)]
    pub(crate) keep: Option<PathBuf>,
}
