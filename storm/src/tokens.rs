//! The refresh tokens of real logins: read from a file, and never lost.
//!
//! After every wave the file is replaced, atomically, by what is to be presented next, so that a user who stops a
//! storm half-way keeps all logins it did not destroy.

use std::collections::HashSet;
use std::ffi::OsString;
use std::fs::OpenOptions;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use refresh_coordinator_cli::BadSetting;
use zeroize::Zeroizing;

use crate::stopped::Stopped;

/// A file of refresh tokens, one a line.
pub(crate) struct TokenFile {
    path: PathBuf,
    tokens: Vec<State>,
}

enum State {
    Alive(Zeroizing<String>),
    /// The provider told a caller `invalid_grant`. It is kept apart: should the provider not revoke families, it
    /// is worth another try.
    Refused(Zeroizing<String>),
}

impl TokenFile {
    pub(crate) fn read(path: &Path) -> Result<Self, BadSetting> {
        let bad = |what: &dyn std::fmt::Display| {
            BadSetting::new(format!("--tokens-file {} cannot be used: {what}", path.display()))
        };
        let text = Zeroizing::new(std::fs::read_to_string(path).map_err(|error| bad(&error))?);
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
        let tokens: Vec<State> = lines.clone().map(|line| State::Alive(Zeroizing::new(line.to_owned()))).collect();
        if tokens.is_empty() {
            return Err(bad(&"it holds no token; write one a line"));
        }
        if lines.collect::<HashSet<_>>().len() < tokens.len() {
            return Err(bad(&"a token stands in it twice; every line is a login of its own"));
        }
        // Better now than when there are new tokens to keep.
        let file = Self { path: path.to_owned(), tokens };
        file.save().map_err(|error| bad(&error))?;
        Ok(file)
    }

    pub(crate) fn count(&self) -> usize {
        self.tokens.len()
    }

    /// The tokens of so many logins.
    pub(crate) fn slice(&self, from: usize, count: usize) -> Vec<String> {
        let text = |state: &State| match state {
            State::Alive(token) | State::Refused(token) => token.to_string(),
        };
        self.tokens[from..from + count].iter().map(text).collect()
    }

    pub(crate) fn succeeded(&mut self, login: usize, next: &str) {
        self.tokens[login] = State::Alive(Zeroizing::new(next.to_owned()));
    }

    /// The provider refused a token of this login; `next` is what it gave to other callers before.
    pub(crate) fn refused(&mut self, login: usize, next: Option<String>) {
        let (State::Alive(token) | State::Refused(token)) = &self.tokens[login];
        self.tokens[login] = State::Refused(next.map_or_else(|| token.clone(), Zeroizing::new));
    }

    /// Replaces the file, and beside it that of the refused tokens if there are any.
    pub(crate) fn keep(&self) -> Result<(), Stopped> {
        self.save().map_err(|error| {
            Stopped::broken(format!("--tokens-file {} cannot be replaced: {error}", self.path.display()))
        })
    }

    fn save(&self) -> io::Result<()> {
        let lines = |wanted: fn(&State) -> Option<&str>| -> Zeroizing<String> {
            Zeroizing::new(self.tokens.iter().filter_map(wanted).flat_map(|token| [token, "\n"]).collect())
        };
        let refused = lines(|state| match state {
            State::Alive(_) => None,
            State::Refused(token) => Some(token),
        });
        if !refused.is_empty() {
            let mut path = OsString::from(&self.path);
            path.push(".refused");
            replace(Path::new(&path), &refused)?;
        }
        let alive = lines(|state| match state {
            State::Alive(token) => Some(token),
            State::Refused(_) => None,
        });
        replace(&self.path, &alive)
    }
}

/// Old or new, never half: written beside (readable by its owner only), flushed to disk, renamed over.
fn replace(path: &Path, text: &str) -> io::Result<()> {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let beside = folder.join(format!(".refresh-storm-{}", uuid::Uuid::new_v4().simple()));
    let replaced = write(&beside, text).and_then(|()| std::fs::rename(&beside, path));
    if replaced.is_err() {
        // The error that counts is told already.
        _ = std::fs::remove_file(&beside);
    }
    replaced
}

fn write(new: &Path, text: &str) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(new)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(text: &str) -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("tokens");
        std::fs::write(&path, text).expect("written");
        (folder, path)
    }

    #[test]
    fn successors_replace_their_tokens_and_refused_ones_stand_aside() {
        let (folder, path) = file("a\nb\n\n c \n");
        let mut tokens = TokenFile::read(&path).expect("three tokens");

        tokens.succeeded(0, "a2");
        tokens.refused(1, None);
        tokens.keep().expect("replaced");

        assert_eq!(std::fs::read_to_string(&path).expect("kept"), "a2\nc\n");
        assert_eq!(std::fs::read_to_string(folder.path().join("tokens.refused")).expect("kept"), "b\n");
    }

    #[test]
    fn files_without_tokens_or_with_one_twice_are_refused() {
        for text in ["", "\n \n", "a\nb\na\n"] {
            let (_folder, path) = file(text);
            assert!(TokenFile::read(&path).is_err(), "{text:?}");
        }
        assert!(TokenFile::read(Path::new("/nowhere/tokens")).is_err());
    }
}
