//! Each rule of the fault suite is shown to be able to fail: something is broken on purpose in a real fleet, and the
//! suite says which promise was not kept.

use std::process::Command;

/// Runs one fault on one fleet with something broken, and says which rules are told as broken.
fn broken(sabotage: &str, fleet: &str, fault: &str) -> String {
    let topology = if ["sentinel", "cluster"].contains(&fleet) { fleet } else { "standalone" };
    let arguments = ["run", "--seed", "5", "--sabotage", sabotage, "--policy", fleet, "--only", fault];
    let mut suite = Command::new(env!("CARGO_BIN_EXE_faults"));
    let ran = suite.args(arguments).args(["--topology", topology]).output().expect("the suite");
    let said = String::from_utf8_lossy(&ran.stdout).into_owned();
    let heard = String::from_utf8_lossy(&ran.stderr);
    assert_eq!(ran.status.code(), Some(1), "it did not fail: {said}{heard}");
    said.lines().find(|line| line.contains("BROKEN")).unwrap_or_else(|| panic!("{said}{heard}")).to_owned()
}

macro_rules! is_seen {
    ($($(#[$reason:meta])* $name:ident: $sabotage:literal in $fleet:literal under $fault:literal breaks $rule:literal;)*) => {
        $(
            $(#[$reason])*
            #[test]
            fn $name() {
                if !has_redis() {
                    return;
                }
                let rules = broken($sabotage, $fleet, $fault);
                assert!(rules.contains(concat!($rule, ":")), "{rules}");
            }
        )*
    };
}

is_seen! {
    fleet_without_coordination_is_seen:
        "no-coordination" in "retry" under "caller dropped" breaks "OnePresentation";
    coordinator_that_refuses_everything_is_seen:
        "refuses-all" in "retry" under "caller dropped" breaks "Unfaulted";
    callers_that_are_never_answered_are_seen:
        "answers-nobody" in "retry" under "caller dropped" breaks "AnswerInTime";
    successes_told_as_lost_are_seen:
        "loses-successes" in "retry" under "caller dropped" breaks "SuccessKept";
    tokens_in_a_log_are_seen:
        "logs-tokens" in "retry" under "caller dropped" breaks "Secrets";
    pods_that_wait_for_redis_and_should_go_on_are_seen:
        "waits-for-redis" in "local" under "redis out of reach for long" breaks "GoesOn";
    uncertain_tokens_presented_under_never_are_seen:
        "never-is-forgotten" in "never" under "leader killed after" breaks "OnePresentation";
    lost_leader_that_is_not_waited_for_is_seen:
        "takes-over-early" in "retry" under "leader killed after" breaks "OnePresentation";
    success_that_does_not_land_is_seen:
        "success-does-not-land" in "retry" under "caller dropped" breaks "OnePresentation";
    redis_whose_forgetting_goes_unnoticed_is_seen:
        "forgetting-is-not-noticed" in "retry" under "redis restarted empty" breaks "OnePresentation";
    permits_that_are_counted_wrong_are_seen:
        "counter-runs-away" in "never" under "caller dropped" breaks "Permits";
    keys_that_stay_are_seen:
        "flights-stay" in "never" under "caller dropped" breaks "KeysEnd";
    server_that_takes_over_unnoticed_behind_sentinels_is_seen:
        "forgetting-is-not-noticed" in "sentinel" under "relieved by order, its" breaks "OnePresentation";
    server_that_takes_over_unnoticed_on_a_cluster_is_seen:
        "forgetting-is-not-noticed" in "cluster" under "unasked" breaks "OnePresentation";
    dead_leaders_that_nobody_notices_are_seen:
        "looks-see-nothing" in "retry0" under "killed before" breaks "Takeover";
    answers_that_are_not_held_are_seen:
        "nothing-is-held" in "chains" under "tab closed, pod killed" breaks "OnePresentation";
}

/// Without redis-server there is no suite; that is told once, at the end of all tests.
fn has_redis() -> bool {
    let is_here = Command::new("redis-server").arg("--version").output().is_ok();
    if !is_here && let Some(list) = std::env::var_os("TESTS_LEFT_OUT") {
        use std::io::Write;
        let mut list = std::fs::File::options().append(true).create(true).open(list).expect("the list can be written");
        writeln!(list, "the fault suite: no redis-server").expect("the list can be written");
    }
    is_here
}
