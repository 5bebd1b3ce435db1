//! `meta.lua`: keeps this pod's entry in the register of living pods, as long as they agree.

use std::time::Duration;

use super::Calls;
use super::reply::Reply;
use super::words::{Number, ms};
use crate::config::{Config, OnStoreOutage, OtherClaims, RefreshTokens, Uncertain};
use crate::identity::Hash;
use crate::seal::{OLDEST_PROTOCOL, PROTOCOL};
use crate::secret::Secret;
use crate::store::contract::StoreError;
use crate::store::redis::call::Call;

/// For how long an entry stands, beside the lease, since it was written: `entry_ms` of `lua/lib/register.lua`.
pub(crate) const ENTRY_STANDS: Duration = Duration::from_secs(3 * 60);

/// What it replies.
#[derive(Debug)]
pub(crate) enum MetaReply {
    Agreed(Agreed),
    Differs(Differs),
}

/// What is known of all living pods, this one included.
#[derive(Debug)]
pub(crate) struct Agreed {
    pub(crate) longest_lease: Duration,
    pub(crate) anyone_never: bool,
    /// All living pods go on where other claims went.
    pub(crate) all_follow: bool,
    /// What other pods go by, where it is not what this pod goes by: one pod for each way.
    pub(crate) others: Vec<Other>,
}

#[derive(Debug)]
pub(crate) struct Other {
    pub(crate) pod: String,
    /// Which settings differ, with both values.
    pub(crate) differences: String,
}

/// What a living pod does not agree on.
#[derive(Debug)]
pub(crate) struct Differs {
    pub(crate) what: Differing,
    pub(crate) theirs: String,
    pub(crate) ours: String,
    /// None for pods of protocol 1, which do not say which they are.
    pub(crate) pod: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Differing {
    Protocol,
    Pepper,
    Provider,
    RefreshTokens,
}

impl Calls {
    /// Writes this pod's entry anew, unless a living pod does not agree with it.
    pub(crate) async fn meta(&self) -> Result<MetaReply, StoreError> {
        let entry = Entry::of(&self.config);
        let mut call = Call::new(&self.scripts.meta, 1);
        call.key(self.keys.meta()).arg(&self.pod).arg("stay").arg(entry.line());
        read(&self.run("meta", &call).await?, &entry)
    }

