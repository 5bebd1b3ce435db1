//! Which signed texts of requests are believed: for which addresses proofs may be made, and by which keys clients sign.

use std::path::PathBuf;
use std::time::Duration;

use refresh_coordinator::exchange::{ClientKeys, UnusableKeys};
use refresh_coordinator_cli::BadSetting;
use url::Url;

use crate::upstream::{Document, Upstream, UpstreamSettings, document_url};

// No doc comment: clap would take it for the subcommand's own text.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Signed requests")]
pub(crate) struct SignatureSettings {
    /// An address that DPoP proofs may be made for (htu), as the provider takes it. A proof for one of them that is
    /// signed by its key, made within 5min and sent for the first time lets callers with that key share an answer; any other
    /// is passed on and shares none. May be given several times, or as a list with commas [default: --upstream and
    /// --revocation-upstream]
    #[arg(long, value_name = "URL", env = "REFRESHD_DPOP_HTU", value_delimiter = ',')]
    dpop_htu: Vec<String>,
    /// A file or an https:// URL with a JWK set: the public keys of clients that authenticate by private_key_jwt. Requests
    /// that a client signs by one key share an answer, as those with one secret do. Read again every minute. May be given
    /// several times, or as a list with commas [default: none, such requests share no answer]
    #[arg(
        long,
        value_name = "FILE|URL",
        env = "REFRESHD_CLIENT_JWKS",
        value_delimiter = ',',
        conflicts_with = "trust_callers"
    )]
    client_jwks: Vec<String>,
    /// What client assertions may name as their audience (aud): the provider's issuer, or its token endpoint. May be
    /// given several times, or as a list with commas [default: --upstream and
    /// --revocation-upstream]
    #[arg(
        long,
        value_name = "AUDIENCE",
        env = "REFRESHD_CLIENT_ASSERTION_AUD",
        value_delimiter = ',',
        requires = "client_jwks"
    )]
    client_assertion_aud: Vec<String>,
}

/// How often the keys are read again. A key is published before it is used: clients can wait for so long.
const PERIOD: Duration = Duration::from_secs(60);
/// The same while there is none so far.
const PERIOD_WITHOUT: Duration = Duration::from_secs(5);

/// The keys of clients, and where they are read.
#[derive(Debug)]
pub(crate) struct KeySource {
    places: Vec<Place>,
    keys: ClientKeys,
}

#[derive(Debug)]
struct Place {
    source: Source,
    /// The set that was read there last.
    set: Option<Vec<u8>>,
}

#[derive(Debug)]
enum Source {
    File(PathBuf),
    Url(Box<Document>),
}

impl SignatureSettings {
    /// That the addresses can be meant.
    pub(crate) fn validate(&self) -> Result<(), BadSetting> {
        for place in self.client_jwks.iter().filter(|place| place.contains("://")) {
            document_url("--client-jwks", place)?;
        }
        for address in &self.dpop_htu {
            let url = Url::parse(address).ok().filter(|url| matches!(url.scheme(), "https" | "http") && url.has_host());
            if url.is_none() {
                return Err(BadSetting::new(format!(
                    "--dpop-htu {address} is no http:// or https:// URL; expected such as https://idp.example/oauth2/token"
                )));
            }
        }
        Ok(())
    }

    pub(crate) fn dpop_htu(&self, upstream: &Upstream) -> Vec<String> {
        or_of(&self.dpop_htu, upstream.urls())
    }

    /// Whether there are keys of clients: else nothing that they sign is believed.
    pub(crate) fn believes_assertions(&self) -> bool {
        !self.client_jwks.is_empty()
    }

    pub(crate) fn audiences(&self, upstream: &Upstream) -> Vec<String> {
        or_of(&self.client_assertion_aud, upstream.urls())
    }

    /// Reads the keys for the first time, where there are any.
    pub(crate) async fn keys(
        &self,
        upstream: &UpstreamSettings,
        may_be_away: bool,
    ) -> Result<Option<KeySource>, BadSetting> {
        let mut places = Vec::new();
        for place in &self.client_jwks {
            let source = match place.contains("://") {
                true => {
                    let document = upstream.document("--client-jwks", place)?;
                    Source::Url(Box::new(document))
                }
                false => Source::File(place.into()),
            };
            places.push(Place { source, set: None });
        }
        if places.is_empty() {
            return Ok(None);
        }
        let wrong = |reason: String| BadSetting::new(format!("--client-jwks{reason}"));
        for unread in read(&mut places).await {
            match unread {
                Unread::Away(reason) if may_be_away => {
                    tracing::warn!(
                        reason,
                        "keys of clients cannot be read now: what they sign is not believed until they can"
                    );
                }
                Unread::Away(reason) | Unread::Wrong(reason) => return Err(wrong(format!(" {reason}"))),
            }
        }
        let keys = match sets(&places) {
            sets if sets.is_empty() => ClientKeys::none_yet(),
            sets => ClientKeys::from_jwks(sets).map_err(|error| wrong(format!(": {error}")))?,
        };
        Ok(Some(KeySource { places, keys }))
    }
}

