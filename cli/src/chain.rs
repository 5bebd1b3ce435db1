//! An error with its causes, as one line.

use std::error::Error;

/// An error and its causes, outermost first, each said once: some errors repeat what their cause says.
pub fn chain(error: &(dyn Error + 'static)) -> String {
    chain_as(error, ToString::to_string)
}

/// As [`chain`], in these words: for causes that must not be told as they tell themselves.
pub fn chain_as(error: &(dyn Error + 'static), words: impl Fn(&(dyn Error + 'static)) -> String) -> String {
    let mut parts: Vec<String> = Vec::new();
    for part in causes(error).map(words) {
        if !parts.iter().any(|said| said.contains(&part)) {
            parts.push(part);
        }
    }
    parts.join(": ")
}

/// The cause that no other cause explains: it says what happened, the outer ones say that something did.
pub fn innermost(error: &(dyn Error + 'static)) -> String {
    causes(error).last().unwrap_or(error).to_string()
}

fn causes<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |&error| error.source())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("{text}")]
    struct Made {
        text: &'static str,
        source: Option<Box<Made>>,
    }

    fn made(texts: &[&'static str]) -> Made {
        let [text, causes @ ..] = texts else { panic!("a text at least") };
        Made { text, source: (!causes.is_empty()).then(|| Box::new(made(causes))) }
    }

    #[test]
    fn each_cause_is_said_once() {
        let error = made(&["not sent", "connect: refused", "refused", "os error 111"]);

        assert_eq!(chain(&error), "not sent: connect: refused: os error 111");
        assert_eq!(innermost(&error), "os error 111");
        assert_eq!(innermost(&made(&["alone"])), "alone");
    }
}
