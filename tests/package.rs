//! What is published is whole, and nothing else is in it.

use std::collections::BTreeSet;
use std::path::{Component, Path, PathBuf};
use std::process::Command;

/// What is published, and where it stands.
const PUBLISHED: [(&str, &str); 4] = [
    ("refresh-coordinator", "."),
    ("refresh-coordinator-cli", "cli"),
    ("refreshd", "refreshd"),
    ("refresh-storm", "storm"),
];

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// What this cargo prints of the workspace. It builds nothing.
fn cargo(arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO")).args(arguments).current_dir(root()).output().expect("cargo");
    let (out, err) = (String::from_utf8(output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{err}");
    out.expect("UTF-8")
}

/// The files in the package, as paths below it.
fn packed(package: &str) -> BTreeSet<String> {
    cargo(&["package", "--list", "--allow-dirty", "--package", package]).lines().map(str::to_owned).collect()
}

/// All files below this one of the repository, as paths from its root.
fn files_below(dir: &str, found: &mut Vec<PathBuf>) {
    for entry in root().join(dir).read_dir().unwrap_or_else(|error| panic!("{dir}: {error}")) {
        let name = entry.expect("an entry").file_name().into_string().expect("UTF-8");
        let path = format!("{dir}/{name}");
        // An example that is a package of its own is no part of another.
        if root().join(&path).join("Cargo.toml").is_file() {
            continue;
        }
        if root().join(&path).is_dir() { files_below(&path, found) } else { found.push(path.into()) }
    }
}

/// `a/b/../c` as `a/c`.
fn straight(path: &Path) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.components() {
        match part {
            Component::ParentDir => drop(parts.pop().expect("within the repository")),
            Component::Normal(name) => parts.push(name.to_str().expect("UTF-8")),
            Component::CurDir | Component::RootDir | Component::Prefix(_) => {}
        }
    }
    parts.join("/")
}

#[test]
fn library_is_packed_with_all_that_it_is_built_of() {
    let packed = packed("refresh-coordinator");
    let mut needed: Vec<PathBuf> =
        ["README.md", "CHANGELOG.md", "LICENSE-MIT", "LICENSE-APACHE"].map(PathBuf::from).into();
    for dir in ["src", "lua", "examples"] {
        files_below(dir, &mut needed);
    }
    // The names of scripts are put together by macros: they are all files of `lua`. Pages are named.
    for code in needed.clone().iter().filter(|file| file.extension().is_some_and(|ending| ending == "rs")) {
        let text = std::fs::read_to_string(root().join(code)).expect("code");
        for included in text.split("include_str!(\"").skip(1) {
            let path = included.split('"').next().expect("its end");
            needed.push(code.parent().expect("a directory").join(path));
        }
    }

    let needed: BTreeSet<String> = needed.iter().map(|path| straight(path)).collect();

    assert!(needed.contains("docs/guarantees.md") && needed.contains("lua/lib/flight.lua"), "{needed:?}");
    let missing: Vec<_> = needed.difference(&packed).collect();
    assert!(missing.is_empty(), "not in the package: {missing:?}; see `include` in Cargo.toml");
}

#[test]
fn nothing_is_packed_that_does_not_belong_there() {
    let made_by_cargo = [".cargo_vcs_info.json", "Cargo.lock", "Cargo.toml", "Cargo.toml.orig"];
    let beside = ["README.md", "CHANGELOG.md", "LICENSE-MIT", "LICENSE-APACHE"];
    for (package, dir) in PUBLISHED {
        let packed = packed(package);
        let belongs = |file: &&String| {
            let is_part = ["src/", "lua/", "examples/"].iter().any(|part| file.starts_with(part));
            let is_page = file.starts_with("docs/") && file.ends_with(".md");
            is_part || is_page || beside.contains(&file.as_str()) || made_by_cargo.contains(&file.as_str())
        };

        let others: Vec<_> = packed.iter().filter(|file| !belongs(file)).collect();
        assert!(others.is_empty(), "{package}: {others:?}");
        for licence in ["LICENSE-MIT", "LICENSE-APACHE"] {
            assert!(packed.contains(licence), "{package} has no {licence}");
            let (own, ours) = (root().join(dir).join(licence), root().join(licence));
            assert_eq!(std::fs::read_to_string(own).expect(licence), std::fs::read_to_string(ours).expect(licence));
        }
    }
}

#[test]
fn every_package_that_is_published_says_what_registries_ask_for_and_no_other_is() {
    let metadata: serde_json::Value =
        serde_json::from_str(&cargo(&["metadata", "--no-deps", "--format-version", "1"])).expect("JSON");
    let mut published = BTreeSet::new();
    for package in metadata["packages"].as_array().expect("packages") {
        let name = package["name"].as_str().expect("a name");
        // An empty list of registries is `publish = false`.
        if package["publish"].as_array().is_some_and(Vec::is_empty) {
            continue;
        }
        published.insert(name.to_owned());
        for field in ["description", "license", "repository", "rust_version"] {
            assert!(package[field].is_string(), "{name} has no {field}");
        }
        for dependency in package["dependencies"].as_array().expect("dependencies") {
            // A path without a version cannot be published; tests may have one.
            let is_bare = dependency["path"].is_string() && dependency["req"] == "*" && dependency["kind"] != "dev";
            assert!(!is_bare, "{name}: {} has a path and no version", dependency["name"]);
        }
    }
    assert_eq!(published, PUBLISHED.map(|(name, _)| name.to_owned()).into());
}

/// Crates of other systems, too: they may have to be fetched for this.
#[test]
fn no_crate_needs_a_newer_rust_than_we_say() {
    let number = |text: &str| -> Vec<u32> { text.split('.').map(|part| part.parse().expect("a number")).collect() };
    let metadata: serde_json::Value =
        serde_json::from_str(&cargo(&["metadata", "--locked", "--all-features", "--format-version", "1"]))
            .expect("JSON");
    let ours = number(&format!("{}.0", env!("CARGO_PKG_RUST_VERSION")));

    for package in metadata["packages"].as_array().expect("packages") {
        if let Some(theirs) = package["rust_version"].as_str() {
            let name = &package["name"];
            assert!(number(theirs) <= ours, "{name} needs Rust {theirs}: rust-version in Cargo.toml is older");
        }
    }
}
