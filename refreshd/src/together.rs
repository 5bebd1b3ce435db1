//! What anybody may ask for, found for all callers of a moment together: however many they are, it is looked for so often at most, and
//! nobody is told what was found before it came.

use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::{Instant, sleep_until};

/// When it was looked for last, and what was found.
#[derive(Debug)]
pub(crate) struct Together<T> {
    /// Between the beginnings of two looks.
    apart: Duration,
    last: Mutex<Option<(Instant, T)>>,
}

impl<T: Clone> Together<T> {
    pub(crate) fn new(apart: Duration) -> Self {
        Self { apart, last: Mutex::default() }
    }

    /// What `look` finds, or another caller's look that began later than this call.
    pub(crate) async fn of(&self, look: impl AsyncFnOnce() -> T) -> T {
        let came = Instant::now();
        let mut last = self.last.lock().await;
        if let Some((began, found)) = &*last {
            if *began > came {
                return found.clone();
            }
            sleep_until(*began + self.apart).await;
        }
        let began = Instant::now();
        let found = look().await;
        *last = Some((began, found.clone()));
        found
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use futures_util::future::join_all;

    use super::*;

    const APART: Duration = Duration::from_millis(100);

    #[tokio::test(start_paused = true)]
    async fn callers_that_come_together_share_a_look_and_nobody_is_told_what_was_found_before() {
        let (together, looks) = (Together::new(APART), Cell::new(0));
        let ask = || {
            together.of(async || {
                looks.set(looks.get() + 1);
                tokio::time::sleep(Duration::from_millis(10)).await;
                looks.get()
            })
        };

        // The second of them came before the first one's look had begun, or while it went on: that may have been too early for it.
        let first = ask();
        let mut others = Vec::new();
        let (first, ()) = tokio::join!(first, async {
            tokio::time::sleep(Duration::from_millis(1)).await;
            others = join_all((0..100).map(|_| ask())).await;
        });
        assert_eq!((first, looks.get()), (1, 2));
        assert!(others.iter().all(|found| *found == 2), "{others:?}");

        let began = Instant::now();
        for look in 3..13 {
            assert_eq!(ask().await, look);
        }
        assert!(began.elapsed() > APART * 9, "ten looks in {:?}", began.elapsed());
    }
}
