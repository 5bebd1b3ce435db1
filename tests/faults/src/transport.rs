//! How pods come to the only server of a fleet: over TCP, over mutual TLS as a user with exactly the documented rights, or over
//! a Unix socket.
//!
//! The driver is the network, and acts on what it reads. So with TLS a proxy is a peer of both sides: it shows pods a certificate
//! of the fleet's CA and wants one of them, and shows the server one of its own.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use refresh_coordinator::RedisTarget;
use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::WebPkiClientVerifier;
use serde::{Deserialize, Serialize};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use crate::pki::Pki;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Transport {
    #[default]
    Tcp,
    Mtls,
    Socket,
}

/// Where a server is reached, and how.
#[derive(Clone)]
pub(crate) enum Endpoint {
    Tcp(SocketAddr),
    Mtls(Arc<Mtls>),
    Socket(PathBuf),
}

/// A server that speaks mutual TLS, and both ends of a proxy before it.
pub(crate) struct Mtls {
    pub(crate) address: SocketAddr,
    pub(crate) acceptor: TlsAcceptor,
    pub(crate) connector: TlsConnector,
    pki: Pki,
}

/// Who a pod is to Redis, and the files that show it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Login {
    username: String,
    password: String,
    ca: PathBuf,
    certificate: PathBuf,
    key: PathBuf,
}

impl Login {
    pub(crate) fn with(self, target: RedisTarget) -> RedisTarget {
        let Self { username, password, ca, certificate, key } = self;
        target.username(username).password(password).ca_file(ca).client_certificate(certificate, key)
    }
}

const PASSWORD: &str = "of-a-test";

impl Endpoint {
    /// One for a server that is not started yet, and the arguments that it is started with.
    pub(crate) fn planned(transport: Transport, in_clear: SocketAddr, dir: &Path) -> (Self, Vec<String>) {
        match transport {
            Transport::Tcp => (Self::Tcp(in_clear), Vec::new()),
            Transport::Socket => {
                let path = dir.join("redis.sock");
                let arguments = vec!["--unixsocket".to_owned(), path.to_str().expect("UTF-8").to_owned()];
                (Self::Socket(path), arguments)
            }
            Transport::Mtls => {
                let (mtls, arguments) = Mtls::planned();
                (Self::Mtls(Arc::new(mtls)), arguments)
            }
        }
    }

    /// What a pod shows of itself; none where anybody may come.
    pub(crate) fn login(&self) -> Option<Login> {
        let Self::Mtls(mtls) = self else { return None };
        Some(Login {
            username: "refreshd".to_owned(),
            password: PASSWORD.to_owned(),
            ca: mtls.pki.ca(),
            certificate: mtls.pki.path("pod.pem"),
            key: mtls.pki.path("pod.key"),
        })
    }
}

impl Mtls {
    fn planned() -> (Self, Vec<String>) {
        let pki = Pki::new();
        let address = free_address();
        let server = pki.issue("redis", &["127.0.0.1"]);
        pki.issue("pod", &["pod"]);
        pki.issue("proxy", &["127.0.0.1"]);
        let mut arguments = pki.redis_arguments(address.port(), &server, "yes");
        arguments.extend(documented_user());
        let pem = |name: &str| CertificateDer::from_pem_file(pki.path(name)).expect("a certificate");
        let key = || PrivateKeyDer::from_pem_file(pki.path("proxy.key")).expect("a key");
        let mut roots = RootCertStore::empty();
        roots.add(pem("ca.pem")).expect("a CA");
        let roots = Arc::new(roots);
        let ring = Arc::new(rustls::crypto::ring::default_provider());
        let asks = WebPkiClientVerifier::builder_with_provider(Arc::clone(&roots), Arc::clone(&ring)).build();
        let serves = rustls::ServerConfig::builder_with_provider(Arc::clone(&ring))
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_client_cert_verifier(asks.expect("a CA"))
            .with_single_cert(vec![pem("proxy.pem")], key())
            .expect("a certificate and its key");
        let asks = rustls::ClientConfig::builder_with_provider(ring)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_root_certificates(roots)
            .with_client_auth_cert(vec![pem("proxy.pem")], key())
            .expect("a certificate and its key");
        let (acceptor, connector) = (TlsAcceptor::from(Arc::new(serves)), TlsConnector::from(Arc::new(asks)));
        (Self { address, acceptor, connector, pki }, arguments)
    }

    pub(crate) fn name(&self) -> ServerName<'static> {
        ServerName::IpAddress(self.address.ip().into())
    }
}

/// The user that the documentation sets up on one server, as an argument of `redis-server`.
fn documented_user() -> Vec<String> {
    let page = include_str!("../../../docs/redis.md");
    let lines = page.lines().filter_map(|line| line.strip_prefix("ACL SETUSER "));
    let [line] = lines.filter(|line| line.contains(" +publish")).collect::<Vec<_>>()[..] else {
        panic!("docs/redis.md has one line for it")
    };
    let words = line.split(' ').map(|word| word.replace("SECRET", PASSWORD));
    std::iter::once("--user".to_owned()).chain(words).collect()
}

/// One that nobody listens at.
pub(crate) fn free_address() -> SocketAddr {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("its address")
}
