//! `look.lua`: sees whether the leaders that flights of this pod wait for still lead.

use std::time::Duration;

use super::Calls;
use super::reply::Reply;
use crate::identity::Hash;
use crate::store::contract::StoreError;
use crate::store::redis::call::Call;

/// What it replies of one leader.
#[derive(Debug)]
pub(crate) enum Seen {
    /// It lives, and has so much of its lease left.
    Leading { left: Duration },
    /// It is not the one that was joined any more.
    Changed,
}

impl Calls {
    /// Looks at these leaders, by flight and fence. What is seen comes in their order.
    pub(crate) async fn look(
        &self,
        leaders: &[(Hash, u64)],
    ) -> Result<impl Iterator<Item = Result<Seen, StoreError>>, StoreError> {
        let mut call = Call::new(&self.scripts.look, leaders.len());
        for (flight, _) in leaders {
            call.key(self.keys.lock(flight));
        }
        for (_, fence) in leaders {
            call.arg(*fence);
        }
        let reply = self.run("look", &call).await?;
        Ok((0..leaders.len()).map(move |index| read(&reply, index)))
    }
}

fn read(reply: &Reply, index: usize) -> Result<Seen, StoreError> {
    let word: String = reply.field(index)?;
    if word == "changed" {
        return Ok(Seen::Changed);
    }
    let left_ms: i64 = word.parse().map_err(|_| reply.unknown())?;
    Ok(match u64::try_from(left_ms) {
        Ok(left_ms) => Seen::Leading { left: Duration::from_millis(left_ms) },
        // What Redis says of a key that has just ended.
        Err(_) => Seen::Changed,
    })
}
