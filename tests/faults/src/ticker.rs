//! Notices when a process stood still: a thread that does nothing but sleep, and looks how long it slept.

use std::time::{Duration, Instant};

const BEAT: Duration = Duration::from_millis(10);

/// Tells from now on, for how long, whenever the process did not run for `longest` or more.
pub(crate) fn start(longest: Duration, tell: impl Fn(Duration) + Send + 'static) {
    std::thread::spawn(move || {
        loop {
            let began = Instant::now();
            std::thread::sleep(BEAT);
            let late = began.elapsed().saturating_sub(BEAT);
            if late >= longest {
                tell(late);
            }
        }
    });
}
