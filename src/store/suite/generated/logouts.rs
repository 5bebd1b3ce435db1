//! The same histories with logouts in between: sessions end before, under and after their flights. Apart from the others, so that
//! the seeds that are kept mean what they meant.

use super::play::{Observed, Play};
use super::theatre::{self, AT_ONCE, Theatre};
use super::{History, Step, Who, from_seed};
use crate::store::EndedFlight;
use crate::store::suite::stage::*;

/// After every so many steps the session of whoever began last ends.
const EVERY: usize = 9;

fn with_logouts(mut history: History) -> History {
    let (mut steps, mut last) = (Vec::new(), None);
    for (at, step) in history.steps.drain(..).enumerate() {
        if let Step::Begin { who, .. } = step {
            last = Some(who);
        }
        steps.push(step);
        if let Some(who) = last.filter(|_| at % EVERY == EVERY - 1) {
            steps.push(Step::EndSession { who });
        }
    }
    history.steps = steps;
    history
}

impl Play {
    pub(super) async fn end_session(&mut self, who: Who) -> Option<Observed> {
        let mut seen = Observed::default();
        for _ in self.times() {
            let ask = Ask::new(who.identity(), Uuid::new_v4());
            seen.words = match self.pods[who.pod].end_session(&ask).await.ok()? {
                EndedFlight::UnderWay => "was under way".to_owned(),
                EndedFlight::Rotated(landed) => format!("was rotated: {}", access_token(&landed)),
                EndedFlight::FurtherOn(_) => unreachable!("BUG: these histories have no client with a credential"),
                EndedFlight::Idle => "was idle".to_owned(),
            };
        }
        Some(seen)
    }
}

#[test]
fn histories_with_logouts_come_to_every_answer() {
    let mut seen = String::new();
    for seed in 0..200_u128 {
        let history = with_logouts(from_seed(&Uuid::from_u128(seed).simple().to_string()));
        for (answer, _) in theatre::paused().block_on(theatre::in_memory(&history)) {
            seen += &format!("{answer}\n");
        }
    }

    for answer in ["was under way", "was rotated", "was idle", "ended", "lead", "landed", "join", "ours", "stale"] {
        assert!(seen.lines().any(|line| line.starts_with(answer)), "{answer}");
    }
}

#[test]
fn both_stores_answer_every_history_with_logouts_alike() {
    let more = std::env::var("CONTRACT_HISTORIES").ok().and_then(|count| count.parse().ok());
    let seeds: Vec<_> = (0..more.unwrap_or(AT_ONCE)).map(|_| Uuid::new_v4().simple().to_string()).collect();
    let theatre = Theatre::new();
    for seeds in seeds.chunks(AT_ONCE) {
        let histories: Vec<_> = seeds.iter().map(|seed| with_logouts(from_seed(seed))).collect();
        let verdicts = theatre.play(&histories);
        let first = seeds.iter().zip(histories).zip(verdicts).find_map(|((seed, h), why)| Some((seed, h, why?)));
        if let Some((seed, history, why)) = first {
            println!("as it came, seed {seed}:\n{why}");
            let (history, why) = theatre.shortened(history, why);
            panic!("the stores disagree on {seed} with logouts, {:#?}\n{why}", history.settings);
        }
    }
}
