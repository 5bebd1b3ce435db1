//! Variables of the environment that look like settings of refreshd and are none. A setting with a slip in its name would be its
//! default, and nobody would know: a fleet whose pods do not find their Redis goes on without one.

use std::collections::BTreeSet;

use crate::config_file::nearest;

const PREFIX: &str = "REFRESHD_";

/// A variable, and the one that is meant, most likely.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Unknown {
    pub(crate) name: String,
    pub(crate) meant: Option<String>,
}

/// Those among `given` that no flag and no subcommand of `command` reads, and that are not in `more`.
pub(crate) fn unknown(command: &clap::Command, more: &[&str], given: impl Iterator<Item = String>) -> Vec<Unknown> {
    let flags = command.get_subcommands().flat_map(clap::Command::get_arguments).chain(command.get_arguments());
    let known: BTreeSet<_> = flags.filter_map(|flag| flag.get_env()?.to_str()).chain(more.iter().copied()).collect();
    let as_key = |name: &str| name.trim_start_matches(PREFIX).to_lowercase().replace('_', "-");
    let keys: Vec<_> = known.iter().filter(|name| name.starts_with(PREFIX)).map(|name| (as_key(name), *name)).collect();
    let mut unknown: Vec<_> = given
        .filter(|name| name.starts_with(PREFIX) && !known.contains(&name[..]) && !is_of_kubernetes(name))
        .map(|name| {
            let meant = nearest(&as_key(&name), keys.iter().map(|(key, _)| &key[..]));
            let meant = meant.and_then(|meant| keys.iter().find(|(key, _)| key == meant));
            Unknown { meant: meant.map(|(_, name)| (*name).to_owned()), name }
        })
        .collect();
    unknown.sort_by(|one, other| one.name.cmp(&other.name));
    unknown
}

/// Whether Kubernetes has set it: it tells each pod of all Services, of one that is called `refreshd`, too.
fn is_of_kubernetes(name: &str) -> bool {
    let is_port = |word: &str| {
        let parts: Vec<_> = word.trim_start_matches('_').split('_').collect();
        matches!(parts[..], [number, "TCP" | "UDP" | "SCTP"] | [number, "TCP" | "UDP" | "SCTP", "PROTO" | "PORT" | "ADDR"]
            if number.parse::<u16>().is_ok())
    };
    name.ends_with("_SERVICE_HOST")
        || name.contains("_SERVICE_PORT")
        || name.ends_with("_PORT")
        || name.split_once("_PORT_").is_some_and(|(_, rest)| is_port(rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(given: &[&str]) -> Vec<(String, Option<String>)> {
        let flag = |id: &'static str, variable: &'static str| clap::Arg::new(id).long(id).env(variable);
        let serve =
            clap::Command::new("serve").arg(flag("redis", "REFRESHD_REDIS")).arg(flag("lease", "REFRESHD_LEASE"));
        let ready = clap::Command::new("ready").arg(flag("url", "REFRESHD_READY_URL"));
        let command = clap::Command::new("refreshd").subcommands([serve, ready]);
        let found = unknown(&command, &["REFRESHD_PEPPER"], given.iter().map(|name| (*name).to_owned()));
        found.into_iter().map(|Unknown { name, meant }| (name, meant)).collect()
    }

    #[test]
    fn variable_that_is_no_setting_is_found_with_the_one_that_is_meant() {
        let redis = Some("REFRESHD_REDIS".to_owned());

        assert_eq!(found(&["REFRESHD_REDIS_URL"]), [("REFRESHD_REDIS_URL".to_owned(), redis)]);
        assert_eq!(found(&["REFRESHD_LEASES"]), [("REFRESHD_LEASES".to_owned(), Some("REFRESHD_LEASE".to_owned()))]);
        assert_eq!(found(&["REFRESHD_XYZ"]), [("REFRESHD_XYZ".to_owned(), None)]);
    }

    #[test]
    fn settings_other_programs_variables_and_those_of_kubernetes_are_left_alone() {
        let given = [
            "REFRESHD_REDIS",
            "REFRESHD_READY_URL",
            "REFRESHD_PEPPER",
            "REDIS_URL",
            "REFRESHD_SERVICE_HOST",
            "REFRESHD_SERVICE_PORT",
            "REFRESHD_SERVICE_PORT_HTTP",
            "REFRESHD_PORT",
            "REFRESHD_PORT_80_TCP",
            "REFRESHD_PORT_80_TCP_ADDR",
            "REFRESHD_REDIS_PORT_6379_TCP_PROTO",
        ];

        assert_eq!(found(&given), []);
    }
}
