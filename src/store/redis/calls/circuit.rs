//! `circuit.lua`: tells the state of the circuit.

use super::Calls;
use super::reply::Reply;
use crate::admission::circuit::CircuitState;
use crate::admission::moved::TripReason;
use crate::store::contract::StoreError;
use crate::store::redis::call::Call;

impl Calls {
    pub(crate) async fn circuit(&self) -> Result<CircuitState, StoreError> {
        let mut call = Call::new(&self.scripts.circuit, 1);
        call.key(self.keys.circuit());
        read(&self.run("circuit", &call).await?)
    }
}

fn read(reply: &Reply) -> Result<CircuitState, StoreError> {
    let reason = || TripReason::from_word(&reply.field::<String>(2)?).ok_or_else(|| reply.unknown());
    Ok(match reply.word()? {
        "closed" => CircuitState::Closed { failures: reply.field(1)? },
        "open" => CircuitState::Open { retry_after: reply.span(1)?, reason: reason()? },
        "half_open" => CircuitState::HalfOpen { probes: reply.field(1)?, reason: reason()? },
        _ => return Err(reply.unknown()),
    })
}
