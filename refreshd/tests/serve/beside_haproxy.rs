//! docs/beside-haproxy.md.

use std::process::{Command, Stdio};

use crate::beside::{Page, Proxy, found, pod_ends_and_nobody_notices, presentations_to_dying_pods};

const PAGE: (&str, &str) = ("beside-haproxy.md", "haproxy");

struct HaProxy {
    program: std::path::PathBuf,
    dir: tempfile::TempDir,
}

impl HaProxy {
    fn here() -> Option<Self> {
        let program = found("haproxy")?;
        Some(Self { program, dir: tempfile::tempdir().expect("a directory") })
    }

    async fn start(&self, page: &Page) -> Proxy {
        let file = self.dir.path().join("haproxy.cfg");
        std::fs::write(&file, &page.configuration).expect("written");
        let mut command = Command::new(&self.program);
        command.arg("-db").arg("-f").arg(&file).stdout(Stdio::null());
        command.stderr(std::fs::File::create(self.dir.path().join("log")).expect("a file"));
        Proxy::start(&mut command, page).await
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("log")).expect("its log")
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_of_three_pods_ends_behind_haproxy_and_no_caller_notices() {
    let Some(haproxy) = HaProxy::here() else { return };
    let page = Page::read(PAGE.0, PAGE.1);

    pod_ends_and_nobody_notices(page, async |page| haproxy.start(page).await).await;

    // It has looked, and not only been passed over.
    let log = haproxy.log();
    assert!(log.contains("is DOWN"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn haproxy_sends_a_post_again_only_where_it_is_told_to() {
    let Some(haproxy) = HaProxy::here() else { return };
    let page = Page::read(PAGE.0, PAGE.1);
    let mut retrying = Page::read(PAGE.0, PAGE.1);
    retrying.configuration += "    retry-on all-retryable-errors\n";

    let by_default = presentations_to_dying_pods(&page, async |page| haproxy.start(page).await).await;
    let told_to = presentations_to_dying_pods(&retrying, async |page| haproxy.start(page).await).await;

    assert_eq!((by_default, told_to), ((1, 502), (4, 502)));
}
