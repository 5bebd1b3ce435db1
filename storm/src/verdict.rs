//! Whether coordination did what it promises, judged by the provider's log where there is one.

use crate::plan::{FleetKind, Plan};
use crate::results::Results;
use crate::tally::Figures;

/// How the storm ended, in words for a stranger.
pub(crate) enum Verdict {
    /// Coordination kept its promises, or was not asked for.
    Passed {
        words: String,
    },
    Failed {
        words: String,
        failures: Vec<String>,
    },
}

impl Verdict {
    pub(crate) fn on(plan: &Plan, results: &Results) -> Self {
        let failures = results.with.as_ref().map(|with| failures(plan, with)).unwrap_or_default();
        let mut sentences = Vec::new();
        if let Some(without) = &results.without {
            sentences.push(format!("Without coordination {}.", fate(plan, without)));
        }
        match &results.with {
            None => {}
            Some(with) if failures.is_empty() => {
                let none = if results.without.is_some() { "none was" } else { "no login was destroyed" };
                let how = if with.presentations.is_some() {
                    "every refresh token reached the provider once"
                } else {
                    "all callers of a login got the same access token"
                };
                sentences.push(format!(
                    "With coordination {none}: {how}, and all {} callers got the new tokens.",
                    with.callers
                ));
            }
            Some(with) => {
                sentences.push(format!("With coordination {}.", fate(plan, with)));
                sentences.push(format!("COORDINATION FAILED: {}.", failures.join("; ")));
            }
        }
        let words = sentences.join(" ");
        if failures.is_empty() { Self::Passed { words } } else { Self::Failed { words, failures } }
    }

    pub(crate) fn words(&self) -> &str {
        match self {
            Self::Passed { words } | Self::Failed { words, .. } => words,
        }
    }
}

/// What became of the logins.
fn fate(plan: &Plan, figures: &Figures) -> String {
    let all = plan.tokens;
    let in_error = format!("{} of {} callers got an error", figures.callers_in_error, figures.callers);
    match figures.families_revoked {
        Some(revoked) => format!("{revoked} of {all} logins were destroyed and {in_error}"),
        None if figures.families_refused == 0 => format!("no login is known to be destroyed, but {in_error}"),
        None => format!("at least {} of {all} logins were destroyed and {in_error}", figures.families_refused),
    }
}

/// Every promise that was broken.
fn failures(plan: &Plan, with: &Figures) -> Vec<String> {
    let wanted = (plan.tokens * plan.chain) as u64;
    let mut failures = Vec::new();
    let mut fail = |is_broken: bool, what: String| {
        if is_broken {
            failures.push(what);
        }
    };
    fail(with.links != wanted, format!("{} of {wanted} rotations were done", with.links));
    if let Some(presentations) = with.presentations {
        fail(
            presentations != with.links,
            format!("the provider was asked {presentations} times for {} rotations", with.links),
        );
    }
    if let Some(revoked) = with.families_revoked {
        fail(revoked > 0, format!("{revoked} families were revoked"));
    }
    fail(with.families_refused > 0, format!("{} families were refused", with.families_refused));
    fail(with.callers_in_error > 0, format!("{} callers got an error", with.callers_in_error));
    let tokens = with.access_tokens;
    fail(
        (tokens.fewest, tokens.most) != (1, 1),
        format!("a family got {} to {} access tokens for one rotation", tokens.fewest, tokens.most),
    );
    let is_fleet = match plan.fleet {
        // What is held was there before all of them.
        _ if plan.closed_tabs => false,
        FleetKind::Redis { .. } | FleetKind::Sabotaged { in_processes: true } => plan.pods > 1,
        FleetKind::Embedded | FleetKind::Refreshds { .. } | FleetKind::Sabotaged { in_processes: false } => false,
    };
    if is_fleet && let Some(roles) = with.roles {
        fail(roles.joined_fleet == 0, "no pod joined another pod's flight".to_owned());
    }
    failures
}
