//! The pages lead somewhere: every link into the repository points to a file that is there, and to a heading that is
//! there; every diagram is drawn from its text and shown. No network: links elsewhere are not followed.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path, PathBuf};
use std::process::Command;

/// Pages beside those of `docs/`.
const PAGES: [&str; 6] = [
    "README.md",
    "CONTRIBUTING.md",
    "lua/README.md",
    "tests/faults/README.md",
    "tests/origin/README.md",
    "benches/RESULTS.md",
];

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn text(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The names of the files with this ending, as they stand in `docs/diagrams` and `docs`.
fn files(dir: &str, ending: &str) -> Vec<String> {
    let entries = std::fs::read_dir(root().join(dir)).expect("a directory");
    let mut names: Vec<String> = entries
        .map(|entry| entry.expect("an entry").file_name().into_string().expect("a name in UTF-8"))
        .filter(|name| name.ends_with(ending))
        .collect();
    names.sort();
    names
}

/// A page without its code: of that nothing is a link.
struct Page {
    path: String,
    prose: String,
}

impl Page {
    fn read(path: &str) -> Self {
        Self { path: path.to_owned(), prose: without_code(&text(path)) }
    }

    fn all() -> Vec<Self> {
        let docs = files("docs", ".md").into_iter().map(|name| format!("docs/{name}"));
        PAGES.iter().map(|page| (*page).to_owned()).chain(docs).map(|path| Self::read(&path)).collect()
    }

    /// Where its links and pictures lead: `[words](here)`, and `[words]: here` at the beginning of a line.
    fn links(&self) -> Vec<&str> {
        let inline = self.prose.split("](").skip(1).filter_map(|rest| rest.split([')', ' ', '\n']).next());
        inline.chain(self.definitions().into_values()).collect()
    }

    /// What `[words][label]` leads to, by label.
    fn definitions(&self) -> BTreeMap<&str, &str> {
        let lines = self.prose.lines().filter_map(|line| line.strip_prefix('[')?.split_once("]: "));
        lines.map(|(label, target)| (label, target.trim())).collect()
    }

    /// What links to it may name behind `#`: GitHub's names of its headings.
    fn anchors(&self) -> BTreeSet<String> {
        let mut anchors = BTreeSet::new();
        for heading in self.prose.lines().filter_map(|line| line.strip_prefix('#')) {
            let name = anchor(heading.trim_start_matches('#').trim());
            // One that comes again has a number.
            let again = (0..).map(|count| if count == 0 { name.clone() } else { format!("{name}-{count}") });
            anchors.extend(again.into_iter().find(|name| !anchors.contains(name)));
        }
        anchors
    }

    /// A target, as a path in the repository. None where it leads out of it.
    fn resolved(&self, target: &str) -> Option<PathBuf> {
        let mut path = Path::new(&self.path).parent().expect("a page is in a directory").to_owned();
        for part in Path::new(target).components() {
            match part {
                Component::ParentDir => path.pop().then_some(())?,
                Component::CurDir => {}
                Component::Normal(name) => path.push(name),
                Component::RootDir | Component::Prefix(_) => return None,
            }
        }
        Some(path)
    }

    /// What is wrong with a link, if anything is.
    fn complaint(&self, link: &str) -> Option<String> {
        let (target, anchor) = link.split_once('#').map_or((link, None), |(target, anchor)| (target, Some(anchor)));
        let path = if target.is_empty() { Some(PathBuf::from(&self.path)) } else { self.resolved(target) };
        let Some(path) = path.filter(|path| root().join(path).exists()) else {
            return Some(format!("{}: {link} leads to no file", self.path));
        };
        let anchor = anchor?;
        let there = Self::read(path.to_str().expect("a path in UTF-8"));
        (!there.anchors().contains(anchor)).then(|| format!("{}: {link} leads to no heading", self.path))
    }
}

/// Blocks and spans of code are left out, but for spans that are the words of a link or of a heading.
fn without_code(text: &str) -> String {
    let mut prose = String::new();
    let mut is_code = false;
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            is_code = !is_code;
        } else if !is_code {
            for (index, part) in line.split('`').enumerate() {
                prose += if index % 2 == 1 && part.contains("](") { "" } else { part };
            }
            prose.push('\n');
        }
    }
    prose
}

/// As GitHub does it: lower case, blanks become hyphens, other signs but `-` and `_` go.
fn anchor(heading: &str) -> String {
    let kept = heading.chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c));
    kept.collect::<String>().to_lowercase().replace(' ', "-")
}

fn is_elsewhere(link: &str) -> bool {
    link.contains("://") || link.starts_with("mailto:")
}

