//! The rules on repositories that are made up, one for each way to break them.

use std::path::Path;

use crate::check;
use crate::page::PAGE;

/// What is wrong with a package of these files, each violation by its place and the beginning of its text.
fn wrong(files: &[(&str, &str)], page: &str) -> Vec<String> {
    let folder = tempfile::tempdir().expect("a folder");
    let write = |file: &str, text: &str| {
        let path = folder.path().join(file);
        std::fs::create_dir_all(path.parent().unwrap_or(Path::new(""))).expect("a folder");
        std::fs::write(path, text).expect("written");
    };
    write("Cargo.toml", "[package]\nname = \"made-up\"\n");
    write(PAGE, page);
    files.iter().for_each(|(file, text)| write(file, text));
    check::violations(folder.path()).iter().map(ToString::to_string).collect()
}

/// A page on which everything is one room.
const ONE_ROOM: &str = "| room | files | may know |\n| --- | --- | --- |\n| `all` | `src/` | nobody |\n";

/// A page where `high` knows `low`.
const TWO_ROOMS: &str = "# Rooms

| room | files | may know | for |
| --- | --- | --- | --- |
| `low` | `src/low.rs` | nobody | words |
| `high` | `src/high.rs`, `src/lib.rs` | `low` | all else |
";

#[track_caller]
fn assert_wrong(files: &[(&str, &str)], page: &str, expected: &[&str]) {
    let found = wrong(files, page);

    let is_as_expected = found.len() == expected.len() && found.iter().zip(expected).all(|(is, by)| is.starts_with(by));
    assert!(is_as_expected, "found {found:#?}, expected {expected:#?}");
}

#[test]
fn nothing_is_wrong_where_imports_follow_the_arrows() {
    let files = [
        ("src/lib.rs", "mod low;\nmod high;\npub use high::High;"),
        ("src/low.rs", "pub(crate) struct Low;"),
        ("src/high.rs", "use crate::low::Low;\npub struct High(Low);"),
    ];

    assert_wrong(&files, TWO_ROOMS, &[]);
}

#[test]
fn two_files_that_import_each_other_are_found() {
    let files = [
        ("src/lib.rs", "mod a;\nmod b;"),
        ("src/a.rs", "use std::fmt;\n\nuse crate::b::B;\npub(crate) struct A(B);"),
        ("src/b.rs", "pub(crate) struct B(Option<Box<super::a::A>>);"),
    ];

    let circle = "src/a.rs:3: files import each other: src/a.rs:3 -> src/b.rs, src/b.rs:1 -> src/a.rs: move";
    assert_wrong(&files, ONE_ROOM, &[circle]);
}

#[test]
fn three_files_that_import_each_other_are_found() {
    let files = [
        ("src/lib.rs", "mod a;\nmod b;\nmod c;"),
        ("src/a.rs", "pub(crate) fn a() {\n    crate::b::b();\n}"),
        ("src/b.rs", "use crate::{\n    c::c as other,\n};\npub(crate) fn b() { other() }"),
        ("src/c.rs", "pub(crate) fn c() { let _ = format!(\"{:?}\", crate::a::a()); }"),
    ];

    let circle = "src/a.rs:2: files import each other: \
                  src/a.rs:2 -> src/b.rs, src/b.rs:2 -> src/c.rs, src/c.rs:1 -> src/a.rs: move";
    assert_wrong(&files, ONE_ROOM, &[circle]);
}

#[test]
fn parent_and_child_that_import_each_other_are_found() {
    let child = ("src/a/child.rs", "use super::A;\npub(crate) fn child(_: A) {}");
    let circle = |line| {
        format!(
            "src/a.rs:{line}: files import each other: src/a.rs:{line} -> src/a/child.rs, src/a/child.rs:1 -> src/a.rs"
        )
    };

    for (parent, expected) in [
        ("mod child;\npub(crate) struct A;", None),
        ("mod child;\nuse child::child;\npub(crate) struct A;", Some(2)),
        ("mod child;\npub(crate) use self::child::child;\npub(crate) struct A;", Some(2)),
        ("mod child;\npub(crate) struct A;\nfn a() { child::child(A) }", Some(3)),
    ] {
        let files = [("src/lib.rs", "mod a;"), ("src/a.rs", parent), child];
        let expected: Vec<String> = expected.map(circle).into_iter().collect();

        assert_wrong(&files, ONE_ROOM, &expected.iter().map(String::as_str).collect::<Vec<_>>());
    }
}

