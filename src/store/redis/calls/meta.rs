//! `meta.lua`: writes or compares what all pods of the namespace must agree on.

use super::Calls;
use super::reply::Reply;
use crate::config::Config;
use crate::identity::Hash;
use crate::seal::PROTOCOL;
use crate::secret::Secret;
use crate::store::contract::StoreError;
use crate::store::redis::call::Call;

/// What it replies.
#[derive(Debug)]
pub(crate) enum MetaReply {
    Agreed,
    Differs { what: Differing, theirs: String, ours: String },
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Differing {
    Protocol,
    Pepper,
    Upstream,
}

/// What this pod goes by, as it is told.
struct Meta {
    protocol: String,
    pepper: String,
    upstream: String,
}

impl Calls {
    pub(crate) async fn meta(&self) -> Result<MetaReply, StoreError> {
        let meta = Meta::of(&self.config);
        let mut call = Call::new(&self.scripts.meta, 1);
        call.key(self.keys.meta()).arg(&meta.protocol).arg(&meta.pepper).arg(&meta.upstream);
        read(&self.run("meta", &call).await?, meta)
    }
}

fn read(reply: &Reply, ours: Meta) -> Result<MetaReply, StoreError> {
    match reply.word()? {
        "agreed" => return Ok(MetaReply::Agreed),
        "differs" => {}
        _ => return Err(reply.unknown()),
    }
    let (what, ours) = match reply.field::<String>(1)?.as_str() {
        "protocol" => (Differing::Protocol, ours.protocol),
        "pepper" => (Differing::Pepper, ours.pepper),
        "upstream" => (Differing::Upstream, ours.upstream),
        _ => return Err(reply.unknown()),
    };
    Ok(MetaReply::Differs { what, theirs: reply.field(2)?, ours })
}

impl Meta {
    fn of(config: &Config) -> Self {
        Self {
            protocol: PROTOCOL.to_string(),
            pepper: config.pepper.as_ref().map_or("none".to_owned(), check_value),
            upstream: config.upstream.as_deref().map_or(String::new(), |upstream| Hash::unkeyed(upstream).to_string()),
        }
    }
}

/// Tells two peppers apart and tells nothing of either.
fn check_value(pepper: &Secret) -> String {
    Hash::keyed(pepper, "refresh-coordinator/1 pepper").to_string()
}
