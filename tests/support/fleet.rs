//! Several pods on one store, so that what both stores promise is written once.

use std::time::Duration;

use refresh_coordinator::{Breaker, Config, ConnectError, MemoryStore, RefreshCoordinator};

use super::redis::RedisServer;

/// Coordinators that share a store and nothing else, and what they stand on.
pub struct Fleet {
    pub pods: Vec<RefreshCoordinator>,
    /// Ends with the fleet.
    pub redis: Option<RedisServer>,
}

impl Fleet {
    pub fn in_memory(pods: usize, config: &Config) -> Self {
        let store = MemoryStore::new();
        let pods = (0..pods)
            .map(|_| RefreshCoordinator::in_memory_shared(&store, config.clone()).expect("a possible configuration"))
            .collect();
        Self { pods, redis: None }
    }

    pub async fn on_redis(pods: usize, config: &Config) -> Self {
        let redis = RedisServer::start().await;
        let mut fleet = Self { pods: Vec::new(), redis: None };
        for _ in 0..pods {
            fleet.pods.push(connect(&redis, config).await);
        }
        fleet.redis = Some(redis);
        fleet
    }

    pub fn redis(&self) -> &RedisServer {
        self.redis.as_ref().expect("a fleet on redis")
    }
}

pub async fn connect(redis: &RedisServer, config: &Config) -> RefreshCoordinator {
    redis.in_use(&config.namespace).await;
    connect_to(redis.url(), config).await
}

/// Connects a pod to a Redis that is there. While the machine stands still nothing answers within `store_timeout`: that is not
/// what a test is about, and the pod tries again.
pub async fn connect_to(url: &str, config: &Config) -> RefreshCoordinator {
    for _ in 0..TRIES {
        match RefreshCoordinator::connect(url, config.clone()).await {
            Err(ConnectError::Unreachable { reason, .. }) => println!("a pod tries again to connect: {reason}"),
            connected => return connected.expect("redis is there"),
        }
    }
    panic!("redis did not answer {TRIES} times");
}

const TRIES: usize = 5;

/// Settings with which a test need not wait long, in a namespace of its own. Its rules of admission are so wide that
/// they refuse nobody; tests of the rules set their own. A machine that stands still for two seconds makes no lease end and no
/// call of the store fail.
pub fn quick() -> Config {
    Config::default()
        .with_namespace(format!("test-{}", uuid::Uuid::new_v4().simple()))
        .with_refresh_timeout(Duration::from_secs(10))
        .with_wait_timeout(Duration::from_secs(12))
        .with_lease(Duration::from_secs(3))
        .with_store_timeout(Duration::from_secs(3))
        .with_retry_lost_after(Some(Duration::ZERO))
        .with_max_refresh_attempts(1_000_000)
        .with_max_concurrent_refreshes(100_000)
        .with_breaker(Breaker::default().with_max_failures(1_000_000))
}

/// Writes a test for both stores: `both_stores! { async fn name(fleet: Fleet, pods = 3, config) { .. } }`.
#[macro_export]
macro_rules! on_both_stores {
    ($( $(#[$attribute:meta])* async fn $name:ident($fleet:ident: [$pods:literal], $config:expr) $body:block )*) => {
        $(
            mod $name {
                use super::*;

                $(#[$attribute])*
                async fn promise($fleet: support::fleet::Fleet) $body

                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn in_memory() {
                    let config = $config;
                    promise(support::fleet::Fleet::in_memory($pods, &config)).await;
                }

                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn on_redis() {
                    let config = $config;
                    promise(support::fleet::Fleet::on_redis($pods, &config).await).await;
                }
            }
        )*
    };
}
