//! What both stores promise: the same history gets the same answers.
//!
//! Fixed histories are told verb by verb: `flights`, several claims of a login `claims`, what is over by a logout `ended`, by the rules of admission `sessions`, `budget`, `circuit`, and of callers
//! that would harm others `strangers`.
//! Random ones are made up in `generated`. What only Redis can do wrong is in `on_redis`,
//! and what happens where another server takes over in `on_servers`. `on_topologies` tells the fixed histories once more behind
//! sentinels and on a cluster.

/// Runs a promise on both stores, and names all of a file for the topologies.
macro_rules! both {
    ($( async fn $name:ident($stage:ident, $config:expr) $body:block )*) => {
        pub(super) fn promises() -> Vec<Promise> {
            vec![$( Promise {
                name: stringify!($name),
                config: || $config,
                holds: |stage| Box::pin($name::promise(stage)),
            } ),*]
        }

        $(
            mod $name {
                use super::*;

                pub(super) async fn promise($stage: Stage) $body

                #[tokio::test]
                async fn in_memory() {
                    promise(Stage::in_memory($config)).await;
                }

                #[tokio::test]
                async fn on_redis() {
                    promise(Stage::on_redis($config).await).await;
                }
            }
        )*
    };
}

mod astray;
mod background;
mod budget;
pub(in crate::store) mod chains;
mod circuit;
mod claim_ends;
mod claims_attacked;
mod claims_crowded;
mod claims_joining;
mod claims_named;
mod claims_remembered;
mod claims_walking;
mod claims_besieged;
mod claims_places;
pub(in crate::store) mod claims;
mod ended;
mod ended_on_servers;
mod flights;
mod generated;
mod long_ways;
mod on_redis;
mod on_servers;
mod on_topologies;
mod sessions;
mod strangers;
mod untold;
pub(in crate::store) mod stage;
mod ways;
