//! docs/guarantees.md promises nothing that no test shows: every test it names is there.

use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// All Rust sources below a directory, but for what was built.
fn sources(dir: &Path, found: &mut String) {
    for entry in std::fs::read_dir(dir).expect("a directory") {
        let path = entry.expect("an entry").path();
        if path.is_dir() && !path.ends_with("target") {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push_str(&std::fs::read_to_string(&path).expect("a source"));
        }
    }
}

/// What stands in backticks and is a sentence in snake case; settings have fewer words.
fn named(page: &str) -> Vec<&str> {
    let quoted = page.split('`').skip(1).step_by(2);
    quoted.filter(|name| name.matches('_').count() >= 4 && !name.contains(' ')).collect()
}

#[test]
fn every_test_that_the_page_names_is_there() {
    let page = std::fs::read_to_string(root().join("docs/guarantees.md")).expect("the page");
    let mut code = String::new();
    for dir in ["src", "tests", "refreshd"] {
        sources(&root().join(dir), &mut code);
    }

    let names = named(&page);
    let missing: Vec<_> = names.iter().filter(|name| !code.contains(&format!("fn {name}("))).collect();

    assert!(names.len() > 30, "the page names tests: {names:?}");
    assert!(missing.is_empty(), "{missing:?}");
}

#[test]
fn every_property_of_the_model_that_the_page_names_is_there() {
    let page = std::fs::read_to_string(root().join("docs/guarantees.md")).expect("the page");
    let read = |path: &str| std::fs::read_to_string(root().join(path)).expect("a source");
    let of_models = ["model/src/promises.rs", "model/src/chain/promises.rs", "model/src/claims/promises.rs"];
    let promises: String = of_models.map(read).concat();

    let rows = page.lines().filter_map(|line| line.split_once("model: "));
    let told = rows.filter_map(|(_, told)| told.split([';', '|']).next());
    let names: Vec<_> = told.flat_map(|told| told.split('`').skip(1).step_by(2)).collect();
    let missing: Vec<_> = names.iter().filter(|name| !promises.contains(&format!("    {name},\n"))).collect();

    assert!(names.len() > 15, "the page names properties: {names:?}");
    assert!(missing.is_empty(), "{missing:?}");
}

#[test]
fn every_promise_names_a_test() {
    let page = std::fs::read_to_string(root().join("docs/guarantees.md")).expect("the page");
    let (_, table) = page.split_once("## What holds").expect("the table");
    let (table, _) = table.split_once("\n## ").expect("it ends");

    for row in table
        .lines()
        .filter(|line| line.starts_with("| ") && !line.starts_with("| promise") && !line.starts_with("| ---"))
    {
        assert!(!named(row).is_empty(), "nothing shows: {row}");
    }
}
