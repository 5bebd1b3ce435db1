//! Whatever a script calls is made before it, where it is called: a part that a seldom branch lacks would be found out there.

use std::collections::BTreeSet;

use super::super::texts;

/// Names, words and brackets of a script, without its comments and what is in quotes.
fn words(script: &str) -> Vec<String> {
    let mut words = Vec::new();
    for line in script.lines() {
        let mut quoted = None;
        let mut word = String::new();
        let mut before = ' ';
        for c in line.chars().chain([' ']) {
            if let Some(quote) = quoted {
                quoted = (c != quote || before == '\\').then_some(quote);
            } else if c.is_ascii_alphanumeric() || "_.:".contains(c) {
                word.push(c);
            } else {
                if !word.is_empty() {
                    words.push(std::mem::take(&mut word));
                }
                if c == '-' && before == '-' {
                    break;
                }
                quoted = (c == '\'' || c == '"').then_some(c);
                if !c.is_whitespace() {
                    words.push(c.to_string());
                }
            }
            before = c;
        }
    }
    words
}

/// The functions that a script calls, itself or by pcall, and that are not made there.
fn missing(script: &str) -> BTreeSet<String> {
    const GIVEN: [&str; 10] =
        ["assert", "error", "ipairs", "next", "pairs", "pcall", "tonumber", "tostring", "type", "unpack"];
    let words = words(script);
    let mut scopes = vec![BTreeSet::from(GIVEN.map(str::to_owned))];
    let mut missing = BTreeSet::new();
    for (at, word) in words.iter().enumerate() {
        let before = |back: usize| at.checked_sub(back).map_or("", |at| &words[at]);
        match word.as_str() {
            "function" | "then" | "do" | "repeat" => scopes.push(BTreeSet::new()),
            "end" | "until" | "elseif" => _ = scopes.pop(),
            "else" => {
                scopes.pop();
                scopes.push(BTreeSet::new());
            }
            name if before(1) == "function" => {
                let outer = scopes.len() - 2;
                scopes[outer].insert(name.to_owned());
            }
            name if (words.get(at + 1).is_some_and(|next| next == "(") || before(2) == "pcall")
                && name.starts_with(|c: char| c.is_ascii_lowercase())
                && !name.contains('.')
                && !["and", "or", "not", "return", "in", "if", "while"].contains(&name)
                && !scopes.iter().any(|scope| scope.contains(name)) =>
            {
                missing.insert(name.to_owned());
            }
            _ => {}
        }
    }
    missing
}

#[test]
fn every_function_is_made_where_it_is_called() {
    for text in texts() {
        assert_eq!(missing(&text), BTreeSet::new(), "{}", text.lines().take(3).collect::<Vec<_>>().join("\n"));
    }
}

#[test]
fn function_of_another_branch_is_missed() {
    let script = "if x then\nlocal function one()\nreturn 'two()' -- three()\nend\none()\nelse\none()\nend";

    assert_eq!(missing(script), BTreeSet::from(["one".to_owned()]));
}
