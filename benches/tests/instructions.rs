//! Leading, joining, sealing, a valid access token, and what a led refresh, a latecomer and a pod that joins cost Redis take as many
//! instructions as when they were measured last.
//!
//! Counts, not times: they do not depend on how busy the machine is, nor on which x86-64 it is (`callgrind.rs` says
//! why). Whoever makes one of them smaller lowers its baseline, whoever needs more raises it and says why:
//!
//!     REWRITE_BASELINES=1 cargo test --manifest-path benches/Cargo.toml --target-dir target/benches --test instructions
//!
//! A figure more than 3 % off its baseline fails, below it too: else the next growth would hide in what was gained. One
//! that holds with another rustc, valgrind, libc or redis-server passes and says so, as Debian's updates are no fault of
//! a change. `callgrind_annotate target/benches/tmp/lead.callgrind` tells where the instructions are.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use refresh_coordinator_benches::baseline::{Figure, judge};
use refresh_coordinator_benches::callers::{Held, come_late, lead, refreshes};
use refresh_coordinator_benches::callgrind::{self, Counted};
use refresh_coordinator_benches::inside_redis;
use refresh_coordinator_benches::machine::said;
use refresh_coordinator_benches::one_thread;
use refresh_coordinator_benches::redis_server::RedisServer;

const HOUR: Duration = Duration::from_secs(60 * 60);

const COUNTED: Counted<'_> = Counted(&["instructions::counted"]);

/// All that is called of src/seal.rs.
const SEALING: Counted<'_> = Counted(&[
    "refresh_coordinator::seal::Seal::new",
    "refresh_coordinator::seal::Seal::seal_with",
    "refresh_coordinator::seal::Seal::open",
]);

#[test]
fn leading_in_memory_takes_as_many_instructions_as_before() {
    const REFRESHES: u64 = 5_000;
    if !can_count() {
        return;
    }

    let instructions = counted("lead", COUNTED, &["lead", &REFRESHES.to_string()]).expect("counted");

    hold("leading in memory, each refresh", instructions / REFRESHES, &["rustc", "libc", "valgrind"]);
}

#[test]
fn joining_in_the_same_process_takes_as_many_instructions_as_before() {
    const CALLERS: u64 = 10_000;
    if !can_count() {
        return;
    }

    let instructions = counted("join", COUNTED, &["join", &CALLERS.to_string()]).expect("counted");

    hold("joining in the same process, each of 10,000 callers", instructions / CALLERS, &["rustc", "libc", "valgrind"]);
}

#[test]
fn valid_access_token_of_a_session_takes_as_many_instructions_as_before() {
    const TIMES: u64 = 20_000;
    if !can_count() {
        return;
    }

    let instructions = counted("token", COUNTED, &["token", &TIMES.to_string()]).expect("counted");

    hold("a valid access token of a session in memory", instructions / TIMES, &["rustc", "libc", "valgrind"]);
}

/// A leader seals, a latecomer opens, and each derives the key.
#[test]
fn sealing_takes_as_many_instructions_as_before() {
    const REFRESHES: u64 = 1_000;
    if !can_count() {
        return;
    }

    let redis = one_thread().block_on(RedisServer::start());
    let arguments = ["seal", &REFRESHES.to_string(), redis.url()];
    let instructions = counted("seal", SEALING, &arguments).expect("counted");

    hold("sealing and opening an outcome", instructions / REFRESHES, &["rustc", "libc", "valgrind"]);
}

#[test]
fn leading_takes_as_many_instructions_of_redis_as_before() {
    const REFRESHES: usize = 500;
    if !can_count() {
        return;
    }

    // What starting, connecting and ending take is in both.
    let few = inside_redis("redis-few", REFRESHES);
    let many = inside_redis("redis-many", 2 * REFRESHES);

    hold(
        "begin and complete inside redis-server",
        (many - few) / REFRESHES as u64,
        &["redis-server", "libc", "valgrind"],
    );
}

#[test]
fn latecomer_takes_as_many_instructions_of_redis_as_before() {
    const LATECOMERS: u64 = 500;
    if !can_count() {
        return;
    }

    // What leading takes is in both.
    let counted = |name, late| {
        let counted = inside_redis::inside_redis_of_fleet(&out(name), 2, HOUR, async |pods| {
            come_late(&pods[0], &pods[1], LATECOMERS, late).await;
        });
        counted.expect("counted")
    };
    let none = counted("redis-no-latecomer", 0);
    let all = counted("redis-latecomers", LATECOMERS);

    hold("begin of a latecomer inside redis-server", (all - none) / LATECOMERS, &["redis-server", "libc", "valgrind"]);
}

/// In a storm that reaches all pods they are most of what Redis does: each token is led once, and joined from every other pod.
#[test]
fn pods_that_join_take_as_many_instructions_of_redis_as_before() {
    const FLIGHTS: usize = 40;
    const JOINERS: usize = 7;
    if !can_count() {
        return;
    }

    // What leading takes is in both.
    let per_joiner = |counted: fn(&'static str, usize, usize) -> u64, none, all| {
        (counted(all, FLIGHTS, JOINERS) - counted(none, FLIGHTS, 0)) / (FLIGHTS * JOINERS) as u64
    };
    let begun = per_joiner(joined_and_held, "redis-held-alone", "redis-held");
    let told = per_joiner(joined_and_answered, "redis-answered-alone", "redis-answered");

    let tools = ["redis-server", "libc", "valgrind"];
    hold("begin of a joiner of another pod inside redis-server", begun, &tools);
    // With its begin: what telling it adds is so little that the rest of a landing would hide more than it.
    hold("begin and landing for each of 7 pods that wait inside redis-server", told, &tools);
}

