//! Holds the code to `docs/architecture.md`, and the page to the code.
//!
//! Every file that ships is read (tests are left out: they may look anywhere), and three things must hold: no files
//! import each other, also not in a long circle; every import follows an arrow between the rooms of the page; and the
//! words that belong to one place stand there only. What the page names must exist and be used.
//!
//! An import is any path that leads to another file of the same package: in a `use`, an expression, a type, a macro or
//! an attribute. It is an import of the file that defines the name, and of each file that hands the name on by a
//! `use` of its own. Only the root of a crate hands on for nothing: its re-exports are what the crate is known by.
//! Naming a file with `mod` is no import. What a package may see of another is cargo's to judge.

mod check;
mod imports;
mod made_up;
mod names;
mod page;
mod paths;
mod rules;
mod source;
mod violation;

#[test]
fn code_and_page_agree() {
    let violations = check::violations(std::path::Path::new(env!("CARGO_MANIFEST_DIR")));

    let lines: Vec<String> = violations.iter().map(ToString::to_string).collect();
    assert!(lines.is_empty(), "{} to mend:\n{}", lines.len(), lines.join("\n"));
}