    /// Takes this pod's entry away.
    pub(crate) async fn leave(&self) -> Result<(), StoreError> {
        let mut call = Call::new(&self.scripts.meta, 1);
        call.key(self.keys.meta()).arg(&self.pod).arg("leave").arg("");
        let reply = self.run("meta", &call).await?;
        if reply.word()? == "left" { Ok(()) } else { Err(reply.unknown()) }
    }
}

fn read(reply: &Reply, ours: &Entry) -> Result<MetaReply, StoreError> {
    match reply.word()? {
        "agreed" => {}
        "differs" => return read_difference(reply, ours).map(MetaReply::Differs),
        _ => return Err(reply.unknown()),
    }
    let (mut others, mut all_follow) = (Vec::new(), true);
    for at in (3..reply.len()).step_by(2) {
        let (pod, theirs) = (reply.field(at)?, reply.field::<String>(at + 1)?);
        all_follow &= theirs.split(' ').any(|word| word == "other_claims=follow");
        // Other words need not be other settings: a later release may say more, and not all pods name their provider.
        if let Some(differences) = ours.differences(&theirs) {
            others.push(Other { pod, differences });
        }
    }
    let anyone_never = reply.field::<String>(2)? == "never";
    Ok(MetaReply::Agreed(Agreed { longest_lease: reply.span(1)?, anyone_never, all_follow, others }))
}

fn read_difference(reply: &Reply, ours: &Entry) -> Result<Differs, StoreError> {
    let name: String = reply.field(1)?;
    let what = match name.as_str() {
        "protocols" => Differing::Protocol,
        "pepper" => Differing::Pepper,
        "provider" => Differing::Provider,
        "refresh_tokens" => Differing::RefreshTokens,
        _ => return Err(reply.unknown()),
    };
    let ours = ours.word(&name).ok_or_else(|| reply.unknown())?.to_owned();
    let pod = Some(reply.field(3)?).filter(|pod: &String| !pod.is_empty());
    Ok(Differs { what, theirs: reply.field(2)?, ours, pod })
}

/// What a pod goes by, as it stands in the register: first what must agree, then what scripts go by, then the settings of
/// which it is only said where they differ. By the names that the settings have; times in ms.
struct Entry(Vec<(&'static str, String)>);

/// What must agree is told by a refusal, not by a warning.
const MUST_AGREE: [&str; 4] = ["protocols", "pepper", "provider", "refresh_tokens"];

/// Settings that every pod of a namespace should have alike: two pods that differ in one count by different rules.
const SETTINGS: [Number; 20] = [
    ("refresh_timeout", |config| ms(config.refresh_timeout)),
    ("wait_timeout", |config| ms(config.wait_timeout)),
    ("call_limit", |config| ms(config.call_limit())),
    ("retry_lost_after", |config| ms(config.retry_lost_after())),
    ("keep_outcome", |config| ms(config.keep_outcome)),
    ("keep_until_used", |config| ms(config.keep_until_used)),
    ("keep_at_most", |config| config.keep_at_most.into()),
    ("keep_failure", |config| ms(config.keep_failure)),
    ("uncertain_memory", |config| ms(config.uncertain_memory)),
    ("store_timeout", |config| ms(config.store_timeout)),
    ("wait_replicas", |config| config.wait_replicas.into()),
    ("max_refresh_attempts", |config| config.max_refresh_attempts.into()),
    ("refresh_attempt_window", |config| ms(config.refresh_attempt_window)),
    ("refresh_cooldown_period", |config| ms(config.refresh_cooldown_period)),
    ("max_concurrent_refreshes", |config| config.max_concurrent_refreshes.into()),
    ("budget_wait", |config| ms(config.budget_wait())),
    ("breaker.max_failures", |config| config.breaker.max_failures.into()),
    ("breaker.open_duration", |config| ms(config.breaker.open_duration)),
    ("breaker.half_open_requests", |config| config.breaker.half_open_requests.into()),
    ("lease", |config| ms(config.lease)),
];

impl Entry {
    fn of(config: &Config) -> Self {
        let refresh_tokens = match config.refresh_tokens {
            RefreshTokens::SingleUse => "single-use",
            RefreshTokens::Reusable => "reusable",
        };
        let uncertain = match config.uncertain {
            Uncertain::Retry => "retry",
            Uncertain::Never => "never",
        };
        let other_claims = match config.other_claims {
            OtherClaims::Follow => "follow",
            OtherClaims::Refuse => "refuse",
        };
        let on_store_outage = match config.on_store_outage {
            OnStoreOutage::Reject => "reject",
            OnStoreOutage::Local => "local",
        };
        let mut words = vec![
            ("protocols", format!("{OLDEST_PROTOCOL}-{PROTOCOL}")),
            ("pepper", config.pepper.as_ref().map_or("none".to_owned(), check_value)),
            ("provider", config.provider_name().unwrap_or("-".to_owned())),
            ("refresh_tokens", refresh_tokens.to_owned()),
            ("uncertain", uncertain.to_owned()),
            ("other_claims", other_claims.to_owned()),
            ("on_store_outage", on_store_outage.to_owned()),
        ];
        words.extend(SETTINGS.map(|(name, value)| (name, value(config).to_string())));
        Self(words)
    }

    fn line(&self) -> String {
        self.0.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(" ")
    }

    fn word(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(there, _)| *there == name).map(|(_, value)| value.as_str())
    }

    /// The settings in which another entry differs. None where it does in none; one that only one of both knows is no
    /// difference.
    fn differences(&self, theirs: &str) -> Option<String> {
        let differing = |word: &str| {
            let (name, there) = word.split_once('=')?;
            let here = self.word(name).filter(|here| *here != there && !MUST_AGREE.contains(&name))?;
            Some(format!("{name} ({here} here, {there} there)"))
        };
        let all: Vec<_> = theirs.split(' ').filter_map(differing).collect();
        (!all.is_empty()).then(|| all.join(", "))
    }
}

/// Tells two peppers apart and tells nothing of either.
pub(in crate::store::redis) fn check_value(pepper: &Secret) -> String {
    Hash::keyed(pepper, "refresh-coordinator/1 pepper").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_name_each_setting_with_both_values_and_nothing_else() {
        let theirs = Config {
            lease: Duration::from_secs(5),
            uncertain: Uncertain::Never,
            other_claims: OtherClaims::Refuse,
            upstream: Some("idp".to_owned()),
            ..Config::default()
        };
        let ours = Entry::of(&Config::default());

        let line = format!("{} learned_later=7", Entry::of(&theirs).line());

        assert_eq!(
            ours.differences(&line).as_deref(),
            Some(
                "uncertain (retry here, never there), other_claims (follow here, refuse there), lease (10000 here, 5000 there)"
            )
        );
        assert_eq!(ours.differences(&ours.line()), None);
    }

    #[test]
    fn entry_is_one_line_of_words_without_a_secret() {
        let config = Config {
            pepper: Some("p".repeat(32).into()),
            upstream: Some("https://hush:hush@idp.example/token?secret=hush#hush".to_owned()),
            ..Config::default()
        };

        let line = Entry::of(&config).line();

        assert!(line.starts_with("protocols=2-2 pepper=") && line.contains(" provider=https://idp.example/token "));
        assert!(!line.contains("hush") && !line.contains("ppp") && !line.contains('\n'), "{line}");
        assert!(line.split(' ').all(|word| word.split('=').count() == 2), "{line}");
    }
}