#[test]
fn function_that_is_no_longer_there_is_not_taken_for_free() {
    if !can_count() {
        return;
    }

    let gone = Counted(&["instructions::counted", "refresh_coordinator::seal::Seal::renamed"]);
    let error = counted("gone", gone, &["lead", "10"]).expect_err("one of them is not there");

    assert!(error.contains("no function refresh_coordinator::seal::Seal::renamed"), "{error}");
}

#[test]
fn figure_holds_within_three_percent_and_tells_of_other_versions() {
    let of = |instructions, version: &str| Figure {
        instructions,
        tools: BTreeMap::from([("rustc".to_owned(), version.to_owned())]),
    };
    let was = of(1_000, "1.0");

    assert!(of(1_030, "1.0").compare(&was).is_ok_and(|told| !told.contains("OTHER VERSIONS")));
    assert!(of(970, "1.0").compare(&was).is_ok());
    assert!(of(1_031, "1.0").compare(&was).is_err_and(|told| told.contains("above the baseline")));
    assert!(of(969, "1.0").compare(&was).is_err_and(|told| told.contains("lower the baseline")));
    assert!(of(1_000, "1.1").compare(&was).is_ok_and(|told| told.contains("rustc is 1.1, the baseline is of 1.0")));
    assert!(of(1_031, "1.1").compare(&was).is_err_and(|told| told.contains("rustc is 1.1, the baseline is of 1.0")));
}

/// Counts in the program `instructions`, run with these arguments.
fn counted(name: &str, counted: Counted<'_>, arguments: &[&str]) -> Result<u64, String> {
    let out = out(name);
    let ended = callgrind::command(program(), counted, &out).args(arguments).status().expect("valgrind starts");
    assert!(ended.success(), "instructions {arguments:?} under callgrind: {ended}");
    callgrind::read(counted, &out)
}

/// Instructions of a `redis-server` for so many refreshes.
fn inside_redis(name: &str, flights: usize) -> u64 {
    let instructions = inside_redis::inside_redis(&out(name), HOUR, async |pod| lead(pod, refreshes(flights)).await);
    instructions.expect("counted")
}

/// Instructions of a `redis-server` for so many refreshes that each of so many other pods joins, up to where all of them wait.
fn joined_and_held(name: &'static str, flights: usize, joiners: usize) -> u64 {
    let instructions = inside_redis::inside_redis_of_fleet(&out(name), 8, HOUR, async |pods| {
        let mut held = Vec::new();
        for _ in 0..flights {
            held.push(Held::begin(&pods[0], &pods[1..=joiners]).await);
        }
    });
    instructions.expect("counted")
}

/// The same up to where all have the answer.
fn joined_and_answered(name: &'static str, flights: usize, joiners: usize) -> u64 {
    let instructions = inside_redis::inside_redis_of_fleet(&out(name), 8, HOUR, async |pods| {
        for _ in 0..flights {
            Held::begin(&pods[0], &pods[1..=joiners]).await.end().await;
        }
    });
    instructions.expect("counted")
}

/// The program that is counted in, built as a release is: the tests themselves are not.
fn program() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| {
        // The folder that this test was built in.
        let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().expect("below the target folder");
        let built = Command::new(env!("CARGO"))
            .args(["build", "--quiet", "--profile", "counted", "--bin", "instructions", "--manifest-path"])
            .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml"))
            .arg("--target-dir")
            .arg(target)
            // What somebody likes to build with, such as target-cpu=native, would be counted.
            .env_remove("RUSTFLAGS")
            .env_remove("CARGO_ENCODED_RUSTFLAGS")
            .status()
            .expect("cargo starts");
        assert!(built.success(), "the program to count in is not built: {built}");
        target.join("counted/instructions")
    })
}

/// Where callgrind is to leave what it counts. Nothing is there yet: the last run is not to be taken for this one.
fn out(name: &str) -> PathBuf {
    let out = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}.callgrind"));
    _ = std::fs::remove_file(&out);
    out
}

/// Says the figure, and fails if it is not what it was.
fn hold(name: &str, instructions: u64, tools: &[&str]) {
    let tools = tools.iter().map(|tool| ((*tool).to_owned(), version(tool))).collect();
    match judge(name, &Figure { instructions, tools }) {
        Ok(told) => say(&format!("{name}: {told}")),
        Err(told) => panic!("{name}: {told}"),
    }
}

fn version(tool: &str) -> String {
    match tool {
        "libc" => said("getconf", &["GNU_LIBC_VERSION"]),
        program => said(program, &["--version"]),
    }
}

/// Whether it can be counted here. If not, that is said, and a failure with `CI=true`.
fn can_count() -> bool {
    let Some(what) = callgrind::missing() else { return true };
    let told = format!("LEFT OUT: instructions are not counted; missing: {what}; `tests/run install` gets programs");
    assert!(std::env::var_os("CI").is_none_or(|ci| ci != "true"), "CI=true: leaving anything out is a failure. {told}");
    say(&told);
    false
}

/// Past the test harness, which keeps what a passing test prints to itself.
fn say(text: &str) {
    _ = writeln!(std::io::stderr(), "instructions: {text}");
}
