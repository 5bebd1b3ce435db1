//! docs/beside-nginx.md.

use std::process::{Command, Stdio};

use crate::beside::{Page, Proxy, found, pod_ends_and_nobody_notices, presentations_to_dying_pods};

const PAGE: (&str, &str) = ("beside-nginx.md", "nginx");

/// The page's file as Debian's nginx.conf includes it, in a directory of the test's own.
struct Nginx {
    program: std::path::PathBuf,
    dir: tempfile::TempDir,
}

impl Nginx {
    fn here() -> Option<Self> {
        let program = found("nginx")?;
        Some(Self { program, dir: tempfile::tempdir().expect("a directory") })
    }

    async fn start(&self, page: &Page) -> Proxy {
        let dir = self.dir.path();
        std::fs::write(dir.join("refreshd.conf"), &page.configuration).expect("written");
        // Root's workers get to no file of the test; they need none.
        let temp = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"];
        let temp: String = temp.map(|kind| format!("{kind}_temp_path {};\n", dir.join(kind).display())).concat();
        let main = format!(
            "daemon off;\nworker_processes 1;\npid {0}/pid;\nerror_log stderr;\nevents {{}}\nhttp {{\naccess_log off;\n{temp}\
             include {0}/refreshd.conf;\n}}\n",
            dir.display()
        );
        std::fs::write(dir.join("nginx.conf"), main).expect("written");
        let mut command = Command::new(&self.program);
        command.arg("-p").arg(dir).arg("-c").arg(dir.join("nginx.conf")).args(["-e", "stderr"]);
        command.stdout(Stdio::null()).stderr(std::fs::File::create(dir.join("log")).expect("a file"));
        Proxy::start(&mut command, page).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_of_three_pods_ends_behind_nginx_and_no_caller_notices() {
    let Some(nginx) = Nginx::here() else { return };
    let page = Page::read(PAGE.0, PAGE.1);

    pod_ends_and_nobody_notices(page, async |page| nginx.start(page).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nginx_sends_a_post_again_only_where_it_is_told_to() {
    let Some(nginx) = Nginx::here() else { return };
    let page = Page::read(PAGE.0, PAGE.1);
    let mut retrying = Page::read(PAGE.0, PAGE.1);
    let line = "proxy_connect_timeout 1s;";
    assert!(retrying.configuration.contains(line));
    let with = format!("{line}\nproxy_next_upstream error timeout non_idempotent;");
    retrying.configuration = retrying.configuration.replace(line, &with);

    let by_default = presentations_to_dying_pods(&page, async |page| nginx.start(page).await).await;
    let told_to = presentations_to_dying_pods(&retrying, async |page| nginx.start(page).await).await;

    assert_eq!((by_default, told_to), ((1, 502), (3, 502)));
}
