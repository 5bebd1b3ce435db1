//! `refreshd flights`: which refreshes are under way in the fleet, and which were lost.

use std::process::ExitCode;

use refresh_coordinator::SeenFlight;
use refresh_coordinator_cli::{BadSetting, print_line};

use crate::operate::{Way, told};

/// Lists the flights that are led now, with their leaders
///
/// It walks over the keys of the server that decides for the namespace, a thousand at a time, and changes nothing. Flags and
/// environment are those of serve; of the settings only --namespace and --store-timeout matter here.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Flights {
    /// Also flights that have lost their leader: every record of the namespace is read for it
    #[arg(long)]
    lost: bool,
    /// How many flights are listed at most
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    limit: u32,
    /// How many keys of the server are looked at, at most
    #[arg(long, value_name = "N", default_value_t = 1_000_000, value_parser = clap::value_parser!(u32).range(1..))]
    keys: u32,
    /// Print JSON instead of lines to read
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    way: Way,
}

impl Flights {
    pub(crate) async fn run(self) -> Result<ExitCode, BadSetting> {
        let mut operator = self.way.connect().await?;
        let found = operator.flights(self.lost, self.limit as usize, self.keys.into()).await.map_err(told)?;
        if self.json {
            let flights: Vec<_> = found.flights.iter().map(as_json).collect();
            print_line(serde_json::json!({
                "namespace": self.way.namespace()?,
                "flights": flights,
                "is_all": found.is_all,
            }));
            return Ok(ExitCode::SUCCESS);
        }
        found.flights.iter().map(line).for_each(print_line);
        match (found.is_all, found.flights.is_empty()) {
            (true, true) => print_line("no flights"),
            (true, false) => {}
            (false, _) => print_line("there may be more: not all keys were looked at (--limit, --keys)"),
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn line(SeenFlight { name, owner, lease_left, started_ago, .. }: &SeenFlight) -> String {
    let started = started_ago.as_secs_f64();
    match lease_left {
        Some(left) => {
            let left = left.as_secs_f64();
            format!(
                "{name} led by {owner}, the lease ends in {left:.1} s unless it is renewed, started {started:.1} s ago"
            )
        }
        None => format!("{name} lost by {owner}, started {started:.1} s ago"),
    }
}

fn as_json(SeenFlight { name, owner, lease_left, started_ago, .. }: &SeenFlight) -> serde_json::Value {
    serde_json::json!({
        "name": name.to_string(),
        "state": if lease_left.is_some() { "led" } else { "lost" },
        "owner": owner,
        "lease_left_ms": lease_left.map(|left| left.as_millis()),
        "started_ms_ago": started_ago.as_millis(),
    })
}
