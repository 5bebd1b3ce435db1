//! A clock that stops while the machine stands still: what it shows, the code under test took.
#![allow(dead_code, unreachable_pub, reason = "each test binary uses a part of it")]

use std::sync::{Mutex, MutexGuard, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

const BEAT: Duration = Duration::from_millis(5);
/// By so much a beat may come late on a machine that is only busy.
const LATE: Duration = Duration::from_millis(20);

pub struct Stopwatch {
    start: Instant,
    stood_still: Duration,
}

impl Stopwatch {
    pub fn start() -> Self {
        let (start, stood_still) = read();
        Self { start, stood_still }
    }

    pub fn elapsed(&self) -> Duration {
        let (now, stood_still) = read();
        (now - self.start).saturating_sub(stood_still - self.stood_still)
    }
}

/// What a thread of its own sees, which nothing but the machine keeps from running.
struct Heart {
    last_beat: Instant,
    stood_still: Duration,
}

impl Heart {
    fn late(&self, now: Instant) -> Duration {
        let late = (now - self.last_beat).saturating_sub(BEAT);
        if late > LATE { late } else { Duration::ZERO }
    }
}

/// Now, and for how long the machine has stood still by then.
fn read() -> (Instant, Duration) {
    let heart = heart();
    let now = Instant::now();
    (now, heart.stood_still + heart.late(now))
}

fn heart() -> MutexGuard<'static, Heart> {
    static HEART: OnceLock<Mutex<Heart>> = OnceLock::new();
    let heart = HEART.get_or_init(|| {
        thread::spawn(|| {
            loop {
                thread::sleep(BEAT);
                let mut heart = heart();
                let now = Instant::now();
                let late = heart.late(now);
                heart.stood_still += late;
                heart.last_beat = now;
            }
        });
        Mutex::new(Heart { last_beat: Instant::now(), stood_still: Duration::ZERO })
    });
    heart.lock().expect("a heart does not panic")
}
