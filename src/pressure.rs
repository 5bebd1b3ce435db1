//! Whether this pod is short of memory: then it joins flights of others and leads none.
//!
//! Read from where the kernel tells it, `/proc` and the memory controller of the pod's cgroup, versions 1 and 2. What
//! counts against a limit is what the kernel cannot simply drop: usage without inactive page cache, which is what
//! Kubernetes evicts pods by, too. Asked by the coordinator before each `begin`.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;
use tracing::{info, warn};

use crate::config::MemoryPressure;

/// How long a reading holds: memory does not fill up faster, and a storm of flights costs one reading.
const READING_HOLDS: Duration = Duration::from_secs(1);

/// The pod's gauge.
#[derive(Debug)]
pub(crate) struct Pressure {
    limit: MemoryPressure,
    /// Where `/proc` and the cgroups are: `/`, but for tests.
    root: PathBuf,
    last: Mutex<Option<(Instant, Reading)>>,
    start: Instant,
    /// Until when a reading holds that was not high, in nanoseconds since `start`: nearly all flights need no more.
    holds_until: AtomicU64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reading {
    Low,
    High,
    /// Nothing to compare: no limit, or not Linux.
    Nothing,
}

impl Pressure {
    pub(crate) fn new(limit: MemoryPressure) -> Self {
        Self::below(limit, PathBuf::from("/"))
    }

    pub(crate) fn below(limit: MemoryPressure, root: PathBuf) -> Self {
        Self { limit, root, last: Mutex::new(None), start: Instant::now(), holds_until: AtomicU64::new(0) }
    }

    /// Whether the pod is short of memory.
    pub(crate) fn is_high(&self, now: Instant) -> bool {
        let since_start = |at: Instant| at.saturating_duration_since(self.start).as_nanos() as u64;
        if since_start(now) < self.holds_until.load(Ordering::Relaxed) {
            return false;
        }
        let mut last = self.last.lock().expect("BUG: nothing panics with this lock held");
        if let Some((at, reading)) = *last
            && now < at + READING_HOLDS
        {
            return reading == Reading::High;
        }
        let reading = self.read();
        let before = last.replace((now, reading)).map(|(_, before)| before);
        // Under the lock, where the next reading is made.
        let holds_until = if reading == Reading::High { 0 } else { since_start(now + READING_HOLDS) };
        self.holds_until.store(holds_until, Ordering::Relaxed);
        drop(last);
        self.tell(before, reading);
        reading == Reading::High
    }

    /// Logged at the turns only.
    fn tell(&self, before: Option<Reading>, reading: Reading) {
        match (before, reading) {
            (before, after) if before == Some(after) => {}
            (_, Reading::High) => warn!(limit = ?self.limit, "short of memory: leading nothing until it is over"),
            (Some(Reading::High), Reading::Low | Reading::Nothing) => info!("no longer short of memory"),
            // A limit that was asked for and cannot be read must not pass for one that is kept.
            (None, Reading::Nothing) if matches!(self.limit, MemoryPressure::ResidentMib(_)) => {
                warn!(limit = ?self.limit, "the resident memory cannot be read here: this limit is off");
            }
            (None | Some(_), Reading::Low | Reading::Nothing) => {}
        }
    }

