//! docs/beside-apache.md: two Apaches of one site, a browser that is logged in, and many requests with one cookie.

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;

use futures_util::future::join_all;
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::daemon::{Daemon, client};
use crate::left_out::left_out;
use crate::pki::Pki;
use crate::provider::Provider;
use crate::redis::RedisServer;
use crate::within;

const APACHE: &str = "/usr/sbin/apache2";
const MODULES: &str = "/usr/lib/apache2/modules";
const PAGE: &str = include_str!("../../../docs/beside-apache.md");

/// Ended with the value.
struct Apache {
    _child: Child,
    folder: tempfile::TempDir,
    address: SocketAddr,
}

impl Apache {
    /// The page's lines for a site at this address, with these in the place of what they name.
    async fn start(address: SocketAddr, places: &[(&str, String)]) -> Self {
        let (_, site) = PAGE.split_once("```apache\n").expect("a site");
        let mut site = site.split_once("```").expect("it ends").0.to_owned();
        for (there, here) in places {
            assert!(site.contains(there), "{there} is on the page");
            site = site.replace(there, here);
        }
        let folder = tempfile::tempdir().expect("a folder");
        let root = folder.path();
        std::fs::write(root.join("index.html"), "the application").expect("written");
        let modules = ["mpm_event", "authn_core", "authz_core", "authz_user", "dir", "auth_openidc"];
        let modules = modules.map(|name| format!("LoadModule {name}_module {MODULES}/mod_{name}.so\n")).concat();
        let main = format!(
            "{modules}ServerName localhost\nListen {address}\nServerRoot {0}\nPidFile {0}/pid\nDefaultRuntimeDir {0}\nMutex file:{0} \
             default\nErrorLog /dev/stderr\nDocumentRoot {0}\nDirectoryIndex index.html\nUser www-data\n{site}",
            root.display()
        );
        std::fs::write(root.join("apache2.conf"), main).expect("written");
        for path in [root.to_owned(), root.join("index.html")] {
            let mode = std::os::unix::fs::PermissionsExt::from_mode(0o777);
            std::fs::set_permissions(path, mode).expect("it is ours");
        }
        let log = std::fs::File::create(root.join("log")).expect("a file");
        let mut child = Command::new(APACHE)
            .args(["-X", "-f"])
            .arg(root.join("apache2.conf"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .expect("apache2 runs");
        within(async {
            while TcpStream::connect(address).await.is_err() {
                let ended = child.try_wait().expect("it is ours");
                let log = std::fs::read_to_string(root.join("log")).unwrap_or_default();
                assert!(ended.is_none(), "apache2 ended: {log}");
                tokio::task::yield_now().await;
            }
        })
        .await;
        Self { _child: child, folder, address }
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).expect("readable")
    }

    fn is_here() -> bool {
        let is_here = Path::new(APACHE).is_file() && Path::new(MODULES).join("mod_auth_openidc.so").is_file();
        if !is_here {
            left_out("Apache's mod_auth_openidc: apache2 or libapache2-mod-auth-openidc is missing");
        }
        is_here
    }
}

/// A browser that takes all addresses of this machine for one host.
#[derive(Clone)]
struct Browser {
    cookies: BTreeMap<String, String>,
    client: reqwest::Client,
}

impl Browser {
    fn trusting(ca: &str) -> Self {
        drop(client()); // rustls' provider is set by the first
        let ca = reqwest::Certificate::from_pem(&std::fs::read(ca).expect("readable")).expect("a certificate");
        let client = reqwest::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none());
        Self { cookies: BTreeMap::new(), client: client.tls_certs_only([ca]).build().expect("a client") }
    }

    async fn ask(&self, url: reqwest::Url) -> reqwest::Response {
        let cookies: Vec<_> = self.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
        within(self.client.get(url).header("cookie", cookies.join("; ")).send()).await.expect("an answer")
    }

    /// Gets a page by way of others; the last status and text.
    async fn get(&mut self, url: String) -> (u16, String) {
        let mut url = reqwest::Url::parse(&url).expect("a URL");
        for _ in 0..8 {
            let answer = self.ask(url.clone()).await;
            for cookie in answer.headers().get_all("set-cookie") {
                let pair = cookie.to_str().expect("ASCII").split(';').next().and_then(|pair| pair.split_once('='));
                let (name, value) = pair.expect("a pair");
                match value {
                    "" => self.cookies.remove(name),
                    _ => self.cookies.insert(name.to_owned(), value.to_owned()),
                };
            }
            match answer.headers().get("location") {
                Some(next) => url = answer.url().join(next.to_str().expect("ASCII")).expect("a URL"),
                None => return (answer.status().as_u16(), within(answer.text()).await.expect("text")),
            }
        }
        panic!("redirected for ever: {url}");
    }
}

fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a free port")
}

