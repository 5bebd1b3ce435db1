//! Servers that fail over although nothing was done to them: on a machine that is busy they take each other for dead.

use std::rc::Rc;
use std::time::Duration;

use tokio::time::sleep;

use crate::arena::Arena;
use crate::clock::now_us;
use crate::history::What;

/// Between two looks.
const PAUSE: Duration = Duration::from_millis(300);

/// Tells the history for how long nobody decided, or somebody else than before. A fault holds the servers while it is done.
pub(crate) async fn watch(arena: Rc<Arena>) {
    let mut last_well = now_us();
    let mut is_well = true;
    while !arena.is_over() {
        sleep(PAUSE).await;
        let Ok(mut servers) = arena.redis.try_lock() else {
            (last_well, is_well) = (now_us(), true);
            continue;
        };
        if servers.decides_still().await {
            if !is_well {
                arena.recorder.now(What::StoodStill { for_us: now_us() - last_well });
            }
            (last_well, is_well) = (now_us(), true);
        } else {
            if is_well {
                eprintln!("{}: the servers fail over by themselves", arena.name);
            }
            is_well = false;
            servers.settle().await;
        }
    }
}
