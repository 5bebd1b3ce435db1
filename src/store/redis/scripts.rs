//! The texts of the scripts, put together from `lua/`.

use redis::Script;

use super::pubsub::PubSub;

mod parts;
pub(super) mod settings;

/// The text of a script: its first line, the shared parts that every run of it needs, and itself. Plain ones are refused above
/// maxmemory; what saves an outcome or frees a lease is not.
macro_rules! text {
    ($first_line:literal, $($part:ident)* => $script:ident) => {
        concat!(
            $first_line,
            "\n",
            $(include_str!(concat!("../../../lua/lib/", stringify!($part), ".lua")),)*
            include_str!(concat!("../../../lua/", stringify!($script), ".lua"))
        )
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
    pub(super) preflight: Script,
    pub(super) ready: Script,
    pub(super) tip: Script,
    pub(super) tell: Script,
    pub(super) end: Script,
    pub(super) follow: Script,
}

impl Scripts {
    /// As pods tell each other on this topology.
    pub(super) fn new(pubsub: PubSub) -> Self {
        let [begin, renew, complete, abandon, look, reap, circuit, meta, preflight, ready, tip, tell, end, follow] =
            texts().map(|text| Script::new(&as_sent(&pubsub.put_into(&text))));
        Self { begin, renew, complete, abandon, look, reap, circuit, meta, preflight, ready, tip, tell, end, follow }
    }
}

/// The text of a script as Redis is sent it. It looks `redis.call` up once, and not each of some twenty times that it calls Redis:
/// a tenth of a small command each time. Without comments and indents, which are two fifths of what a server would have to load and
/// keep.
fn as_sent(text: &str) -> String {
    let (first_line, rest) = text.split_once('\n').expect("BUG: a script has a first line");
    let mut sent = format!("{first_line}\nlocal call = redis.call\n");
    for line in rest.lines().map(str::trim_start).filter(|line| !line.is_empty() && !line.starts_with("--")) {
        sent.push_str(&line.replace("redis.call(", "call("));
        sent.push('\n');
    }
    sent
}

/// As Redis is told them, in the order of the fields.
fn texts() -> [String; 14] {
    // A pod that joins needs none of them.
    let begin = text!("#!lua", => begin);
    let complete = text!("#!lua flags=allow-oom", clock => complete);
    [
        settings::BEGIN.unpacked_in(&parts::put_into(begin)),
        text!(
            "#!lua flags=allow-oom",
            clock spans hash record fields keep stamps login flight server run_id register incarnation in_use permits lines freed budget circuit => renew
        )
        .to_owned(),
        settings::COMPLETE.unpacked_in(&parts::put_into(complete)),
        text!(
            "#!lua flags=allow-oom",
            clock spans hash record fields keep login flight waiting accounts session in_use permits lines freed budget queue wake => abandon
        )
        .to_owned(),
        text!("#!lua flags=no-writes,allow-oom", => look).to_owned(),
        text!("#!lua flags=allow-oom", clock spans hash keep in_use permits lines freed budget queue => reap).to_owned(),
        text!("#!lua flags=no-writes,allow-oom", clock spans hash fields => circuit).to_owned(),
        // Above maxmemory, too: a pod without an entry would count as gone.
        text!("#!lua flags=allow-oom", clock register => meta).to_owned(),
        // No first line of its own: servers before 7.0 do not know it, and are to be told that they are old.
        text!("", => preflight).to_owned(),
        // Refused wherever begin.lua is: above maxmemory, by a replica, without enough replicas.
        text!("#!lua", clock server run_id register incarnation => ready).to_owned(),
        text!("#!lua flags=allow-oom", clock keep => tip).to_owned(),
        text!("#!lua flags=allow-oom", clock spans hash record keep waiting login wake => tell).to_owned(),
        // Above maxmemory, too: it makes who has logged out harmless.
        text!("#!lua flags=allow-oom", clock spans hash record fields keep known waiting login end_family end_claims => end).to_owned(),
        text!("#!lua", clock hash record names keep login wake family recovers leads owed way => follow).to_owned(),
    ]
}

impl Scripts {
    pub(super) fn all(&self) -> [&Script; 14] {
        let Self {
            begin,
            renew,
            complete,
            abandon,
            look,
            reap,
            circuit,
            meta,
            preflight,
            ready,
            tip,
            tell,
            end,
            follow,
        } = self;
        [begin, renew, complete, abandon, look, reap, circuit, meta, preflight, ready, tip, tell, end, follow]
    }
}

#[cfg(test)]
mod tests;
