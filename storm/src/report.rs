//! The result, as a table for people and as a document for scripts.

use std::fmt::Write;

use serde_json::json;

use crate::plan::{FleetKind, Plan, ProviderKind};
use crate::results::Results;
use crate::tally::Figures;
use crate::verdict::Verdict;

/// One JSON document. Its names are for scripts, and stay.
pub(crate) fn json(plan: &Plan, results: &Results, verdict: &Verdict) -> String {
    let (passed, failures) = match verdict {
        Verdict::Passed { .. } => (true, &[][..]),
        Verdict::Failed { failures, .. } => (false, &failures[..]),
    };
    let document = json!({
        "storm": {
            "pods": plan.pods,
            "callers": plan.callers,
            "tokens": plan.tokens,
            "at_once": plan.at_once,
            "chain": plan.chain,
            "closed_tabs": plan.closed_tabs,
            "connections": plan.connections,
            "coordination": match plan.fleet {
                FleetKind::Embedded => "embedded",
                FleetKind::Redis { .. } => "redis",
                FleetKind::Refreshds { .. } => "refreshd",
                FleetKind::Sabotaged { .. } => "sabotaged",
            },
            "provider": match plan.provider {
                ProviderKind::BuiltIn { .. } => "built-in",
                ProviderKind::Elsewhere { .. } => "elsewhere",
                ProviderKind::Real(_) => "real",
            },
            "provider_pid": results.provider_pid,
            "provider_delay_ms": match plan.provider {
                ProviderKind::BuiltIn { delay } => Some(delay.as_secs_f64() * 1e3),
                ProviderKind::Elsewhere { .. } | ProviderKind::Real(_) => None,
            },
            "token_urls": match &plan.fleet {
                FleetKind::Refreshds { token_urls } => &token_urls[..],
                FleetKind::Embedded | FleetKind::Redis { .. } | FleetKind::Sabotaged { .. } => &[],
            },
        },
        // Those of other processes are not known here.
        "rules": match plan.fleet {
            FleetKind::Refreshds { .. } => None,
            FleetKind::Embedded | FleetKind::Redis { .. } | FleetKind::Sabotaged { .. } => Some(&plan.rules),
        },
        "without": results.without,
        "with": results.with,
        "passed": passed,
        "failures": failures,
        "verdict": verdict.words(),
    });
    format!("{document:#}\n")
}

/// The table, what it means, and the verdict.
pub(crate) fn table(plan: &Plan, results: &Results, verdict: &Verdict) -> String {
    let mut text = String::new();
    let columns: Vec<(&str, &Figures)> = [("without", &results.without), ("with", &results.with)]
        .into_iter()
        .filter_map(|(name, figures)| figures.as_ref().map(|figures| (name, figures)))
        .collect();
    // Writing to a String cannot fail.
    _ = write_head(&mut text, plan, results);
    _ = write_rows(&mut text, &columns);
    _ = write_notes(&mut text, plan, &columns);
    _ = writeln!(text, "\n{}", verdict.words());
    text
}

fn write_head(text: &mut String, plan: &Plan, results: &Results) -> std::fmt::Result {
    let Plan { pods, callers, tokens, at_once, chain, .. } = plan;
    writeln!(
        text,
        "{} callers ({pods} pods, {callers} in each) present each of {tokens} refresh tokens together, {at_once} tokens at a time",
        pods * callers
    )?;
    if plan.closed_tabs {
        writeln!(
            text,
            "go away before they are answered, and come again with the same token when the answer is no longer fresh."
        )?;
    }
    if *chain > 1 {
        writeln!(text, "and {chain} rotations in a row of each.")?;
    }
    match &plan.provider {
        ProviderKind::BuiltIn { delay } => writeln!(
            text,
            "provider  built in, process {}: takes {}, rotates, and revokes the family of a token that comes twice",
            results.provider_pid.unwrap_or_default(),
            humantime::format_duration(*delay)
        )?,
        ProviderKind::Elsewhere { url } => writeln!(
            text,
            "provider  refresh-storm's at {url}: rotates, and revokes the family of a token that comes twice"
        )?,
        ProviderKind::Real(real) => writeln!(
            text,
            "provider  a real one{}: its log cannot be seen from here, so what it was asked is unknown",
            real.url.as_ref().map(|url| format!(" at {url}")).unwrap_or_default()
        )?,
    }
    match &plan.fleet {
        FleetKind::Embedded => writeln!(
            text,
            "pods      coordinators of this one process that share a store in memory; for processes that share\n          \
             nothing but Redis: --redis redis://127.0.0.1:6379"
        ),
        FleetKind::Redis { .. } => {
            let figures = results.with.as_ref().or(results.without.as_ref());
            let pids: Vec<String> = figures.iter().flat_map(|f| &f.pids).map(u32::to_string).collect();
            writeln!(text, "pods      processes {} that share nothing but Redis", pids.join(" "))
        }
        FleetKind::Refreshds { token_urls } => {
            writeln!(text, "pods      clients of this one process; refreshd coordinate: {}", token_urls.join(" "))
        }
        FleetKind::Sabotaged { .. } => writeln!(text, "pods      SABOTAGED: their coordinators share nothing"),
    }
}