#[test]
fn name_that_the_root_hands_on_is_an_import_of_the_file_that_defines_it() {
    let files = [
        ("src/lib.rs", "mod a;\nmod b;\npub use a::A;\npub use b::B;"),
        ("src/a.rs", "pub struct A(Box<crate::B>);"),
        ("src/b.rs", "use crate::{A, B as Me};\npub struct B(A, Option<Box<Me>>);"),
    ];

    let circle = "src/a.rs:1: files import each other: src/a.rs:1 -> src/b.rs, src/b.rs:1 -> src/a.rs";
    assert_wrong(&files, ONE_ROOM, &[circle]);
}

#[test]
fn name_that_another_file_hands_on_is_an_import_of_both() {
    let page = "| room | files | may know |\n| --- | --- | --- |\n| `far` | `src/far.rs` | nobody |\n\
                | `near` | `src/near.rs` | `far` |\n| `all` | `src/lib.rs`, `src/a.rs` | nobody |\n";
    let files = [
        ("src/lib.rs", "mod a;\nmod near;\nmod far;"),
        ("src/a.rs", "use crate::near::Far;\npub(crate) struct A(Far);"),
        ("src/near.rs", "pub(crate) use crate::far::*;"),
        ("src/far.rs", "pub(crate) struct Far;"),
    ];

    assert_wrong(
        &files,
        page,
        &["src/a.rs:1: -> src/far.rs: `all` may not", "src/a.rs:1: -> src/near.rs: `all` may not"],
    );
}

#[test]
fn import_against_the_arrows_is_found() {
    let files = [
        ("src/lib.rs", "mod low;\nmod high;\nuse low::LOW;"),
        ("src/low.rs", "pub(crate) const LOW: u8 =\n    crate::high::HIGH;"),
        ("src/high.rs", "pub(crate) const HIGH: u8 = 1;"),
    ];

    assert_wrong(&files, TWO_ROOMS, &["src/low.rs:2: -> src/high.rs: `low` may not know `high`: move"]);
}

#[test]
fn file_without_a_room_is_found() {
    let files = [
        ("src/lib.rs", "mod low;\nmod high;\nmod new;\nuse low::LOW;"),
        ("src/low.rs", "pub(crate) const LOW: u8 = 1;"),
        ("src/high.rs", ""),
        ("src/new.rs", ""),
    ];

    assert_wrong(&files, TWO_ROOMS, &["src/new.rs:1: belongs to no room"]);
}

#[test]
fn file_with_two_rooms_is_found() {
    let page = format!("{ONE_ROOM}| `another` | `src/a.rs` | nobody |\n");

    let files = [("src/lib.rs", "mod a;"), ("src/a.rs", "")];

    assert_wrong(&files, &page, &["src/a.rs:1: belongs to several rooms (all, another)"]);
}

#[test]
fn arrow_that_is_not_used_is_found() {
    let files = [("src/lib.rs", "mod low;\nmod high;"), ("src/low.rs", ""), ("src/high.rs", "// use crate::low;")];

    assert_wrong(&files, TWO_ROOMS, &["docs/architecture.md:6: `high` no longer imports anything of `low`"]);
}

#[test]
fn room_without_its_file_is_found() {
    let files = [("src/lib.rs", "mod low;\nuse low::LOW;"), ("src/low.rs", "pub(crate) const LOW: u8 = 1;")];

    assert_wrong(&files, TWO_ROOMS, &["docs/architecture.md:6: `high` has no file `src/high.rs`"]);
}

