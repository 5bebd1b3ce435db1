//! `refreshd check`: prints what is in force for each provider, written as the file is, and where each value comes from.

use std::process::ExitCode;

use clap::{Arg, ArgAction};
use refresh_coordinator::{OtherClaims, RefreshTokens, Uncertain};
use refresh_coordinator_cli::{BadSetting, Span, print_line};

use crate::config_file::{Scope, Source, key, scope};
use crate::configuration::Configuration;
use crate::provider::Planned;
use crate::serve;

/// Where the comments begin.
const WIDTH: usize = 56;
/// They are no flags: an argument is no place for a secret.
pub(crate) const SECRET_VARIABLES: [(&str, Scope); 2] =
    [("REFRESHD_REDIS_PASSWORD", Scope::Shared), ("REFRESHD_PEPPER", Scope::Each)];

/// `flags` are those of the subcommand.
pub(crate) fn run(configuration: &Configuration, flags: &clap::Command) -> Result<ExitCode, BadSetting> {
    let (serve, planned) = serve::plan(configuration)?;
    serve.tls.read().map_err(|wrong| configuration.first().explain(wrong))?;
    let first = planned.first().expect("BUG: there is one provider at least");
    first.redis()?;

    let flags: Vec<_> = flags.get_arguments().filter(|flag| key(flag).is_some()).collect();
    let lines = |planned: &Planned, is_shared: bool| -> Vec<String> {
        let of_flags = flags.iter().filter(|flag| (scope(flag) == Scope::Shared) == is_shared);
        let variables = SECRET_VARIABLES.iter().filter(|(_, scope)| (*scope == Scope::Shared) == is_shared);
        let set = variables.filter(|(variable, _)| std::env::var_os(variable).is_some());
        let secrets = set.map(|(variable, _)| with_comment(&format!("# {variable}"), "environment, not shown"));
        of_flags.map(|flag| line(flag, planned)).chain(secrets).collect()
    };
    print_line(lines(first, true).join("\n"));
    for planned in &planned {
        let table = format!("[provider.{}]", planned.configured.name().unwrap_or("NAME"));
        let place = format!("served at {}", planned.place.shown("/token"));
        print_line(format_args!("\n{}\n{}", with_comment(&table, &place), lines(planned, false).join("\n")));
    }
    Ok(ExitCode::SUCCESS)
}

/// A key with its value, and where that comes from.
fn line(flag: &Arg, planned: &Planned) -> String {
    let key = key(flag).expect("BUG: only keys are printed");
    let given: Vec<String> = match flag.is_hide_env_values_set() {
        true => planned.configured.values(flag).iter().map(|_| "...".to_owned()).collect(),
        false => {
            planned.configured.values(flag).iter().map(|value| without_secrets(&value.to_string_lossy())).collect()
        }
    };
    let source = match planned.configured.source(flag) {
        Source::Flag => "flag".to_owned(),
        Source::Environment => "environment".to_owned(),
        Source::File(line) => format!("file, line {line}"),
        Source::Default => "default".to_owned(),
    };
    let (known, preset) = known(key, planned);
    let is_given = planned.configured.source(flag) != Source::Default;
    let (values, source) = match (matches!(flag.get_action(), ArgAction::Append), is_given) {
        // What a preset knows counts beside what is given.
        (true, true) if !known.is_empty() => ([known, given].concat(), format!("{preset} and {source}")),
        (_, false) if !known.is_empty() => (known, preset),
        _ if !given.is_empty() => (given, source),
        _ => (derived(key, planned), source),
    };
    if values.is_empty() {
        return format!("# {key} is not set");
    }
    let quoted: Vec<_> = values.iter().map(|value| format!("{value:?}")).collect();
    let value = match flag.get_action() {
        ArgAction::SetTrue => values.concat(),
        ArgAction::Append => format!("[{}]", quoted.join(", ")),
        _ => quoted.concat(),
    };
    let is_hidden = flag.is_hide_env_values_set();
    with_comment(&format!("{key} = {value}"), &format!("{source}{}", if is_hidden { ", not shown" } else { "" }))
}

