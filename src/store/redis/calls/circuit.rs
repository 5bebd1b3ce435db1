//! `circuit.lua`: tells the state of the circuit.

use super::Calls;
use super::reply::Reply;
use super::words::ms;
use crate::admission::circuit::{CircuitState, Why};
use crate::store::contract::StoreError;
use crate::store::redis::call::Call;

impl Calls {
    pub(crate) async fn circuit(&self) -> Result<CircuitState, StoreError> {
        let mut call = Call::new(&self.scripts.circuit, 1);
        call.key(self.keys.circuit()).arg(ms(self.config.lease));
        read(&self.run("circuit", &call).await?)
    }
}

fn read(reply: &Reply) -> Result<CircuitState, StoreError> {
    let why = || Why::from_word(&reply.field::<String>(2)?).ok_or_else(|| reply.unknown());
    Ok(match reply.word()? {
        "closed" => CircuitState::Closed { failures: reply.field(1)? },
        "open" => CircuitState::Open { retry_after: reply.span(1)?, why: why()? },
        "half_open" => CircuitState::HalfOpen { probes: reply.field(1)?, why: why()? },
        _ => return Err(reply.unknown()),
    })
}
