//! The coordinator's settings as flags and environment: one for one with the fields of [`Config`].
//!
//! Flattened into every command that coordinates. What a user gets wrong comes back as one line that names the
//! flag, not the field. Secrets come from files or the environment: what stands in argv, `ps` shows to everybody.

use std::path::PathBuf;

use refresh_coordinator::{
    Breaker, Config, Dialect, OnStoreOutage, OtherClaims, Preset, RefreshTokens, Secret, Uncertain, UnknownPreset,
};

use crate::bad_setting::BadSetting;
use crate::redis::{Redis, RedisSettings};
use crate::secrets::read_secret;
use crate::size::Size;
use crate::values::{MemoryLimit, Span};

// Where a fleet agrees, and by which rules.
#[allow(missing_docs, reason = "clap would take it for the command's own text")]
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Coordination")]
pub struct Settings {
    /// The coordination domain, one per provider or tenant: 1 to 64 of A-Z a-z 0-9 . _ -
    #[arg(long, value_name = "NAME", env = "REFRESHD_NAMESPACE", default_value_t = Config::default().namespace)]
    namespace: String,
    /// A file with 32 bytes or more of text that key the hashes in Redis, the same in all pods; for refresh tokens
    /// of little entropy. Or give the text itself in the environment: REFRESHD_PEPPER
    #[arg(long, value_name = "FILE", env = "REFRESHD_PEPPER_FILE")]
    pepper_file: Option<PathBuf>,
    /// How long a caller waits for the provider's answer; the refresh itself goes on
    #[arg(long, value_name = "TIME", env = "REFRESHD_REFRESH_TIMEOUT",
        default_value_t = Span(Config::default().refresh_timeout))]
    refresh_timeout: Span,
    /// How long a caller waits at all, takeover of a lost leader included
    #[arg(long, value_name = "TIME", env = "REFRESHD_WAIT_TIMEOUT",
        default_value_t = Span(Config::default().wait_timeout))]
    wait_timeout: Span,
    /// How long a call to the provider may run; until then nobody else presents the token
    /// [default: twice --refresh-timeout]
    #[arg(long, value_name = "TIME", env = "REFRESHD_CALL_LIMIT")]
    call_limit: Option<Span>,
    /// How long a leader that is not heard of keeps the token; renewed every third of it. Not longer than
    /// --keep-outcome and --wait-timeout together
    #[arg(long, value_name = "TIME", env = "REFRESHD_LEASE", default_value_t = Span(Config::default().lease))]
    lease: Span,
    /// When the token of a lost leader is presented again, from the start of the lost flight; 0 for providers
    /// with a grace window or without rotation [default: that of --provider, else as --refresh-timeout]
    #[arg(long, value_name = "TIME", env = "REFRESHD_RETRY_LOST_AFTER")]
    retry_lost_after: Option<Span>,
    /// What is known of a provider: its settings where none are given here. `refreshd presets` prints them, with sources
    #[arg(long, visible_alias = "preset", value_name = "NAME", env = "REFRESHD_PROVIDER", value_parser = preset)]
    provider: Option<&'static Preset>,
    /// Whether a refresh token can be presented more than once [default: that of --provider, else single-use]
    #[arg(long, value_name = "USE", env = "REFRESHD_REFRESH_TOKENS", value_enum)]
    refresh_tokens: Option<TokenUse>,
    /// What happens to a request with a token that was rotated for another scope, resource or audience of the same client
    /// [default: that of --provider, else follow]
    #[arg(long, value_name = "POLICY", env = "REFRESHD_OTHER_CLAIMS", value_enum)]
    other_claims: Option<Others>,
    /// One more name of an error that says that the refresh token is dead, beside invalid_grant and others in wide use, or
    /// the whole text of its description or message; may be given several times, or several with commas between them
    #[arg(long, value_name = "ERROR", env = "REFRESHD_DEAD_TOKEN_ERROR", value_delimiter = ',')]
    dead_token_error: Vec<String>,
    /// A text in a refusal that says that it will pass, whatever its error; may be given several times
    #[arg(long, value_name = "TEXT", env = "REFRESHD_PASSING_REFUSAL")]
    passing_refusal: Vec<String>,
    /// A text in a 503 of a gateway that says that the request may have been processed; may be given several times
    #[arg(long, value_name = "TEXT", env = "REFRESHD_GATEWAY_TEXT")]
    gateway_text: Vec<String>,
    /// How long new tokens are handed to newcomers that still hold the old refresh token
    #[arg(long, value_name = "TIME", env = "REFRESHD_KEEP_OUTCOME",
        default_value_t = Span(Config::default().keep_outcome))]
    keep_outcome: Span,
    /// How long new tokens that nobody has used yet are held for a caller that comes again with the old one, where its client
    /// has a credential; 0: only for --keep-outcome
    #[arg(long, value_name = "TIME", env = "REFRESHD_KEEP_UNTIL_USED",
        default_value_t = Span(Config::default().keep_until_used))]
    keep_until_used: Span,
    /// How many answers are held so at most; the oldest make way
    #[arg(long, value_name = "N", env = "REFRESHD_KEEP_AT_MOST", default_value_t = Config::default().keep_at_most)]
    keep_at_most: u32,
    /// How long a failure that may pass is handed to newcomers
    #[arg(long, value_name = "TIME", env = "REFRESHD_KEEP_FAILURE",
        default_value_t = Span(Config::default().keep_failure))]
    keep_failure: Span,
    /// How long the refusal of a dead token is handed to newcomers; any other refusal for 5s of it at most
    #[arg(long, value_name = "TIME", env = "REFRESHD_KEEP_REFUSAL",
        default_value_t = Span(Config::default().keep_refusal))]
    keep_refusal: Span,
    /// What to do with a token of which nobody knows whether the provider rotated it [default: that of --provider, else
    /// retry]
    #[arg(long, value_name = "POLICY", env = "REFRESHD_UNCERTAIN", value_enum)]
    uncertain: Option<Policy>,
    /// How long it is remembered that a token is uncertain; with --uncertain never not shorter than --call-limit
    #[arg(long, value_name = "TIME", env = "REFRESHD_UNCERTAIN_MEMORY",
        default_value_t = Span(Config::default().uncertain_memory))]
    uncertain_memory: Span,
    /// How long a call to Redis may take before Redis counts as out of reach
    #[arg(long, value_name = "TIME", env = "REFRESHD_STORE_TIMEOUT",
        default_value_t = Span(Config::default().store_timeout))]
    store_timeout: Span,
    /// How many replicas of Redis must have a lead before the token is presented; all, or a failover may lose it
    #[arg(long, value_name = "N", env = "REFRESHD_WAIT_REPLICAS", default_value_t = Config::default().wait_replicas)]
    wait_replicas: u32,
    /// What to do while Redis is out of reach
    #[arg(long, value_name = "POLICY", env = "REFRESHD_ON_STORE_OUTAGE", value_enum, default_value_t = Outage::Reject)]
    on_store_outage: Outage,
    /// How many refreshes a session may have in a window, successes too; the next one starts its cooldown
    #[arg(long, value_name = "N", env = "REFRESHD_MAX_REFRESH_ATTEMPTS",
        default_value_t = Config::default().max_refresh_attempts)]
    max_refresh_attempts: u32,
    /// How long a window is, from a session's first refresh
    #[arg(long, value_name = "TIME", env = "REFRESHD_REFRESH_ATTEMPT_WINDOW",
        default_value_t = Span(Config::default().refresh_attempt_window))]
    refresh_attempt_window: Span,
    /// How long a session that refreshed too often is refused
    #[arg(long, value_name = "TIME", env = "REFRESHD_REFRESH_COOLDOWN_PERIOD",
        default_value_t = Span(Config::default().refresh_cooldown_period))]
    refresh_cooldown_period: Span,
    /// How many refreshes of the namespace may ask the provider at once
    #[arg(long, value_name = "N", env = "REFRESHD_MAX_CONCURRENT_REFRESHES",
        default_value_t = Config::default().max_concurrent_refreshes)]
    max_concurrent_refreshes: u32,
    /// How long a refresh queues for its turn when that many ask already; 0 refuses at once; at most --wait-timeout
    /// [default: two thirds of --refresh-timeout]
    #[arg(long, value_name = "TIME", env = "REFRESHD_BUDGET_WAIT")]
    budget_wait: Option<Span>,
    /// How many refreshes in a row must fail (5xx, reset, timeout) before nobody asks the provider any more; where all
    /// are of one client, nobody of that client
    #[arg(long, value_name = "N", env = "REFRESHD_BREAKER_MAX_FAILURES",
        default_value_t = Breaker::default().max_failures)]
    breaker_max_failures: u32,
    /// How long then nobody asks it
    #[arg(long, value_name = "TIME", env = "REFRESHD_BREAKER_OPEN_DURATION",
        default_value_t = Span(Breaker::default().open_duration))]
    breaker_open_duration: Span,
    /// How many refreshes may probe the provider at once afterwards
    #[arg(long, value_name = "N", env = "REFRESHD_BREAKER_HALF_OPEN_REQUESTS",
        default_value_t = Breaker::default().half_open_requests)]
    breaker_half_open_requests: u32,
    /// When this pod leads nothing because its memory is short: `off`, `cgroup` (above 90 % of its cgroup's limit,
    /// if it has one), or a number of MiB of resident memory
    #[arg(long, value_name = "LIMIT", env = "REFRESHD_MEMORY_PRESSURE", default_value = "cgroup")]
    memory_pressure: MemoryLimit,
    /// The longest refresh token that is taken
    #[arg(long, value_name = "SIZE", env = "REFRESHD_MAX_TOKEN", default_value_t = Size(Config::default().max_token))]
    max_token: Size,
    /// The largest answer that is shared over Redis, sealed; the leader's own callers get a larger one all the same, and
    /// other pods refuse theirs as transient
    #[arg(long, value_name = "SIZE", env = "REFRESHD_MAX_SHARED", default_value_t = Size(Config::default().max_shared))]
    max_shared: Size,
    /// How often the embedded store forgets what is over
    #[arg(long, value_name = "TIME", env = "REFRESHD_CLEANUP_INTERVAL",
        default_value_t = Span(Config::default().cleanup_interval))]
    cleanup_interval: Span,
    // Last: what stands behind it would be printed under its heading.
    #[command(flatten)]
    redis: RedisSettings,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Policy {
    /// Present it again: it may save the session
    Retry,
    /// Never present it again while it is remembered
    Never,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum TokenUse {
    /// A token that was rotated is not to come again
    SingleUse,
    /// It can be presented again: requests that differ in client, scope or parameters neither wait for each other nor
    /// are refused
    Reusable,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Others {
    /// It presents the newest token of the login in its turn, where its client has a credential and --keep-until-used is not 0
    Follow,
    /// It is told to read its session again: for providers that narrow the next refresh token to the scope that was asked for, or
    /// end the access token before with each refresh
    Refuse,
}

fn preset(name: &str) -> Result<&'static Preset, UnknownPreset> {
    Preset::named(name)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Outage {
    /// Refuse as transient: nobody's session ends
    Reject,
    /// After a whole --lease go on within this process; processes that do so may present one token twice
    Local,
}

impl Settings {
    /// The settings as the library takes them, validated; `upstream` is left to the program that knows it.
    ///
    /// # Errors
    ///
    /// [`BadSetting`] for a value that the library refuses, and for a pepper that cannot be read.
    pub fn config(&self) -> Result<Config, BadSetting> {
        let known = self.provider.map_or_else(Config::default, |preset| preset.applied_to(Config::default()));
        let with = |known: &[String], given: &[String]| known.iter().chain(given).cloned().collect();
        let mut config = Config::default();
        config.namespace = self.namespace.clone();
        config.refresh_timeout = self.refresh_timeout.0;
        config.wait_timeout = self.wait_timeout.0;
        config.call_limit = self.call_limit.map(|span| span.0);
        config.lease = self.lease.0;
        config.retry_lost_after = self.retry_lost_after.map(|span| span.0).or(known.retry_lost_after);
        config.keep_outcome = self.keep_outcome.0;
        config.keep_until_used = self.keep_until_used.0;
        config.keep_at_most = self.keep_at_most;
        config.keep_failure = self.keep_failure.0;
        config.keep_refusal = self.keep_refusal.0;
        config.refresh_tokens = match self.refresh_tokens {
            None => known.refresh_tokens,
            Some(TokenUse::SingleUse) => RefreshTokens::SingleUse,
            Some(TokenUse::Reusable) => RefreshTokens::Reusable,
        };
        config.other_claims = match self.other_claims {
            None => known.other_claims,
            Some(Others::Follow) => OtherClaims::Follow,
            Some(Others::Refuse) => OtherClaims::Refuse,
        };
        config.dialect = Dialect {
            dead_token_errors: with(&known.dialect.dead_token_errors, &self.dead_token_error),
            passing_refusals: with(&known.dialect.passing_refusals, &self.passing_refusal),
            gateway_texts: with(&known.dialect.gateway_texts, &self.gateway_text),
        };
        config.uncertain = match self.uncertain {
            None => known.uncertain,
            Some(Policy::Retry) => Uncertain::Retry,
            Some(Policy::Never) => Uncertain::Never,
        };
        config.uncertain_memory = self.uncertain_memory.0;
        config.store_timeout = self.store_timeout.0;
        config.wait_replicas = self.wait_replicas;
        // Each program's own to say.
        config.start_without_redis = false;
        config.on_store_outage = match self.on_store_outage {
            Outage::Reject => OnStoreOutage::Reject,
            Outage::Local => OnStoreOutage::Local,
        };
        config.pepper = self.pepper()?;
        config.max_refresh_attempts = self.max_refresh_attempts;
        config.refresh_attempt_window = self.refresh_attempt_window.0;
        config.refresh_cooldown_period = self.refresh_cooldown_period.0;
        config.max_concurrent_refreshes = self.max_concurrent_refreshes;
        config.budget_wait = self.budget_wait.map(|span| span.0);
        config.breaker.max_failures = self.breaker_max_failures;
        config.breaker.open_duration = self.breaker_open_duration.0;
        config.breaker.half_open_requests = self.breaker_half_open_requests;
        config.memory_pressure = self.memory_pressure.0;
        config.max_token = self.max_token.0;
        config.max_shared = self.max_shared.0;
        config.cleanup_interval = self.cleanup_interval.0;
        config.validate()?;
        Ok(config)
    }

    /// What is known of the provider, where it was named.
    pub fn preset(&self) -> Option<&'static Preset> {
        self.provider
    }

    /// Where Redis is; none means the embedded store.
    ///
    /// # Errors
    ///
    /// As [`RedisSettings::redis`].
    pub fn redis(&self) -> Result<Option<Redis>, BadSetting> {
        self.redis.redis()
    }

    fn pepper(&self) -> Result<Option<Secret>, BadSetting> {
        const VARIABLE: &str = "REFRESHD_PEPPER";
        match (&self.pepper_file, std::env::var_os(VARIABLE)) {
            (None, None) => Ok(None),
            (Some(file), None) => read_secret("--pepper-file", file).map(Some),
            (None, Some(text)) => match text.into_string() {
                Ok(text) => Ok(Some(Secret::from(text))),
                Err(_) => Err(BadSetting::new(format!("{VARIABLE} is not UTF-8: take a text, such as 64 hex digits"))),
            },
            (Some(_), Some(_)) => {
                Err(BadSetting::new(format!("--pepper-file and {VARIABLE} are both given: keep one of them")))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use clap::{CommandFactory, Parser};
    use refresh_coordinator::MemoryPressure;

    use super::*;

    #[derive(Debug, Parser)]
    struct Cli {
        #[command(flatten)]
        settings: Settings,
    }

    fn settings(arguments: &[&str]) -> Settings {
        Cli::try_parse_from([&["refreshd"], arguments].concat()).expect("valid arguments").settings
    }

    #[test]
    fn no_flags_are_the_defaults_of_the_library() {
        let config = settings(&[]).config().expect("the defaults");

        assert_eq!(format!("{config:?}"), format!("{:?}", Config::default()));
    }

    /// The library's settings may grow.
    #[test]
    fn every_setting_of_the_library_has_a_flag() {
        let (command, config) = (Cli::command(), format!("{:#?}", Config::default()));
        let flags: Vec<_> = command.get_arguments().filter_map(|flag| flag.get_long()).collect();
        let is_field = |line: &&str| line.starts_with(|first: char| first.is_ascii_lowercase());
        let fields = config.lines().filter_map(|line| line.strip_prefix("    ")).filter(is_field);
        for field in fields.filter_map(|line| line.split(':').next()) {
            let of_its_name = field.replace('_', "-");
            let meant: &[&str] = match field {
                // Each program's own to say.
                "upstream" | "start_without_redis" => &[],
                "pepper" => &["pepper-file"],
                "dialect" => &["dead-token-error", "passing-refusal", "gateway-text"],
                "breaker" => &["breaker-max-failures", "breaker-open-duration", "breaker-half-open-requests"],
                _ => &[&of_its_name],
            };
            assert!(meant.iter().all(|flag| flags.contains(flag)), "{field} has no flag: {flags:?}");
        }
    }

    #[test]
    fn flags_take_human_durations() {
        let config = settings(&["--keep-outcome", "1m 30s", "--call-limit=90s", "--retry-lost-after", "0s"])
            .config()
            .expect("possible settings");

        assert_eq!(config.keep_outcome, Duration::from_secs(90));
        assert_eq!(config.call_limit(), Duration::from_secs(90));
        assert_eq!(config.retry_lost_after(), Duration::ZERO);
    }

    #[test]
    fn preset_is_where_nothing_is_given_and_a_wrong_name_lists_the_right_ones() {
        let known =
            settings(&["--provider", "supabase", "--dead-token-error", "gone,lost"]).config().expect("possible");
        let given = settings(&["--provider=entra", "--refresh-tokens=single-use", "--retry-lost-after=9s"]);
        let given = given.config().expect("possible");
        let entra = settings(&["--provider=entra", "--uncertain=never"]).config().expect_err("contradictory");
        let wrong = Cli::try_parse_from(["refreshd", "--provider", "octa"]).expect_err("unknown").to_string();

        assert_eq!(known.retry_lost_after(), Duration::ZERO);
        assert_eq!(known.other_claims, OtherClaims::Follow);
        let django = |more: &[&str]| settings(&[&["--provider=django-oauth-toolkit"], more].concat()).config();
        assert_eq!(django(&[]).expect("possible").other_claims, OtherClaims::Refuse);
        assert_eq!(django(&["--other-claims=follow"]).expect("possible").other_claims, OtherClaims::Follow);
        let names = known.dialect.dead_token_errors.join(" ");
        assert!(names.contains("session_not_found") && names.ends_with("gone lost"), "{names}");
        assert_eq!(
            (given.refresh_tokens, given.retry_lost_after()),
            (RefreshTokens::SingleUse, Duration::from_secs(9))
        );
        assert_eq!(
            entra.to_string(),
            "--uncertain is never: it must keep its default where --refresh-tokens is reusable"
        );
        assert!(
            wrong.contains("auth0, django-oauth-toolkit, entra, firebase, github, google, keycloak, okta"),
            "{wrong}"
        );
    }

    #[test]
    fn memory_is_limited_by_a_word_or_by_mib() {
        for (text, expected) in [
            ("off", MemoryPressure::Off),
            ("cgroup", MemoryPressure::Cgroup),
            ("512", MemoryPressure::ResidentMib(512)),
        ] {
            let config = settings(&["--memory-pressure", text]).config().expect("possible");
            assert_eq!(config.memory_pressure, expected);
        }
        let refused = Cli::try_parse_from(["refreshd", "--memory-pressure", "90%"]).expect_err("neither");
        assert!(refused.to_string().contains("expected off, cgroup, or a whole number of MiB"), "{refused}");
    }

    #[test]
    fn errors_name_the_flags() {
        let breaker = settings(&["--breaker-max-failures", "0"]).config().expect_err("none");
        assert_eq!(breaker.to_string(), "--breaker-max-failures is 0: it must be 1 to 1000000");
        let longer = settings(&["--refresh-timeout", "60s"]).config().expect_err("longer than --wait-timeout");
        let shorter = settings(&["--uncertain", "never", "--uncertain-memory", "50s"]).config().expect_err("too short");
        let too_long = settings(&["--lease", "70s"]).config().expect_err("longer than two others together");
        let name = settings(&["--namespace", "a b"]).config().expect_err("no name");

        assert_eq!(longer.to_string(), "--refresh-timeout is 60s: it must not be longer than --wait-timeout (35s)");
        assert_eq!(shorter.to_string(), "--uncertain-memory is 50s: it must not be shorter than --call-limit (60s)");
        assert_eq!(
            too_long.to_string(),
            "--lease is 70s: it must not be longer than --keep-outcome and --wait-timeout together (65s)"
        );
        assert_eq!(name.to_string(), "--namespace is \"a b\": it must be 1 to 64 characters of A-Z a-z 0-9 . _ -");
    }

    #[test]
    fn pepper_comes_from_a_file_without_its_line_end() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(file.path(), format!("{}\n", "p".repeat(32))).expect("written");

        let config = settings(&["--pepper-file", file.path().to_str().expect("UTF-8")]).config().expect("a pepper");

        assert_eq!(config.pepper.expect("set").expose(), "p".repeat(32));
    }

    #[test]
    fn secrets_are_not_printed() {
        let settings = settings(&["--redis", "redis://:hush@localhost"]);

        assert!(!format!("{settings:?}").contains("hush"));
    }
}