fn write_rows(text: &mut String, columns: &[(&str, &Figures)]) -> std::fmt::Result {
    write!(text, "\n{:<44}", "coordination")?;
    for (name, _) in columns {
        write!(text, "{name:>12}")?;
    }
    writeln!(text)?;
    let mut row = |name: &str, cell: &dyn Fn(&Figures) -> String| {
        write!(text, "{name:<44}")?;
        for (_, figures) in columns {
            write!(text, "{:>12}", cell(figures))?;
        }
        writeln!(text)
    };
    let known = |n: Option<u64>| n.map_or("unknown".to_owned(), |n| n.to_string());
    let own = |n: Option<u64>| n.map_or("-".to_owned(), |n| n.to_string());

    row("rotations asked for", &|f| f.links.to_string())?;
    row("presentations at the provider", &|f| known(f.presentations))?;
    row("families revoked", &|f| known(f.families_revoked))?;
    row("families refused, as callers heard", &|f| f.families_refused.to_string())?;
    row("callers", &|f| f.callers.to_string())?;
    row("callers in error", &|f| f.callers_in_error.to_string())?;
    row("access tokens per family and rotation", &|f| match (f.access_tokens.fewest, f.access_tokens.most) {
        (fewest, most) if fewest == most => most.to_string(),
        (fewest, most) => format!("{fewest} to {most}"),
    })?;
    row("wait beyond the provider's time, p50", &|f| time(f.wait.p50_us))?;
    row("                                 p99", &|f| time(f.wait.p99_us))?;
    row("                                 max", &|f| time(f.wait.max_us))?;
    row("callers who led", &|f| own(f.roles.map(|roles| roles.led)))?;
    row("        joined in their pod", &|f| own(f.roles.map(|roles| roles.joined_here)))?;
    row("        joined over the fleet", &|f| own(f.roles.map(|roles| roles.joined_fleet)))?;
    row("        came after the end", &|f| own(f.roles.map(|roles| roles.latecomer)))?;
    row("callers of a wave start within (median)", &|f| time(f.release_spread.p50_us))?;
    row("Redis commands per refresh", &|f| {
        f.redis.as_ref().map_or("-".to_owned(), |redis| format!("{:.2}", redis.commands_per_refresh))
    })?;
    row("seconds", &|f| format!("{:.1}", f.seconds))
}

fn write_notes(text: &mut String, plan: &Plan, columns: &[(&str, &Figures)]) -> std::fmt::Result {
    for (name, figures) in columns {
        let mut errors: Vec<_> = figures.errors.iter().collect();
        errors.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
        for (error, count) in errors.into_iter().take(5) {
            writeln!(text, "\n{name}: {count} callers: {error}")?;
        }
    }
    writeln!(text)?;
    match plan.provider {
        ProviderKind::BuiltIn { .. } | ProviderKind::Elsewhere { .. } => {
            writeln!(text, "Wait: a caller's own time less what the provider says it took for that answer.")?;
        }
        ProviderKind::Real(_) => {
            writeln!(
                text,
                "Wait: a caller's whole time, the provider's in it: this one does not say how long it takes."
            )?;
        }
    }
    if cfg!(debug_assertions) {
        writeln!(text, "Built without --release: what a caller waits for is mostly the storm itself.")?;
    }
    if let Some(redis) = columns.iter().find_map(|(_, figures)| figures.redis.as_ref()) {
        let by_name: Vec<String> =
            redis.commands.by_name.iter().map(|(name, calls)| format!("{name} {calls}")).collect();
        writeln!(
            text,
            "Redis commands: sent by all clients of this Redis meanwhile, by INFO commandstats; a script is one:"
        )?;
        write_list(text, "  ", &by_name)?;
    }
    match plan.fleet {
        FleetKind::Refreshds { .. } => writeln!(text, "Rules: those of the refreshd, unknown here."),
        FleetKind::Embedded | FleetKind::Redis { .. } | FleetKind::Sabotaged { .. } => {
            write_list(text, "Rules: ", &plan.rules.lines())
        }
    }
}

/// Items after a word, broken into lines that fit a terminal.
fn write_list(text: &mut String, word: &str, items: &[String]) -> std::fmt::Result {
    const WIDTH: usize = 100;
    let mut line = word.to_owned();
    for (number, item) in items.iter().enumerate() {
        if line.len() + item.len() > WIDTH {
            writeln!(text, "{}", line.trim_end())?;
            line = " ".repeat(word.len());
        }
        line += item;
        line += if number + 1 < items.len() { ", " } else { "." };
    }
    writeln!(text, "{line}")
}

/// A time in a unit that fits: `85 us`, `1.2 ms`, `3.40 s`.
fn time(us: u64) -> String {
    match us {
        0..1_000 => format!("{us} us"),
        1_000..1_000_000 => format!("{:.1} ms", us as f64 / 1e3),
        _ => format!("{:.2} s", us as f64 / 1e6),
    }
}

#[cfg(test)]
mod tests {
    use super::time;

    #[test]
    fn times_have_fitting_units() {
        assert_eq!([time(7), time(1_250), time(2_500_000)], ["7 us", "1.2 ms", "2.50 s"]);
    }
}
