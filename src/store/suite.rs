//! What both stores promise: the same history gets the same answers.
//!
//! Fixed histories are told verb by verb: `flights`, and by the rules of admission `sessions`, `budget`, `circuit`.
//! Random ones are made up in `generated`. What only Redis can do wrong is in `on_redis`.

/// Runs a promise on both stores.
macro_rules! both {
    ($( async fn $name:ident($stage:ident, $config:expr) $body:block )*) => {
        $(
            mod $name {
                use super::*;

                async fn promise($stage: Stage) $body

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

mod budget;
mod circuit;
mod flights;
mod generated;
mod on_redis;
mod sessions;
pub(in crate::store) mod stage;