#[test]
fn page_that_draws_an_arrow_upwards_or_to_nobody_is_found() {
    let page = TWO_ROOMS.replace("`src/low.rs` | nobody", "`src/low.rs` | `high`, `gone`");

    let found = wrong(&[("src/lib.rs", "mod low;\nmod high;"), ("src/low.rs", ""), ("src/high.rs", "")], &page);

    assert!(
        found[0].starts_with("docs/architecture.md:5: `low` knows `high`, which stands not above it"),
        "{found:#?}"
    );
    assert!(found[1].starts_with("docs/architecture.md:5: `low` knows `gone`, and no room"), "{found:#?}");
}

#[test]
fn heading_stands_for_the_rooms_below_it() {
    let page = TWO_ROOMS
        .replace("# Rooms", "# Words")
        .replace("| `high`", "\n# More\n\n| room | files | may know |\n| - | - | - |\n| `high`");
    let page = page.replace("| `low` |", "| `words` |");
    let files = [
        ("src/lib.rs", "mod low;\nmod high;\nuse low::LOW;"),
        ("src/low.rs", "pub(crate) const LOW: u8 = 1;"),
        ("src/high.rs", ""),
    ];

    assert_wrong(&files, &page, &[]);
}

const WORDS: &str = "
| in | words | only in |
| --- | --- | --- |
| `src/` | crates `redis`, `deadpool_redis` | `src/store/`, `src/lib.rs#connect` |
| `src/` | text `rc:{` | `src/store/keys.rs` |
";

#[test]
fn word_elsewhere_is_found() {
    let page = format!("{ONE_ROOM}{WORDS}");
    let files = [
        (
            "src/lib.rs",
            "mod store;\nmod a;\nfn connect(_: redis::Client) {}\nfn other() -> ::redis::Client { todo!() }",
        ),
        ("src/store.rs", "mod keys;\nmod redis;\npub(crate) use self::redis::R;"),
        ("src/store/keys.rs", "pub(crate) fn key(name: &str) -> String { format!(\"rc:{{{name}}}\") }"),
        ("src/store/redis.rs", "use redis::aio;\npub(crate) struct R;"),
        ("src/a.rs", "/// rc:{doc}\nfn a() {\n    assert!(x, deadpool_redis::Pool);\n    f(\"rc:{a}\");\n}"),
    ];

    assert_wrong(
        &files,
        &page,
        &[
            "src/lib.rs:4: `redis` stands only in src/store/, src/lib.rs#connect",
            "src/a.rs:3: `deadpool_redis` stands only in",
            "src/a.rs:4: `rc:{` stands only in src/store/keys.rs",
        ],
    );
}

#[test]
fn place_that_has_no_such_word_any_more_is_found() {
    let page = format!("{ONE_ROOM}{WORDS}");
    let files = [
        ("src/lib.rs", "mod store;\nfn connect() {}"),
        ("src/store.rs", "use redis::aio;\nmod keys;"),
        ("src/store/keys.rs", "const KEY: &str = \"rc:{a}\";\nuse redis::Client;"),
    ];

    let stale = "docs/architecture.md:7: `src/lib.rs#connect` holds none of these words";
    assert_wrong(&files, &page, &["src/store.rs:1: `redis` stands only in", stale]);
}

#[test]
fn what_only_tests_see_is_left_out() {
    let files = [
        ("src/lib.rs", "mod low;\nmod high;\nuse low::LOW;\n#[cfg(test)]\nmod help;"),
        (
            "src/low.rs",
            "pub(crate) const LOW: u8 = 1;\n#[cfg(all(test, unix))]\nmod tests { use crate::high::HIGH; }\n\
             #[cfg(test)]\nuse crate::high;\nstruct A;\nimpl A { #[cfg(test)] fn a() { crate::high::h() } }",
        ),
        ("src/high.rs", ""),
        ("src/help.rs", "use crate::low::LOW;\nuse crate::high::HIGH;\nmod more;"),
        ("src/help/more.rs", ""),
    ];

    assert_wrong(&files, TWO_ROOMS, &[]);
}

