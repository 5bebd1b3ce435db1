//! What a storm will do.

use std::path::PathBuf;
use std::time::Duration;

use refresh_coordinator::Secret;
use refresh_coordinator_cli::Redis;

use crate::rules::Rules;
use crate::tokens::TokenFile;

/// Whether callers are coordinated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    Without,
    With,
}

/// What will be done. Holds nothing that contradicts itself.
pub(crate) struct Plan {
    pub(crate) pods: usize,
    pub(crate) callers: usize,
    /// Families in each mode.
    pub(crate) tokens: usize,
    pub(crate) at_once: usize,
    pub(crate) chain: usize,
    /// All callers go away before they are answered, and come again later.
    pub(crate) closed_tabs: bool,
    pub(crate) modes: Vec<Mode>,
    pub(crate) connections: usize,
    pub(crate) time_limit: Duration,
    pub(crate) json: bool,
    pub(crate) picture: Option<PathBuf>,
    pub(crate) fleet: FleetKind,
    pub(crate) provider: ProviderKind,
    pub(crate) rules: Rules,
    pub(crate) pepper: Option<Secret>,
}

/// What coordinates the callers in the mode with coordination, and where the pods run.
pub(crate) enum FleetKind {
    /// Coordinators of this process that share a store in memory.
    Embedded,
    /// Processes that share Redis. `namespace` says whether other pods can be in it.
    Redis { redis: Box<Redis>, namespace: Namespace },
    /// These refreshd; the pods are clients in this process.
    Refreshds { token_urls: Vec<String> },
    /// Coordinators that share nothing.
    Sabotaged { in_processes: bool },
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Namespace {
    /// Made up for this storm, and removed after it.
    Own,
    /// The user's.
    Given,
}

pub(crate) enum ProviderKind {
    BuiltIn {
        delay: Duration,
    },
    /// A built-in provider that is there already, at this URL.
    Elsewhere {
        url: String,
    },
    Real(Box<RealProvider>),
}

pub(crate) struct RealProvider {
    /// Its own token endpoint; none where only refreshd are asked.
    pub(crate) url: Option<String>,
    pub(crate) client_id: String,
    pub(crate) client_secret: Option<Secret>,
    pub(crate) tokens: TokenFile,
}