fn or_of(given: &[String], own: Vec<String>) -> Vec<String> {
    if given.is_empty() { own } else { given.to_vec() }
}

impl KeySource {
    pub(crate) fn keys(&self) -> ClientKeys {
        self.keys.clone()
    }

    /// Reads the keys again and again. Never ends.
    pub(crate) async fn keep_fresh(&mut self) {
        loop {
            let is_whole = self.places.iter().all(|place| place.set.is_some());
            tokio::time::sleep(if is_whole { PERIOD } else { PERIOD_WITHOUT }).await;
            self.read_again().await;
        }
    }

    /// What cannot be read stays as it was.
    async fn read_again(&mut self) {
        const STAY: &str = "keys of clients cannot be read again: those before stay (--client-jwks)";
        for unread in read(&mut self.places).await {
            let (Unread::Away(reason) | Unread::Wrong(reason)) = unread;
            tracing::warn!(reason, "{STAY}");
        }
        let sets = sets(&self.places);
        if !sets.is_empty()
            && let Err(error) = self.keys.replace(sets)
        {
            tracing::warn!(%error, "{STAY}");
        }
    }
}

/// Which set cannot be read, and why.
#[derive(Debug)]
enum Unread {
    /// Its server does not answer.
    Away(String),
    /// There is no such file, or it holds no set: a page that says the server is under repair is none.
    Wrong(String),
}

/// Reads each set, and answers what could not be read: that place keeps its set of before.
async fn read(places: &mut [Place]) -> Vec<Unread> {
    let mut unread = Vec::new();
    for Place { source, set } in places {
        let read = match source {
            Source::Url(document) => document.read().await.map_err(Unread::Away),
            Source::File(file) => {
                let path = file.clone();
                let read = tokio::task::spawn_blocking(move || std::fs::read(path)).await;
                let read = read.unwrap_or_else(|error| Err(error.into()));
                read.map_err(|error| Unread::Wrong(format!("{} cannot be read: {error}", file.display())))
            }
        };
        match read.and_then(|read| usable(read, source)) {
            Ok(read) => *set = Some(read),
            Err(error) => unread.push(error),
        }
    }
    unread
}

/// A set, if it is one. It may have no key: whoever takes the last away means it.
fn usable(set: Vec<u8>, source: &Source) -> Result<Vec<u8>, Unread> {
    match ClientKeys::from_jwks([&set]) {
        Ok(_) | Err(UnusableKeys::NoKey) => Ok(set),
        Err(error) => Err(Unread::Wrong(match source {
            Source::File(file) => format!("{}: {error}", file.display()),
            Source::Url(document) => format!("{}: {error}", document.url()),
        })),
    }
}

fn sets(places: &[Place]) -> Vec<&[u8]> {
    places.iter().filter_map(|place| place.set.as_deref()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = r#"{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#;

    #[tokio::test]
    async fn keys_are_read_again_and_stay_where_they_cannot_be() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        let write = |keys: &str| std::fs::write(file.path(), format!(r#"{{"keys":[{keys}]}}"#)).expect("written");
        write(KEY);
        let place = |name: &std::path::Path| Place { source: Source::File(name.to_owned()), set: None };
        let mut places = vec![place(file.path()), place(&file.path().with_extension("away"))];
        assert!(matches!(&read(&mut places).await[..], [Unread::Wrong(_)]), "one of them");
        let keys = ClientKeys::from_jwks(sets(&places)).expect("a key");
        let mut source = KeySource { places, keys };
        let keys = source.keys();

        write(&format!("{KEY},{KEY}"));
        source.read_again().await;
        assert_eq!(keys.len(), 2);

        write("nothing");
        source.read_again().await;
        assert_eq!(keys.len(), 2);
    }

    #[tokio::test]
    async fn place_that_holds_no_set_keeps_no_other_from_being_read_again() {
        let files = [(); 2].map(|()| tempfile::NamedTempFile::new().expect("a file"));
        let write = |file: usize, text: &str| std::fs::write(files[file].path(), text).expect("written");
        let set = |keys: &[&str]| format!(r#"{{"keys":[{}]}}"#, keys.join(","));
        let place = |file: &tempfile::NamedTempFile| Place { source: Source::File(file.path().to_owned()), set: None };
        write(0, &set(&[KEY]));
        write(1, &set(&[KEY]));
        let mut places: Vec<_> = files.iter().map(place).collect();
        assert!(read(&mut places).await.is_empty());
        let keys = ClientKeys::from_jwks(sets(&places)).expect("keys");
        let mut source = KeySource { places, keys };
        let keys = source.keys();

        write(0, "<html>under repair</html>");
        write(1, &set(&[KEY, KEY]));
        source.read_again().await;

        assert_eq!(keys.len(), 3, "one of before, and two that are new");
        write(0, &set(&[]));
        source.read_again().await;
        assert_eq!(keys.len(), 2, "a client that takes its key away is believed no more");
    }
}
