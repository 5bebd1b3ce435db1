//! The texts of the scripts, put together from `lua/`.

use redis::Script;

/// The text of a script: its first line, the shared parts that it needs, and itself. Plain ones are refused above
/// maxmemory; what saves an outcome or frees a lease is not.
macro_rules! script {
    ($first_line:literal, $($part:ident)* => $script:ident) => {
        Script::new(concat!(
            $first_line,
            "\n",
            $(include_str!(concat!("../../../lua/lib/", stringify!($part), ".lua")),)*
            include_str!(concat!("../../../lua/", stringify!($script), ".lua"))
        ))
    };
}

pub(super) struct Scripts {
    pub(super) begin: Script,
    pub(super) renew: Script,
    pub(super) complete: Script,
    pub(super) abandon: Script,
    pub(super) look: Script,
    pub(super) reap: Script,
    pub(super) circuit: Script,
    pub(super) meta: Script,
    pub(super) check: Script,
    pub(super) probe: Script,
}

impl Default for Scripts {
    fn default() -> Self {
        Self {
            begin: script!("#!lua", clock hash flight fence charge attempts budget queue circuit => begin),
            renew: script!("#!lua flags=allow-oom", clock hash flight fence budget circuit => renew),
            complete: script!("#!lua flags=allow-oom", clock hash waiting charge budget health => complete),
            abandon: script!("#!lua flags=allow-oom", clock hash flight waiting charge budget queue => abandon),
            look: script!("#!lua flags=no-writes,allow-oom", => look),
            reap: script!("#!lua flags=allow-oom", clock hash budget queue => reap),
            circuit: script!("#!lua flags=no-writes,allow-oom", clock hash => circuit),
            meta: script!("#!lua", => meta),
            // No first line of its own: servers before 7.0 do not know it, and are to be told that they are old.
            check: script!("", => check),
            // Refused wherever begin.lua is: above maxmemory, by a replica, without enough replicas.
            probe: script!("#!lua", fence => probe),
        }
    }
}

impl Scripts {
    pub(super) fn all(&self) -> [&Script; 10] {
        let Self { begin, renew, complete, abandon, look, reap, circuit, meta, check, probe } = self;
        [begin, renew, complete, abandon, look, reap, circuit, meta, check, probe]
    }
}

#[cfg(test)]
mod tests;
