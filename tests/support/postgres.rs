//! A real PostgreSQL for a test, on a socket in a folder of its own.

use std::io::ErrorKind;
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::left_out::left_out;

/// Ends with the value.
pub struct PostgresServer {
    child: Child,
    url: String,
    _dir: tempfile::TempDir,
}

impl PostgresServer {
    /// None where it is not installed: then the runner of the tests is told.
    pub fn start() -> Option<Self> {
        let programs = programs().or_else(|| {
            left_out("the session store in PostgreSQL: PostgreSQL is not installed");
            None
        })?;
        let dir = tempfile::tempdir().expect("a temporary directory");
        let user = ordinary_user();
        if let Some((uid, gid)) = user {
            chown(dir.path(), Some(uid), Some(gid)).expect("root may");
        }
        let run = |program: &str| {
            let mut command = Command::new(programs.join(program));
            command.stdout(Stdio::null()).stderr(Stdio::null()).current_dir(dir.path());
            // initdb and postgres refuse root.
            if let Some((uid, gid)) = user {
                command.uid(uid).gid(gid);
            }
            command
        };
        let data = dir.path().join("data");
        let made = run("initdb").arg("-D").arg(&data).args(["-U", "app", "-A", "trust", "--no-sync"]).status();
        assert!(made.expect("initdb runs").success(), "initdb failed");
        let child = run("postgres")
            .arg("-D")
            .arg(&data)
            .args(["-c", "listen_addresses=", "-c", "fsync=off", "-c", "max_connections=50", "-k"])
            .arg(dir.path())
            .spawn()
            .expect("postgres runs");
        let url = format!("postgres:///postgres?user=app&host={}", dir.path().display());
        let server = Self { child, url, _dir: dir };
        server.until_ready(&programs);
        Some(server)
    }

    pub fn url(&self) -> &str {
        &self.url
    }

    fn until_ready(&self, programs: &Path) {
        let deadline = Instant::now() + Duration::from_secs(60);
        let host = self._dir.path();
        loop {
            let ready = Command::new(programs.join("pg_isready")).arg("-h").arg(host).stdout(Stdio::null()).status();
            if ready.expect("pg_isready runs").success() {
                return;
            }
            assert!(Instant::now() < deadline, "postgres does not come up");
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

impl Drop for PostgresServer {
    fn drop(&mut self) {
        // It is asked to end at once, and takes its own processes with it.
        let asked = Command::new("kill").args(["-QUIT", &self.child.id().to_string()]).status();
        assert!(asked.is_ok_and(|status| status.success()), "kill -QUIT");
        self.child.wait().expect("it ends");
    }
}

/// Where the programs are: those of distributions are not in PATH.
fn programs() -> Option<PathBuf> {
    let in_path = std::env::var_os("PATH")?;
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let folders = std::env::split_paths(&in_path).chain(versions.map(|version| version.path().join("bin")));
    folders
        .into_iter()
        .find(|folder| ["initdb", "postgres", "pg_isready"].iter().all(|name| folder.join(name).exists()))
}

/// Whom to run it as, where this is root.
fn ordinary_user() -> Option<(u32, u32)> {
    let own = Command::new("id").arg("-u").output().expect("id runs").stdout;
    if own.trim_ascii() != b"0" {
        return None;
    }
    let users = match std::fs::read_to_string("/etc/passwd") {
        Err(error) if error.kind() == ErrorKind::NotFound => String::new(),
        read => read.expect("the users"),
    };
    ["postgres", "nobody"].iter().find_map(|name| {
        let fields: Vec<&str> = users.lines().find(|line| line.starts_with(&format!("{name}:")))?.split(':').collect();
        Some((fields[2].parse().ok()?, fields[3].parse().ok()?))
    })
}
