//! A parameter of a token request: a name and a value, however it was written.

use crate::secret::Secret;

/// A name and a value.
pub(super) type Pair = (String, Secret);

/// What stands before a text that no client has sent like this: a client's own text that begins so has it twice.
pub(super) const MARK: char = '\u{fffd}';

/// A client's own text.
pub(super) fn exact(text: String) -> String {
    if text.starts_with(MARK) { format!("{MARK}{text}") } else { text }
}
