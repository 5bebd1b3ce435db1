//! The way to a server: a proxy that lets everything through, and what comes back only while it is heard.

use tokio::io::{AsyncReadExt, AsyncWriteExt, copy};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};

pub struct Way {
    port: u16,
    is_heard: watch::Sender<bool>,
    serving: AbortHandle,
}

impl Way {
    /// To a Redis, by its URL.
    pub async fn to(url: &str) -> Self {
        let server = url.trim_start_matches("redis://").trim_end_matches('/').to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let port = listener.local_addr().expect("it is bound").port();
        let (is_heard, heard) = watch::channel(true);
        let serving = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                let server = TcpStream::connect(&server).await.expect("somebody listens");
                connections.spawn(pass(client, server, heard.clone()));
            }
        });
        Self { port, is_heard, serving: serving.abort_handle() }
    }

    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}/", self.port)
    }

    /// What the server answers arrives, or waits.
    pub fn set_heard(&self, is_heard: bool) {
        self.is_heard.send_replace(is_heard);
    }
}

async fn pass(client: TcpStream, server: TcpStream, mut heard: watch::Receiver<bool>) {
    let ((mut from_client, mut to_client), (mut from_server, mut to_server)) =
        (client.into_split(), server.into_split());
    let back = async {
        let mut piece = Vec::new();
        while from_server.read_buf(&mut piece).await.is_ok_and(|read| read > 0) {
            if heard.wait_for(|is_heard| *is_heard).await.is_err() || to_client.write_all(&piece).await.is_err() {
                return;
            }
            piece.clear();
        }
    };
    tokio::select! {
        _ = copy(&mut from_client, &mut to_server) => {}
        () = back => {}
    }
}

impl Drop for Way {
    fn drop(&mut self) {
        self.serving.abort();
    }
}
