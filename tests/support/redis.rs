//! temporary
use std::process::{Child, Command, Stdio};
pub struct RedisServer { child: Child, port: u16 }
impl RedisServer {
    pub async fn start() -> Self { Self::start_with(&[]).await }
    pub async fn start_with(args: &[&str]) -> Self {
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let child = Command::new("redis-server").args(["--port", &port.to_string(), "--save", "", "--appendonly", "no", "--dir", "/tmp"]).args(args).stdout(Stdio::null()).spawn().unwrap();
        loop { if let Ok(c) = redis::Client::open(format!("redis://127.0.0.1:{port}")) { if c.get_multiplexed_async_connection().await.is_ok() { break; } } tokio::time::sleep(std::time::Duration::from_millis(20)).await; }
        Self { child, port }
    }
    pub fn url(&self) -> String { format!("redis://127.0.0.1:{}", self.port) }
}
impl Drop for RedisServer { fn drop(&mut self) { self.child.kill().unwrap(); self.child.wait().unwrap(); } }
