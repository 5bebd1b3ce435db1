//! `docs/differences.md` speaks of scenarios and tests that exist, and leaves no difference out.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use super::recorded::{Verdict, scenarios};

const TABLE: &str = include_str!("../../docs/differences.md");

/// The last cell of each row: what shows it.
fn shown_by() -> Vec<&'static str> {
    let is_head = |line: &str| line.starts_with("| the origin |") || line.starts_with("| --- |");
    let rows = TABLE.lines().filter(|line| line.starts_with("| ") && !is_head(line));
    let shown: Vec<_> =
        rows.map(|row| row.trim_end().trim_end_matches('|').rsplit('|').next().expect("a cell")).collect();
    assert!(!shown.is_empty(), "no row was found");
    shown
}

/// ``[`name`][path]`` in a cell.
fn tests(cell: &str) -> Vec<(&str, &str)> {
    let links = cell.split("[`").skip(1);
    let parts = links.map(|link| link.split_once("`][").and_then(|(name, rest)| Some((name, rest.split_once(']')?.0))));
    parts.map(|parts| parts.expect("a whole link")).collect()
}

/// `` `name` `` in a cell, where it is no link.
fn named(cell: &str) -> Vec<&str> {
    let quoted = cell.split('`').skip(1).step_by(2);
    quoted.filter(|name| !cell.contains(&format!("[`{name}`]["))).collect()
}

#[test]
fn every_scenario_and_test_of_the_table_exists() {
    let known: BTreeSet<String> = scenarios().into_iter().map(|scenario| scenario.name).collect();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for cell in shown_by() {
        let (named, tests) = (named(cell), tests(cell));
        assert!(!named.is_empty() || !tests.is_empty(), "nothing shows it:{cell}");
        for name in named {
            assert!(known.contains(name), "no scenario is called {name}");
        }
        for (name, path) in tests {
            let text = fs::read_to_string(root.join(path)).unwrap_or_else(|error| panic!("{path}: {error}"));
            assert!(text.contains(&format!("fn {name}(")), "no test of {path} is called {name}");
        }
    }
}

#[test]
fn every_difference_stands_in_the_table() {
    let shown: BTreeSet<&str> = shown_by().into_iter().flat_map(named).collect();
    for scenario in scenarios() {
        let differs = scenario.verdict == Verdict::Change || scenario.ours().is_some();
        assert!(!differs || shown.contains(scenario.name.as_str()), "{} is missing", scenario.name);
        assert!(
            !differs || scenario.ours().is_some_and(|ours| !ours.why.is_empty()),
            "{} has no reason",
            scenario.name
        );
    }
}
