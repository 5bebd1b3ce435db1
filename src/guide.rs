//! The guide: what no single type tells. The pages are in `docs/`.

/// Where the files are that a page links to, for readers that have the crate and not the repository.
///
/// Pages write `[words][path]`, and what the path leads to in the repository at their end. Of two definitions of a link
/// Markdown takes the first: here that is this one. `tests/documents.rs` asks for each.
macro_rules! in_repository {
    ($($path:literal),+) => {
        concat!($("[", $path, "]: ", env!("CARGO_PKG_REPOSITORY"), "/blob/HEAD/", $path, "\n"),+)
    };
}

#[doc = in_repository!(
    "docs/how-it-works.md",
    "docs/topologies.md",
    "model/README.md",
    "src/store/suite/on_servers.rs",
    "src/store/suite/on_topologies.rs",
    "tests/failover.rs",
    "tests/faults/README.md",
    "tests/topologies.rs"
)]
#[doc = include_str!("../docs/guarantees.md")]
pub mod guarantees {}

#[doc = in_repository!(
    "docs/how-it-works.md",
    "docs/redis.md",
    "examples/axum.rs",
    "examples/oauth2.rs",
    "examples/openidconnect/src/main.rs",
    "examples/openidconnect/tests/login.rs",
    "examples/proactive.rs",
    "examples/tenants.rs",
    "examples/tower.rs",
    "tests/adapters.rs",
    "tests/examples.rs"
)]
#[doc = include_str!("../docs/applications.md")]
pub mod applications {}

#[doc = in_repository!("docs/how-it-works.md", "docs/production.md", "lua/README.md")]
#[doc = include_str!("../docs/redis-cli.md")]
pub mod redis_cli {}

#[doc = in_repository!(
    "src/admission/attempts.rs",
    "src/admission/budget.rs",
    "src/admission/circuit.rs",
    "src/admission/reach.rs",
    "src/pressure.rs",
    "src/store/suite/sessions.rs",
    "tests/at_rest.rs",
    "tests/claims.rs",
    "tests/everybody_answered.rs",
    "tests/origin/README.md",
    "tests/outcomes.rs",
    "tests/secrets.rs"
)]
#[doc = include_str!("../docs/differences.md")]
pub mod differences {}
