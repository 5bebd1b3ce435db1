//! Whether files are still as they were when they were read.

use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

/// When each file was changed, and how long it is; nothing of one that is not there. Taken before the files are read: what changes
/// meanwhile is seen the next time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Stamps(Vec<Option<Stamp>>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Stamp {
    /// In seconds and nanoseconds, as all times here.
    modified: (i64, i64),
    /// When anything of it was changed, its name too: tools that keep or set the time above cannot set this one.
    changed: (i64, i64),
    length: u64,
}

impl Stamps {
    pub(crate) fn of<'a>(files: impl IntoIterator<Item = &'a PathBuf>) -> Self {
        let stamp = |file: &PathBuf| {
            let found = std::fs::metadata(file).ok()?;
            let modified = (found.mtime(), found.mtime_nsec());
            Some(Stamp { modified, changed: (found.ctime(), found.ctime_nsec()), length: found.len() })
        };
        Self(files.into_iter().map(stamp).collect())
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};
    use std::time::SystemTime;

    use super::*;

    /// As keys of one kind are, in trees whose files all have the same time.
    #[test]
    fn another_file_of_the_same_length_and_time_is_another_one() {
        let folder = tempfile::tempdir().expect("a folder");
        let [shown, old, new] = ["shown", "old", "new"].map(|name| folder.path().join(name));
        for (file, text) in [(&old, "one"), (&new, "two")] {
            fs::write(file, text).expect("written");
            File::options()
                .write(true)
                .open(file)
                .and_then(|file| file.set_modified(SystemTime::UNIX_EPOCH))
                .expect("set");
            // The clock of the file system may tick every few milliseconds.
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        let swapped_to = |file: &PathBuf| {
            let _ = fs::remove_file(&shown);
            std::os::unix::fs::symlink(file, &shown).expect("linked");
            Stamps::of([&shown])
        };

        assert_ne!(swapped_to(&old), swapped_to(&new));
        assert_eq!(swapped_to(&new), swapped_to(&new));
        assert_ne!(swapped_to(&new), Stamps::of([&folder.path().join("none")]));
    }
}
