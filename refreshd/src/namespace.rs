//! `refreshd namespace`: what is left of a namespace in Redis, and how that is forgotten.

use std::process::ExitCode;

use refresh_coordinator::{Forgotten, NamespaceSeen, Operator, PodSeen};
use refresh_coordinator_cli::{BadSetting, print_line};
use serde_json::json;

use crate::operate::{Way, line_of_stdin, told};

/// Tells what is left of a namespace in Redis, or forgets it
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Namespace {
    #[command(subcommand)]
    act: Act,
}

#[derive(Clone, Debug, clap::Subcommand)]
enum Act {
    Show(Show),
    Forget(Forget),
}

/// Tells what stands in a namespace: its pods with their settings, flights, sessions, memory
///
/// It walks over the keys of the server that decides for the namespace, a thousand at a time, and changes nothing. Flags and
/// environment are those of serve; of the settings only --namespace and --store-timeout matter here.
#[derive(Clone, Debug, clap::Args)]
struct Show {
    #[command(flatten)]
    walk: Walk,
    /// Print JSON instead of lines to read
    #[arg(long)]
    json: bool,
}

/// Forgets a namespace in which no pod lives any more, as after a provider has moved to another
///
/// Refused while pods live there, or a flight is led. First it says what it would do, and asks. The last fence stays, so that none is given again. What is
/// known of the namespace's tokens is lost: a caller that comes with a token that was rotated is not handed what is held.
///
/// Exit code 0: forgotten, or there was nothing. 1: nothing was changed, or not all. 2: a setting is wrong, or Redis cannot be asked.
#[derive(Clone, Debug, clap::Args)]
struct Forget {
    #[command(flatten)]
    walk: Walk,
    /// Do not ask. For scripts
    #[arg(long)]
    yes: bool,
}

// Where, and how far.
#[derive(Clone, Debug, clap::Args)]
struct Walk {
    /// How many keys of the server are looked at, at most
    #[arg(long, value_name = "N", default_value_t = 10_000_000, value_parser = clap::value_parser!(u32).range(1..))]
    keys: u32,
    #[command(flatten)]
    way: Way,
}

impl Walk {
    async fn seen(&self) -> Result<(Operator, NamespaceSeen), BadSetting> {
        let mut operator = self.way.connect().await?;
        let seen = operator.namespace(self.keys.into()).await.map_err(told)?;
        Ok((operator, seen))
    }
}

impl Namespace {
    pub(crate) async fn run(self) -> Result<ExitCode, BadSetting> {
        match self.act {
            Act::Show(show) => show.run().await,
            Act::Forget(forget) => forget.run().await,
        }
    }
}

impl Show {
    async fn run(self) -> Result<ExitCode, BadSetting> {
        let (_, seen) = self.walk.seen().await?;
        let namespace = self.walk.way.namespace()?;
        if self.json {
            print_line(as_json(&namespace, &seen));
        } else {
            tell(&namespace, &seen);
        }
        Ok(ExitCode::SUCCESS)
    }
}

