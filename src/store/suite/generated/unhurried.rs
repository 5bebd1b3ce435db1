//! The same histories where nobody waits for some of the flights, and some callers have the last answer already. Apart from the
//! others, so that the seeds that are kept mean what they meant.

use super::theatre::{self, AT_ONCE, Theatre};
use super::{History, from_seed};
use crate::store::suite::stage::*;

fn unhurried(seed: &str) -> History {
    History { has_unhurried: true, ..from_seed(seed) }
}

#[test]
fn unhurried_histories_come_to_every_answer() {
    let (mut seen, mut others) = (String::new(), String::new());
    for seed in 0..200_u128 {
        let seed = Uuid::from_u128(seed).simple().to_string();
        for (history, told) in [(unhurried(&seed), &mut seen), (from_seed(&seed), &mut others)] {
            for (answer, _) in theatre::paused().block_on(theatre::in_memory(&history)) {
                *told += &format!("{answer}\n");
            }
        }
    }

    for answer in ["rejected Budget", "rejected CoolingDown", "queued", "lead", "landed", "join", "ours", "stale"] {
        assert!(seen.lines().any(|line| line.starts_with(answer)), "{answer}");
    }
    let count = |told: &str, answer: &str| told.lines().filter(|line| line.starts_with(answer)).count();
    assert!(count(&seen, "rejected Budget") > count(&others, "rejected Budget"), "nobody was in the background");
    let handed_out = |told: &str| count(told, "landed") * 100 / count(told, "lead");
    assert!(handed_out(&seen) < handed_out(&others), "nobody had an answer already");
}

#[test]
fn both_stores_answer_every_unhurried_history_alike() {
    let more = std::env::var("CONTRACT_HISTORIES").ok().and_then(|count| count.parse().ok());
    let seeds: Vec<_> = (0..more.unwrap_or(AT_ONCE / 2)).map(|_| Uuid::new_v4().simple().to_string()).collect();
    let theatre = Theatre::new();
    for seeds in seeds.chunks(AT_ONCE) {
        let histories: Vec<_> = seeds.iter().map(|seed| unhurried(seed)).collect();
        let verdicts = theatre.play(&histories);
        let first = seeds.iter().zip(histories).zip(verdicts).find_map(|((seed, h), why)| Some((seed, h, why?)));
        if let Some((seed, history, why)) = first {
            println!("as it came, seed {seed}:\n{why}");
            let (history, why) = theatre.shortened(history, why);
            panic!("the stores disagree on {seed}, unhurried, {:#?}\n{why}", history.settings);
        }
    }
}
