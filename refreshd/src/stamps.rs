//! Whether files are still as they were when they were read.

use std::path::PathBuf;
use std::time::SystemTime;

/// When each file was changed, and how long it is; nothing of one that is not there. Taken before the files are read: what changes
/// meanwhile is seen the next time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Stamps(Vec<Option<(SystemTime, u64)>>);

impl Stamps {
    pub(crate) fn of<'a>(files: impl IntoIterator<Item = &'a PathBuf>) -> Self {
        let stamp = |file: &PathBuf| {
            let found = std::fs::metadata(file).ok()?;
            Some((found.modified().ok()?, found.len()))
        };
        Self(files.into_iter().map(stamp).collect())
    }
}