fn with_comment(line: &str, comment: &str) -> String {
    format!("{line:WIDTH$} # {comment}")
}

/// What the provider's preset says of a setting, where it has one, and that it does.
fn known(key: &str, planned: &Planned) -> (Vec<String>, String) {
    let Some(preset) = planned.settings.coordination.preset() else { return Default::default() };
    let texts = |facts: &[refresh_coordinator::Fact<&str>]| facts.iter().map(|fact| fact.value.to_owned()).collect();
    let values = match key {
        "refresh-tokens" => vec![refresh_tokens(preset.refresh_tokens.value)],
        "other-claims" => preset.other_claims().map(other_claims).into_iter().collect(),
        "uncertain" => preset.uncertain().map(uncertain).into_iter().collect(),
        "retry-lost-after" => preset.retry_lost_after().map(|span| Span(span).to_string()).into_iter().collect(),
        "dead-token-error" => texts(preset.dead_token_errors),
        "passing-refusal" => texts(preset.passing_refusals),
        "gateway-text" => texts(preset.gateway_texts),
        _ => Vec::new(),
    };
    (values, format!("preset {}", preset.name))
}

/// What follows for a setting that nobody gave from others.
fn derived(key: &str, planned: &Planned) -> Vec<String> {
    let Planned { settings, config, upstream, .. } = planned;
    let span = |span| vec![Span(span).to_string()];
    match key {
        "refresh-tokens" => vec![refresh_tokens(config.refresh_tokens)],
        "other-claims" => vec![other_claims(config.other_claims)],
        "uncertain" => vec![uncertain(config.uncertain)],
        "retry-lost-after" => span(config.retry_lost_after()),
        "call-limit" | "upstream-timeout" => span(config.call_limit()),
        "budget-wait" => span(config.budget_wait()),
        "provider-name" => config.upstream.iter().cloned().collect(),
        "dpop-htu" => settings.signatures.dpop_htu(upstream).iter().map(|url| without_secrets(url)).collect(),
        "client-assertion-aud" if settings.signatures.believes_assertions() => {
            settings.signatures.audiences(upstream).iter().map(|url| without_secrets(url)).collect()
        }
        _ => Vec::new(),
    }
}

fn refresh_tokens(tokens: RefreshTokens) -> String {
    match tokens {
        RefreshTokens::SingleUse => "single-use",
        RefreshTokens::Reusable => "reusable",
        _ => "unknown",
    }
    .to_owned()
}

fn other_claims(others: OtherClaims) -> String {
    match others {
        OtherClaims::Follow => "follow",
        OtherClaims::Refuse => "refuse",
        _ => "unknown",
    }
    .to_owned()
}

fn uncertain(uncertain: Uncertain) -> String {
    match uncertain {
        Uncertain::Retry => "retry",
        Uncertain::Never => "never",
        _ => "unknown",
    }
    .to_owned()
}

/// A secret may stand in a URL: before its host, and in its parameters.
fn without_secrets(value: &str) -> String {
    let Some((scheme, rest)) = value.split_once("://") else { return value.to_owned() };
    let (rest, parameters) = match rest.find(['?', '#']) {
        Some(at) => (&rest[..at], format!("{}...", &rest[at..=at])),
        None => (rest, String::new()),
    };
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let authority = match authority.rsplit_once('@') {
        Some((_, host)) => format!("...@{host}"),
        None => authority.to_owned(),
    };
    format!("{scheme}://{authority}{path}{parameters}")
}

#[cfg(test)]
mod tests {
    use super::without_secrets;

    #[test]
    fn nothing_of_a_url_is_printed_that_may_be_a_secret() {
        for (given, printed) in [
            ("https://idp.example/token", "https://idp.example/token"),
            ("https://u:hush@idp.example/jwks?key=hush", "https://...@idp.example/jwks?..."),
            ("https://idp.example#hush", "https://idp.example#..."),
            ("urn:of:an:audience", "urn:of:an:audience"),
        ] {
            assert_eq!(without_secrets(given), printed);
        }
    }
}