impl Forget {
    async fn run(self) -> Result<ExitCode, BadSetting> {
        let mut operator = self.walk.way.connect().await?;
        let namespace = self.walk.way.namespace()?;
        let most = u64::from(self.walk.keys);
        let seen = match operator.namespace(most).await {
            Ok(seen) => seen,
            // What is broken may be what is to be forgotten.
            Err(error) => {
                print_line(format_args!("namespace {namespace}: what stands there cannot be counted: {error}"));
                NamespaceSeen::default()
            }
        };
        tell(&namespace, &seen);
        // Redis decides; this says it before anybody is asked.
        if seen.pods.iter().any(|pod| pod.lives_for.is_some()) {
            print_line(
                "not forgotten: pods live in it. End them first; one that was killed counts for its lease and 3 min more",
            );
            return Ok(ExitCode::FAILURE);
        }
        if !self.yes && !is_confirmed(&namespace).await? {
            print_line("not forgotten: not confirmed, nothing was changed (--yes does not ask)");
            return Ok(ExitCode::FAILURE);
        }
        match operator.forget(most).await.map_err(told)? {
            Forgotten::Removed { keys, is_all: true } => {
                print_line(format_args!("forgotten: {keys} keys are removed"));
                Ok(ExitCode::SUCCESS)
            }
            Forgotten::Removed { keys, .. } => {
                print_line(format_args!(
                    "{keys} keys are removed, and some may be left: not all keys were looked at (--keys)"
                ));
                Ok(ExitCode::FAILURE)
            }
            Forgotten::InUse { keys, pods, listeners, led } => {
                let how_far = if keys == 0 { "not" } else { "partly" };
                print_line(format_args!(
                    "{how_far} forgotten: it is in use (pods that live: {pods}, connections that listen: {listeners}, flights that are led: \
                     {led}); {keys} keys were removed before that was seen"
                ));
                Ok(ExitCode::FAILURE)
            }
            _ => unreachable!("BUG: this release knows all ends of it"),
        }
    }
}

async fn is_confirmed(namespace: &str) -> Result<bool, BadSetting> {
    print_line(
        "what is known of its tokens is lost: a caller that comes with a token that was rotated is not handed the newer one,",
    );
    print_line("and the provider may take that for theft. The last fence stays.");
    print_line("forget it? Type its name:");
    Ok(line_of_stdin().await? == namespace)
}

fn tell(namespace: &str, seen: &NamespaceSeen) {
    print_line(format_args!("namespace {namespace}"));
    if seen.pods.is_empty() {
        print_line("  no pod is in its register");
    }
    for PodSeen { pod, lives_for, settings, .. } in &seen.pods {
        match lives_for {
            Some(left) => {
                print_line(format_args!("  pod {pod} lives, for {:.0} s unless it writes again", left.as_secs_f64()))
            }
            None => print_line(format_args!("  pod {pod} does not live any more")),
        }
        print_line(format_args!("    {settings}"));
    }
    for (what, count) in counts(seen) {
        print_line(format_args!("  {what}: {count}"));
    }
    if let Some(fence) = &seen.last_fence {
        print_line(format_args!("  last fence: {fence}"));
    }
    match seen.bytes {
        Some(bytes) => print_line(format_args!("  keys: {}, about {} KiB", seen.keys, bytes.div_ceil(1024))),
        None => print_line(format_args!("  keys: {} (their memory cannot be asked for: +memory|usage)", seen.keys)),
    }
    if !seen.is_all {
        print_line("there may be more: not all keys were looked at (--keys)");
    }
}

fn counts(seen: &NamespaceSeen) -> [(&'static str, u64); 7] {
    [
        ("tokens of which something is known", seen.records),
        ("flights that are led", seen.led),
        ("flights that wait for a permit", seen.queued),
        ("permits that are out", seen.permits_out),
        ("sessions whose attempts are counted", seen.sessions),
        ("sessions that are refused now", seen.sessions_held),
        ("answers that are held", seen.answers_held),
    ]
}

fn as_json(namespace: &str, seen: &NamespaceSeen) -> serde_json::Value {
    let pods: Vec<_> = seen
        .pods
        .iter()
        .map(|PodSeen { pod, lives_for, settings, .. }| {
            json!({ "pod": pod, "lives_for_ms": lives_for.map(|left| left.as_millis()), "settings": settings })
        })
        .collect();
    json!({
        "namespace": namespace,
        "pods": pods,
        "records": seen.records,
        "led": seen.led,
        "queued": seen.queued,
        "permits_out": seen.permits_out,
        "sessions": seen.sessions,
        "sessions_held": seen.sessions_held,
        "answers_held": seen.answers_held,
        "last_fence": seen.last_fence,
        "keys": seen.keys,
        "bytes": seen.bytes,
        "is_all": seen.is_all,
    })
}