#[test]
fn every_link_into_the_repository_leads_to_a_file_and_a_heading() {
    let pages = Page::all();

    let links: Vec<_> = pages.iter().flat_map(|page| page.links().into_iter().map(move |link| (page, link))).collect();
    let inside: Vec<_> = links.into_iter().filter(|(_, link)| !is_elsewhere(link)).collect();
    let complaints: Vec<_> = inside.iter().filter_map(|(page, link)| page.complaint(link)).collect();

    assert!(inside.len() > 80, "the pages have links: {}", inside.len());
    assert!(complaints.is_empty(), "\n{}", complaints.join("\n"));
}

#[test]
fn dependencies_in_the_guide_are_those_of_the_example_that_is_built() {
    let page = text("docs/applications.md");
    let block = page.split_once("[dependencies]\n").and_then(|(_, rest)| rest.split_once("```")).expect("a block").0;
    let built = text("examples/openidconnect/Cargo.toml");

    let others: Vec<_> = block.lines().filter(|line| !line.starts_with("refresh-coordinator ")).collect();
    let not_built: Vec<_> = others.iter().filter(|line| built.lines().all(|other| other != **line)).collect();

    assert!(others.len() > 3 && not_built.is_empty(), "{others:?}: {not_built:?}");
}

#[test]
fn every_page_of_the_guide_has_links_that_work_without_the_repository() {
    let guide = text("src/guide.rs");
    let included = guide.split("include_str!(\"../").skip(1).filter_map(|rest| rest.split('"').next());
    let pages: Vec<_> = included.map(Page::read).collect();
    assert!(!pages.is_empty(), "src/guide.rs includes pages");

    let mut complaints = Vec::new();
    for page in &pages {
        for (label, target) in page.definitions().into_iter().filter(|(_, target)| !is_elsewhere(target)) {
            let file = target.split('#').next().expect("a first part");
            let path = page.resolved(file).expect("inside the repository");
            if path != Path::new(label) {
                complaints.push(format!("{}: [{label}] is {}: name it by its path", page.path, path.display()));
            }
            if !guide.contains(&format!("\"{label}\"")) {
                complaints.push(format!("{}: src/guide.rs does not say where [{label}] is on docs.rs", page.path));
            }
        }
        let inline = page.prose.split("](").skip(1).filter_map(|rest| rest.split(')').next());
        for link in inline.filter(|link| !link.starts_with('#') && !is_elsewhere(link)) {
            complaints
                .push(format!("{}: ({link}) is dead on docs.rs: write [words][path] and [path]: {link}", page.path));
        }
    }

    assert!(complaints.is_empty(), "\n{}", complaints.join("\n"));
}

#[test]
fn every_file_that_the_crate_is_said_to_have_in_its_repository_is_there() {
    let first_page = text("src/lib.rs");

    let named: Vec<_> = first_page.split("/blob/HEAD/").skip(1).filter_map(|rest| rest.split('"').next()).collect();

    assert!(!named.is_empty(), "src/lib.rs links into the repository");
    assert!(named.iter().all(|path| root().join(path).is_file()), "{named:?}");
}

#[test]
fn every_diagram_is_what_its_text_makes_and_is_shown() {
    let check = Command::new(root().join("docs/diagrams/make")).arg("--check").output().expect("a shell");
    let texts = files("docs/diagrams", ".puml");
    let page = Page::read("docs/how-it-works.md");

    let not_shown: Vec<_> = texts
        .iter()
        .map(|name| format!("diagrams/{}", name.replace(".puml", ".svg")))
        .filter(|drawing| !page.links().contains(&drawing.as_str()))
        .collect();

    assert!(check.status.success(), "{}", String::from_utf8_lossy(&check.stderr));
    assert!(!texts.is_empty() && not_shown.is_empty(), "docs/how-it-works.md does not show {not_shown:?}");
}

#[test]
fn headings_are_named_as_github_names_them() {
    assert_eq!(anchor("What is sealed, and what stands in clear"), "what-is-sealed-and-what-stands-in-clear");
    assert_eq!(anchor("Redis' `TIME` and on_store_outage"), "redis-time-and-on_store_outage");
}

#[test]
fn links_in_code_are_none() {
    let page = Page {
        path: "docs/page.md".to_owned(),
        prose: without_code("a [`b`](c.md) `[d](e.md)`\n```\n[f](g.md)\n```\n[h]: i.md\n"),
    };

    assert_eq!(page.links(), ["c.md", "i.md"]);
    assert_eq!(page.resolved("../lua/README.md"), Some(PathBuf::from("lua/README.md")));
    assert_eq!(page.resolved("../../elsewhere"), None);
}
