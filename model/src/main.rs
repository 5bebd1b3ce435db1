//! Looks at every scenario under today's rules, under those proposed (with and without the early end) and under those
//! mended, and at every cut; the same of chains, before and after what was found, and of other claims. Prints the tables of README.md.
//!
//!     cargo run --release --package refresh-model -- [--deep] [--only NAME] [--story]
//!
//! `--deep` looks at the large scenarios too; `--only` at one scenario; `--story` prints the counterexamples.

use std::process::ExitCode;
use std::time::Duration;

use refresh_model::chain::model::Chains;
use refresh_model::chain::scenario::Scenario;
use refresh_model::claims::model::Claims;
use refresh_model::model::Protocol;
use refresh_model::report::Verdict;
use refresh_model::rules::{Rule, Rules};
use refresh_model::{catalogue, chain, claims, cuts};

/// No configuration runs longer; what was not looked at by then is told.
const LIMIT: Duration = Duration::from_secs(60);
const DEEP_LIMIT: Duration = Duration::from_secs(600);

const HEAD: &str = "states | unique | depth | time | verdict |\n| --- | --- | --- | --- | --- | --- | --- |";

struct Options {
    deep: bool,
    only: Option<String>,
    story: bool,
    without: Option<String>,
}

fn options() -> Result<Options, String> {
    let mut options = Options { deep: false, only: None, story: false, without: None };
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--deep" => options.deep = true,
            "--story" => options.story = true,
            "--without" => options.without = Some(arguments.next().ok_or("--without wants the name of a rule")?),
            "--only" => options.only = Some(arguments.next().ok_or("--only wants the name of a scenario")?),
            other => return Err(format!("{other}: known are --deep, --only NAME and --story")),
        }
    }
    Ok(options)
}

impl Options {
    fn wants(&self, name: &str) -> bool {
        self.only.as_ref().is_none_or(|only| only == name)
    }

    fn limit(&self) -> Duration {
        if self.deep { DEEP_LIMIT } else { LIMIT }
    }

    fn print<P>(&self, label: &str, verdict: &Verdict<P>) {
        println!("| {label} {verdict}");
        if let (true, Some(broken)) = (self.story, &verdict.broken) {
            println!("\n{}", broken.story);
        }
    }
}

fn main() -> ExitCode {
    let options = match options() {
        Ok(options) => options,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::FAILURE;
        }
    };
    println!("| rules | scenario | {HEAD}");
    let all = [
        ("today", Rules::today()),
        ("proposed", Rules::proposed()),
        ("proposed, no early end", Rules::proposed().without(Rule::EarlyEnd)),
        ("mended", Rules::mended()),
    ];
    for (label, rules) in all {
        let is_asked_for = |name: &str| options.wants(name) && (options.deep || options.only.is_some());
        for scenario in catalogue::ALL {
            if options.wants(scenario.name) && (!scenario.is_deep || is_asked_for(scenario.name)) {
                options.print(label, &Protocol::check(scenario, rules, options.limit()));
            }
        }
    }
    println!("\n| without | scenario | {HEAD}");
    for cut in cuts::ALL.iter().filter(|cut| options.wants(cut.scenario)) {
        let verdict = Protocol::check(catalogue::named(cut.scenario), cut.rules(), options.limit());
        options.print(&format!("{:?}", cut.rule), &verdict);
    }
    chains(&options);
    other_claims(&options);
    ExitCode::SUCCESS
}

/// The same of chains.
fn chains(options: &Options) {
    println!("\n| rules | scenario | {HEAD}");
    for (label, rules) in [("before", chain::rules::Rules::before()), ("today", chain::rules::Rules::today())] {
        let asked_for = |scenario: &Scenario| options.deep || options.only.is_some() || !scenario.is_deep;
        for scenario in chain::catalogue::ALL.iter().filter(|it| options.wants(it.name) && asked_for(it)) {
            options.print(label, &Chains::check(scenario, rules, options.limit()));
        }
    }
    println!("\n| without | scenario | {HEAD}");
    for cut in chain::cuts::ALL.iter().filter(|cut| options.wants(cut.scenario)) {
        let verdict = Chains::check(chain::catalogue::named(cut.scenario), cut.rules(), options.limit());
        options.print(&format!("{:?}", cut.rule), &verdict);
    }
}

/// The same of other claims.
fn other_claims(options: &Options) {
    use claims::rules::Rules as ClaimRules;
    let (rules, mut stores, mut lazy) = (ClaimRules::all(), ClaimRules::stores(), ClaimRules::lazy());
    for rule in claims::rules::ALL {
        if options.without.as_ref().is_some_and(|names| names.split(',').any(|it| it == format!("{rule:?}"))) {
            (stores, lazy) = (stores.without(*rule), lazy.without(*rule));
        }
    }
    println!("\n| rules | scenario | {HEAD}");
    let catalogue = claims::catalogue::ALL.iter().chain([&claims::catalogue::INVENTED]);
    let all = catalogue.clone().map(|scenario| ("family at the login", rules, scenario));
    let both = [("lazy family", lazy), ("stores", stores)];
    let lazily = both.into_iter().flat_map(|(label, rules)| {
        let scenarios = catalogue.clone().chain(claims::catalogue::LAZY);
        scenarios.map(move |scenario| (label, rules, scenario))
    });
    for (label, rules, scenario) in all.chain(lazily).filter(|(.., it)| options.wants(it.name)) {
        if options.deep || options.only.is_some() || !scenario.is_deep {
            options.print(label, &Claims::check(scenario, rules, options.limit()));
        }
    }
    println!("\n| without | scenario | {HEAD}");
    let cuts = claims::cuts::ALL.iter().map(|cut| (rules, cut));
    let cuts = cuts.chain(claims::cuts::LAZY.iter().map(|cut| (lazy, cut)));
    for (rules, cut) in cuts.filter(|(_, cut)| options.wants(cut.scenario)) {
        let scenario = claims::catalogue::named(cut.scenario);
        options.print(&format!("{:?}", cut.rule), &Claims::check(scenario, rules.without(cut.rule), options.limit()));
    }
}