/// TLS in front of the provider, which the module asks for.
async fn secured(provider: &Provider, (certificate, key): &(PathBuf, PathBuf)) -> SocketAddr {
    let read = |path: &Path| std::fs::read(path).expect("readable");
    let chain = CertificateDer::pem_slice_iter(&read(certificate)).collect::<Result<_, _>>().expect("certificates");
    let key = PrivateKeyDer::from_pem_slice(&read(key)).expect("a key");
    let tls = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .expect("they fit");
    let tls = TlsAcceptor::from(Arc::new(tls));
    let there = reqwest::Url::parse(&provider.url()).expect("a URL").socket_addrs(|| None).expect("an address")[0];
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        while let Ok((caller, _)) = listener.accept().await {
            let tls = tls.clone();
            tokio::spawn(async move {
                let mut caller = tls.accept(caller).await?;
                tokio::io::copy_bidirectional(&mut caller, &mut TcpStream::connect(there).await?).await
            });
        }
    });
    address
}

/// Logs a browser in, and has two Apaches refresh its tokens, ten times each at once and once more. How many of the 22 requests were
/// served without a new login, and whether that login is alive at the provider.
async fn requests_with_one_cookie(
    provider: &Provider,
    secured: SocketAddr,
    (token_endpoint, issuer): (&str, &str),
    ca: &str,
) -> (usize, bool) {
    let addresses = [free_address(), free_address()];
    provider.call_back(&addresses.map(|address| format!("http://{address}/callback")));
    let mut site = Vec::new();
    for address in addresses {
        let redirect = format!("http://{address}/callback");
        let places = [
            // It names itself as its token endpoint was asked, and knows nothing of the TLS in front of it.
            ("https://idp.example/o\n", format!("http://{issuer}/o\n")),
            ("https://idp.example/o", format!("https://localhost:{}/o", secured.port())),
            ("https://localhost:8443/token", token_endpoint.to_owned()),
            ("/etc/refreshd/ca.pem", ca.to_owned()),
            ("https://app.example/callback", redirect),
            // The provider's access tokens live for an hour: each request wants a new one.
            ("BeforeExpiry 60 ", "BeforeExpiry 3601 ".to_owned()),
        ];
        site.push(Apache::start(address, &places).await);
    }
    let mut browser = Browser::trusting(ca);
    let page = browser.get(format!("http://{}/", site[0].address)).await;
    assert_eq!(page, (200, "the application".to_owned()), "{}", site[0].log());

    // Nobody follows a browser that is sent to log in again.
    let ask = |number: usize| {
        let (browser, address) = (browser.clone(), site[number % 2].address);
        async move { browser.ask(reqwest::Url::parse(&format!("http://{address}/")).expect("a URL")).await.status() == 200 }
    };
    let at_once = join_all((0..20).map(ask)).await;
    // And two that were behind: what they come with was used by now, wherever that was served.
    let behind = [ask(0).await, ask(1).await];
    let served = at_once.into_iter().chain(behind).filter(|is_served| *is_served).count();
    (served, provider.live("login") == 1)
}

/// One after the other: both look at all logins of one client.
#[tokio::test(flavor = "multi_thread")]
async fn two_apaches_refresh_one_login_through_the_tls_port() {
    let Some(provider) = Provider::shared() else { return };
    if !Apache::is_here() {
        return;
    }
    let (pki, redis) = (Pki::new(), RedisServer::start().await);
    let issued = pki.issue("refreshd", &["localhost"]);
    let secured = secured(provider, &issued).await;
    let (certificate, key) = issued;
    let text = |path: &Path| path.to_str().expect("UTF-8").to_owned();
    let (ca, certificate, key) = (text(&pki.ca()), text(&certificate), text(&key));
    let namespace = format!("apache-{}", std::process::id());
    redis.in_use(&namespace).await;
    let flags = ["--redis", redis.url(), "--namespace", &namespace, "--admin", "127.0.0.1:0"];
    let tls = ["--tls-cert", &certificate, "--tls-key", &key];
    let daemon = Daemon::start(provider, &[&flags[..], &tls].concat()).await;
    // The user of Apache reads it, too.
    for path in [pki.folder().to_owned(), pki.ca()] {
        std::fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o755)).expect("it is ours");
    }

    let with = format!("https://localhost:{}/token", daemon.address.port());
    let url = provider.url();
    let asked_by_refreshd = url.strip_prefix("http://").and_then(|url| url.split_once('/')).expect("a host").0;
    assert_eq!(requests_with_one_cookie(provider, secured, (&with, asked_by_refreshd), &ca).await, (22, true));

    provider.end_logins("login");
    let asked_directly = format!("localhost:{}", secured.port());
    let directly = format!("https://{asked_directly}/o/token/");
    let without = requests_with_one_cookie(provider, secured, (&directly, &asked_directly), &ca).await;
    assert!(!without.1, "without refreshd the provider saw no token twice: this test shows nothing");
}
