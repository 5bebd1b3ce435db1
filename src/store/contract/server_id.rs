//! Which server gave a lead.

/// A run of a Redis server, by its run id. After a restart it is another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct ServerId([u8; 20]);

impl ServerId {
    /// The run id as Redis tells it, 40 hex digits. None where it is not told, or is none.
    pub(crate) fn read(run_id: &str) -> Option<Self> {
        let (pairs, rest) = run_id.as_bytes().as_chunks::<2>();
        if !rest.is_empty() {
            return None;
        }
        let mut id = [0; 20];
        if pairs.len() != id.len() {
            return None;
        }
        for (byte, pair) in id.iter_mut().zip(pairs) {
            *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
        }
        Some(Self(id))
    }

    /// As Redis tells it.
    pub(crate) fn run_id(&self) -> String {
        self.0.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

impl std::fmt::Display for ServerId {
    /// Enough of it to tell servers apart in a log.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0[..4].iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}