    fn read(&self) -> Reading {
        match self.limit {
            MemoryPressure::Off => Reading::Nothing,
            MemoryPressure::ResidentMib(mib) => match resident(&self.root) {
                Some(bytes) => Reading::of(bytes > mib.saturating_mul(1 << 20)),
                None => Reading::Nothing,
            },
            MemoryPressure::Cgroup => Usage::all(&self.root)
                .map(|usage| Reading::of(usage.is_above_90_percent()))
                .reduce(|one, other| if one == Reading::High { one } else { other })
                .unwrap_or(Reading::Nothing),
        }
    }
}

#[cfg(test)]
impl Pressure {
    /// The next flight is judged by a new reading.
    pub(crate) fn read_anew(&self) {
        *self.last.lock().expect("not poisoned") = None;
        self.holds_until.store(0, Ordering::Relaxed);
    }
}

impl Reading {
    fn of(is_high: bool) -> Self {
        if is_high { Self::High } else { Self::Low }
    }
}

/// Resident memory of this process, in bytes.
fn resident(root: &Path) -> Option<u64> {
    let status = fs::read_to_string(root.join("proc/self/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

/// What a cgroup uses of what it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Usage {
    used: u64,
    limit: u64,
}

impl Usage {
    /// Of the pod's cgroup and all above it: each one's limit holds for all below. Those without a limit are left out.
    fn all(root: &Path) -> impl Iterator<Item = Self> {
        let hierarchy = Hierarchy::find(root);
        hierarchy.into_iter().flat_map(|hierarchy| {
            let Hierarchy { version, mount, cgroup } = hierarchy;
            let groups: Vec<PathBuf> = cgroup.ancestors().map(|group| mount.join(group)).collect();
            groups.into_iter().filter_map(move |group| Self::of(version, &group))
        })
    }

    fn of(version: Version, group: &Path) -> Option<Self> {
        let (limit, used, cache) = match version {
            Version::V1 => ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
            Version::V2 => ("memory.max", "memory.current", "inactive_file"),
        };
        // A file that is not there, or that nobody may read, sets no limit: then a threshold in MiB is the only one.
        let number = |name: &str| fs::read_to_string(group.join(name)).ok()?.trim().parse::<u64>().ok();
        // "max" is no number: no limit.
        let limit = number(limit).filter(|limit| *limit < NO_LIMIT_V1)?;
        let stat = fs::read_to_string(group.join("memory.stat")).unwrap_or_default();
        let cache = stat.lines().find_map(|line| line.strip_prefix(cache)?.trim().parse().ok()).unwrap_or(0);
        Some(Self { used: number(used)?.saturating_sub(cache), limit })
    }

    fn is_above_90_percent(self) -> bool {
        u128::from(self.used) * 10 > u128::from(self.limit) * 9
    }
}

/// Version 1 says "no limit" by the largest number of whole pages: far above what any machine has.
const NO_LIMIT_V1: u64 = 1 << 60;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Version {
    V1,
    V2,
}

/// Where the memory controller is mounted, and the pod's cgroup in it.
#[derive(Debug)]
struct Hierarchy {
    version: Version,
    mount: PathBuf,
    /// Relative to the mount.
    cgroup: PathBuf,
}

impl Hierarchy {
    /// Version 1 first: where both are mounted, the memory controller is in version 1.
    fn find(root: &Path) -> Option<Self> {
        let groups = fs::read_to_string(root.join("proc/self/cgroup")).ok()?;
        let mounts = fs::read_to_string(root.join("proc/self/mountinfo")).ok()?;
        [Version::V1, Version::V2].into_iter().find_map(|version| {
            let group = groups.lines().find_map(|line| version.group(line))?;
            let (mounted, point) = mounts.lines().find_map(|line| version.mount(line))?;
            let mount = root.join(point.trim_start_matches('/'));
            // A container sees its own cgroup mounted as the root, under the name that the host has for it.
            let below = Path::new(group).strip_prefix(&mounted).unwrap_or(Path::new(""));
            let cgroup = below.strip_prefix("/").unwrap_or(below).to_owned();
            Some(Self { version, mount, cgroup })
        })
    }
}

impl Version {
    /// The path in a line of `/proc/self/cgroup`: `4:memory:/a/b`, `0::/a/b`.
    fn group(self, line: &str) -> Option<&str> {
        let mut parts = line.splitn(3, ':');
        let (id, controllers, path) = (parts.next()?, parts.next()?, parts.next()?);
        let is_it = match self {
            Self::V1 => controllers.split(',').any(|controller| controller == "memory"),
            Self::V2 => id == "0" && controllers.is_empty(),
        };
        is_it.then_some(path)
    }

    /// What is mounted, and where, in a line of `/proc/self/mountinfo`:
    /// `36 35 0:30 /docker/1f /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory`.
    fn mount(self, line: &str) -> Option<(PathBuf, String)> {
        let (place, source) = line.split_once(" - ")?;
        let mut source = source.split(' ');
        let (kind, options) = (source.next()?, source.nth(1)?);
        let is_it = match self {
            Self::V1 => kind == "cgroup" && options.split(',').any(|option| option == "memory"),
            Self::V2 => kind == "cgroup2",
        };
        let mut place = place.split(' ').skip(3);
        let (mounted, point) = (place.next()?, place.next()?);
        is_it.then(|| (PathBuf::from(mounted), point.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    /// A made-up `/proc` and `/sys`.
    struct Tree(tempfile::TempDir);

    impl Tree {
        fn new(files: &[(&str, &str)]) -> Self {
            let tree = Self(tempfile::tempdir().expect("a directory"));
            for (path, text) in files {
                tree.write(path, text);
            }
            tree
        }

        fn write(&self, path: &str, text: &str) {
            let path = self.0.path().join(path);
            fs::create_dir_all(path.parent().expect("a directory")).expect("made");
            fs::write(path, text).expect("written");
        }

        fn usages(&self) -> Vec<Usage> {
            Usage::all(self.0.path()).collect()
        }

        fn reads(&self, limit: MemoryPressure) -> Reading {
            Pressure::below(limit, self.0.path().to_owned()).read()
        }
    }

    const V2_MOUNT: (&str, &str) = (
        "proc/self/mountinfo",
        "22 1 8:1 / / rw - ext4 /dev/sda1 rw\n\
         35 24 0:30 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n",
    );
    const V1_MOUNTS: (&str, &str) = (
        "proc/self/mountinfo",
        "33 25 0:28 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n\
         34 25 0:29 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu,cpuacct\n\
         36 25 0:30 / /sys/fs/cgroup/memory rw shared:3 - cgroup cgroup rw,memory\n",
    );

    fn v2(max: &str, current: &str) -> Tree {
        Tree::new(&[
            ("proc/self/cgroup", "0::/pods/one\n"),
            V2_MOUNT,
            ("sys/fs/cgroup/pods/one/memory.max", max),
            ("sys/fs/cgroup/pods/one/memory.current", current),
            ("sys/fs/cgroup/pods/one/memory.stat", "anon 1\ninactive_file 20\nactive_file 7\n"),
        ])
    }

    #[test]
    fn version_2_counts_what_is_used_without_inactive_cache() {
        assert_eq!(v2("1000\n", "920\n").usages(), [Usage { used: 900, limit: 1000 }]);
        assert_eq!(v2("1000\n", "920\n").reads(MemoryPressure::Cgroup), Reading::Low);
        assert_eq!(v2("1000\n", "921\n").reads(MemoryPressure::Cgroup), Reading::High);
    }

    #[test]
    fn without_a_limit_nothing_is_compared() {
        assert_eq!(v2("max\n", "900\n").reads(MemoryPressure::Cgroup), Reading::Nothing);
        assert_eq!(Tree::new(&[]).reads(MemoryPressure::Cgroup), Reading::Nothing);
        assert_eq!(v2("1000\n", "999\n").reads(MemoryPressure::Off), Reading::Nothing);
    }

    #[test]
    fn limit_of_a_cgroup_above_holds_too() {
        let tree = v2("1000\n", "100\n");
        tree.write("sys/fs/cgroup/pods/memory.max", "2000\n");
        tree.write("sys/fs/cgroup/pods/memory.current", "1950\n");

        assert_eq!(tree.usages(), [Usage { used: 80, limit: 1000 }, Usage { used: 1950, limit: 2000 }]);
        assert_eq!(tree.reads(MemoryPressure::Cgroup), Reading::High);
    }

    #[test]
    fn version_1_is_read_where_the_memory_controller_is() {
        let group = "sys/fs/cgroup/memory/docker/1f";
        let tree = Tree::new(&[
            ("proc/self/cgroup", "5:cpu,cpuacct:/x\n4:memory:/docker/1f\n0::/init\n"),
            V1_MOUNTS,
            (&format!("{group}/memory.limit_in_bytes"), "1000\n"),
            (&format!("{group}/memory.usage_in_bytes"), "990\n"),
            (&format!("{group}/memory.stat"), "inactive_file 3\ntotal_inactive_file 50\n"),
            ("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n"),
            ("sys/fs/cgroup/memory/memory.usage_in_bytes", "5000\n"),
        ]);

        assert_eq!(tree.usages(), [Usage { used: 940, limit: 1000 }]);
    }

    #[test]
    fn container_that_sees_its_own_cgroup_as_the_root_finds_it() {
        let mount = "36 25 0:30 /docker/1f /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory\n";
        let tree = Tree::new(&[
            ("proc/self/cgroup", "4:memory:/docker/1f\n"),
            ("proc/self/mountinfo", mount),
            ("sys/fs/cgroup/memory/memory.limit_in_bytes", "1000\n"),
            ("sys/fs/cgroup/memory/memory.usage_in_bytes", "950\n"),
        ]);

        assert_eq!(tree.usages(), [Usage { used: 950, limit: 1000 }]);
    }

    #[test]
    fn resident_memory_is_compared_with_the_limit_that_was_set() {
        let tree = Tree::new(&[("proc/self/status", "Name:\trefreshd\nVmHWM:\t  9999 kB\nVmRSS:\t  3072 kB\n")]);

        assert_eq!(resident(tree.0.path()), Some(3 * MIB));
        assert_eq!(tree.reads(MemoryPressure::ResidentMib(3)), Reading::Low);
        assert_eq!(tree.reads(MemoryPressure::ResidentMib(2)), Reading::High);
        assert_eq!(Tree::new(&[]).reads(MemoryPressure::ResidentMib(1)), Reading::Nothing);
    }

    #[test]
    fn reading_holds_for_a_second() {
        let tree = v2("1000\n", "990\n");
        let pressure = Pressure::below(MemoryPressure::Cgroup, tree.0.path().to_owned());
        let start = Instant::now();
        assert!(pressure.is_high(start));

        tree.write("sys/fs/cgroup/pods/one/memory.current", "500\n");

        assert!(pressure.is_high(start + READING_HOLDS / 2));
        assert!(!pressure.is_high(start + READING_HOLDS));
    }

    /// The kernel this runs on.
    #[cfg(target_os = "linux")]
    #[test]
    fn real_kernel_is_understood() {
        let resident = resident(Path::new("/")).expect("the kernel tells it");
        assert!((MIB..1 << 40).contains(&resident), "{resident}");
        let tells = fs::read_to_string("/proc/self/cgroup").expect("the kernel tells it");
        let hierarchy = Hierarchy::find(Path::new("/"));
        assert!(hierarchy.is_some() || !tells.contains(":memory:"), "{tells}");
    }
}
