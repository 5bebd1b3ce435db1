//! What `tests/instructions.rs` counts: run by it under callgrind, in a process of its own.
//!
//!     instructions lead REFRESHES            leads so many in memory
//!     instructions join CALLERS              lets so many callers join one refresh in memory
//!     instructions token TIMES               asks so often for an access token that is valid
//!     instructions seal REFRESHES REDIS_URL  leads so many over Redis, and lets another pod come late to each

use std::pin::Pin;

use refresh_coordinator::RefreshCoordinator;
use refresh_coordinator_benches::callers::{join, lead, refreshes};
use refresh_coordinator_benches::one_thread;
use refresh_coordinator_benches::pods::wide_and_alike;
use refresh_coordinator_benches::valid::{access_tokens, ask, sessions};
use tokio::runtime::Runtime;

/// Callgrind counts from here to its end, of what is led, joined and asked for. It finds this by its name, so it has one, and is no
/// generic function.
#[inline(never)]
fn counted(runtime: &Runtime, work: Pin<Box<dyn Future<Output = ()> + '_>>) {
    runtime.block_on(work);
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    let mut argument = || arguments.next().expect("arguments as above");
    let (what, times) = (argument(), argument().parse().expect("a number"));
    let runtime = one_thread();
    match what.as_str() {
        "lead" => {
            let pod = RefreshCoordinator::in_memory(wide_and_alike()).expect("possible settings");
            runtime.block_on(lead(&pod, refreshes(times / 10)));
            counted(&runtime, Box::pin(lead(&pod, refreshes(times))));
        }
        "join" => {
            let pod = RefreshCoordinator::in_memory(wide_and_alike()).expect("possible settings");
            runtime.block_on(join(&pod, times / 10, || {}));
            counted(&runtime, Box::pin(join(&pod, times, || {})));
        }
        "token" => {
            let sessions = sessions(1_000);
            let tokens = access_tokens(&sessions);
            runtime.block_on(ask(&tokens, &sessions, times / 10));
            counted(&runtime, Box::pin(ask(&tokens, &sessions, times)));
        }
        "seal" => runtime.block_on(async {
            let (url, config) = (argument(), wide_and_alike());
            let pod = RefreshCoordinator::connect(&url, config.clone()).await.expect("redis is there");
            let late = RefreshCoordinator::connect(&url, config).await.expect("redis is there");
            let work = refreshes(times);
            lead(&pod, work.clone()).await;
            lead(&late, work).await;
            assert_eq!(late.metrics().led, 0, "the outcomes are kept, and opened");
        }),
        other => panic!("{other}: neither lead nor join nor token nor seal"),
    }
}
