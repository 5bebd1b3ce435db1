//! Breaks something on purpose, to see that the suite would notice.
//!
//! What pods do is broken by a setting. What the scripts do is broken in a copy of the pod's binary, where they stand
//! as text: a line is exchanged for one of the same length.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::wire::Makes;

pub(crate) struct Sabotage {
    name: &'static str,
    pub(crate) makes: Makes,
    /// What stands in a script, and what stands there instead.
    line: Option<(&'static str, &'static str)>,
}

const fn pods(name: &'static str, makes: Makes) -> Sabotage {
    Sabotage { name, makes, line: None }
}

const fn scripts(name: &'static str, line: &'static str, instead: &'static str) -> Sabotage {
    assert!(line.len() == instead.len(), "a line is exchanged for one as long");
    Sabotage { name, makes: Makes::Coordinator, line: Some((line, instead)) }
}

const ALL: &[Sabotage] = &[
    pods("no-coordination", Makes::NoCoordination),
    pods("refuses-all", Makes::RefusesAll),
    pods("answers-nobody", Makes::AnswersNobody),
    pods("loses-successes", Makes::LosesSuccesses),
    pods("logs-tokens", Makes::LogsTokens),
    pods("waits-for-redis", Makes::WaitsForRedis),
    scripts(
        "never-is-forgotten",
        "if state == 'lost' and is_own and uncertain == 'never' then",
        "if state == 'lost' and is_own and uncertain == 'nevex' then",
    ),
    scripts("takes-over-early", "if record.again_at ~= '0' then", "if record.again_at == '0' then"),
    scripts(
        "success-does-not-land",
        "redis.call('HSET', flight, 'state', 'landed', 'class', class",
        "redis.call('HSET', flight, 'state', 'missed', 'class', class",
    ),
    scripts(
        "forgetting-is-not-noticed",
        "local is_new = run_id and noted_id ~= run_id",
        "local is_new = run_id and noted_id == 'none'",
    ),
    scripts("counter-runs-away", "redis.pcall('DECR', in_use_key)", "redis.pcall('INCR', in_use_key)"),
    scripts(
        "flights-stay",
        "redis.call('PEXPIRE', flight, whole(math.max(1, keep_ms)))",
        "redis.call('PERSIST', flight                             )",
    ),
    scripts(
        "nothing-is-held",
        "if redis.call('EXISTS', place.link) == 1 then",
        "if redis.call('EXISTS', place.link) >= 0 then",
    ),
    scripts("looks-see-nothing", "reply[i] = 'changed'", "reply[i] = '0000900'"),
];

pub(crate) fn find(name: &str) -> Option<&'static Sabotage> {
    ALL.iter().find(|sabotage| sabotage.name == name)
}

pub(crate) fn names() -> Vec<&'static str> {
    ALL.iter().map(|sabotage| sabotage.name).collect()
}

/// What pods are started from.
pub(crate) fn pod_binary(sabotage: Option<&Sabotage>, own: &Path, dir: &Path) -> PathBuf {
    match sabotage.and_then(|sabotage| sabotage.line) {
        None => own.to_owned(),
        Some((line, instead)) => with_other_scripts(own, dir, line, instead),
    }
}

/// A pod of another build: its scripts read otherwise, and have other names in Redis, and mean the same.
pub(crate) fn other_build(pod: &Path, dir: &Path) -> PathBuf {
    let (line, instead) = ("-- Redis' time, the only clock", "-- Redis' TIME, the only clock");
    let copy = with_other_scripts(pod, dir, line, instead);
    let other = dir.join("other-pod");
    std::fs::rename(copy, &other).expect("it has its own name");
    other
}

/// A copy of the binary with other scripts in it.
fn with_other_scripts(own: &Path, dir: &Path, line: &str, instead: &str) -> PathBuf {
    let mut bytes = std::fs::read(own).expect("its own binary");
    let mut place = 0;
    let mut exchanged = 0;
    while let Some(next) = bytes[place..].windows(line.len()).position(|window| window == line.as_bytes()) {
        place += next;
        bytes[place..place + line.len()].copy_from_slice(instead.as_bytes());
        exchanged += 1;
    }
    // Once as an argument of this very function.
    assert!(exchanged > 1, "no script says {line:?} any more");
    let copy = dir.join(format!("pod-{}", own.file_name().map_or(0, |name| name.len())));
    std::fs::write(&copy, bytes).expect("a copy of the binary");
    std::fs::set_permissions(&copy, std::fs::Permissions::from_mode(0o755)).expect("it can be run");
    copy
}