#[test]
fn what_cannot_be_followed_is_told() {
    let files = [
        ("src/lib.rs", "mod a;\nmod b;\nmod gone;"),
        ("src/a.rs", "use crate::b::*;\nuse crate::missing::*;\nuse crate::b::Missing;"),
        ("src/b.rs", "fn b() { select!(crate::a::{A, B}) }\nfn c() { mod inside {} }"),
        ("src/orphan.rs", ""),
        ("src/broken.rs", ""),
    ];

    assert_wrong(
        &files,
        ONE_ROOM,
        &[
            "src/lib.rs:3: `mod gone` has no file",
            "src/broken.rs:1: no `mod` that can be read leads to this file",
            "src/orphan.rs:1: no `mod` that can be read leads to this file",
            "src/a.rs:2: `crate::missing` leads to nothing",
            "src/a.rs:3: `crate::b::Missing` leads to nothing",
            "src/b.rs:1: `crate::a::` and a group or glob in a macro",
            "src/b.rs:2: `mod inside` inside a function",
        ],
    );
}

#[test]
fn names_are_followed_through_globs_macros_attributes_and_other_paths() {
    for (line, code) in [
        ("use", "use super::b::*;"),
        ("nested use", "fn a() { use crate::b::{self as other, B}; }"),
        ("self in a group", "fn a() { use crate::b::{self}; }"),
        ("type", "type A = Option<crate::b::B>;"),
        ("pattern", "fn a() { let crate::b::B { .. } = x; }"),
        ("trait", "impl T for Vec<u8> where u8: crate::b::B {}"),
        ("qualified", "fn a() { <u8 as crate::b::B>::f() }"),
        ("macro", "fn a() { debug!(x = 1, y = %super::b::B::new()) }"),
        ("range in a macro", "fn a() { vec![0..crate::b::B] }"),
        ("macro of a macro", "macro_rules! m { ($x:expr) => { $crate::b::f($x) }; }"),
        ("attribute", "struct A { #[serde(with = \"crate::b\")] a: u8 }"),
        ("argument of an attribute", "struct A { #[arg(default_value_t = crate::b::B)] a: u8 }"),
        ("macro by its name", "fn a() { by_macro!() }"),
        ("name that a macro defines", "use crate::b::Unseen;"),
        ("inline module", "mod inline { use super::super::b::B; }"),
        ("file elsewhere", "#[path = \"elsewhere/c.rs\"] mod c;\nuse c::C;"),
    ] {
        let files = [
            ("src/lib.rs", "mod b;\nmod a;"),
            ("src/a.rs", code),
            (
                "src/b.rs",
                "pub(crate) struct B;\nmacro_rules! by_macro { () => {} }\nmake! { Unseen }\npub(crate) fn f() {}",
            ),
            ("src/elsewhere/c.rs", "pub(crate) use crate::b::B as C;"),
        ];
        let page = "| room | files | may know |\n| --- | --- | --- |\n| `b` | `src/b.rs` | nobody |\n\
                    | `c` | `src/elsewhere/` | `b` |\n| `a` | `src/a.rs`, `src/lib.rs` | `c` |\n";

        let found = wrong(&files, page);

        let is_found =
            found.iter().any(|text| text.starts_with("src/a.rs:") && text.contains("-> src/b.rs: `a` may not know"));
        assert!(is_found, "{line}: {found:#?}");
    }
}

#[test]
fn binaries_of_a_package_import_from_its_library() {
    let files = [
        ("src/lib.rs", "pub mod low;"),
        ("src/low.rs", "pub struct Low;"),
        ("src/bin/tool.rs", "use made_up::low::Low;\nuse made_up_else::Low as Other;\nfn main() {}"),
    ];
    let page = "| room | files | may know |\n| --- | --- | --- |\n| `all` | `src/lib.rs`, `src/low.rs` | nobody |\n\
                | `tools` | `src/bin/` | nobody |\n";

    assert_wrong(&files, page, &["src/bin/tool.rs:1: -> src/low.rs: `tools` may not know `all`"]);
}
