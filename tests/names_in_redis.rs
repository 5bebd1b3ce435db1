//! lua/README.md lists what stands in Redis, and nothing else: every script, every key, every field of every hash.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

type Names = BTreeSet<String>;

fn text(path: &str) -> String {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The scripts in a directory, by path from the root of the repository.
fn scripts(dir: &str) -> Vec<String> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(dir);
    let files = std::fs::read_dir(path).expect("the directory").map(|file| file.expect("a file").file_name());
    let files = files.map(|name| name.into_string().expect("a plain name"));
    files.filter(|name| name.ends_with(".lua")).map(|name| format!("{dir}/{name}")).collect()
}

/// The names in the first column of the table that follows a line: `ended:<client>` is `ended:`.
fn listed(readme: &str, line: &str) -> Names {
    let mut lines = readme.lines().skip_while(|there| *there != line).skip(1).skip_while(|there| there.is_empty());
    assert!(lines.next().is_some_and(|head| head.starts_with("| ")), "no table after {line:?}");
    let rows = lines.skip(1).map_while(|row| row.strip_prefix("| "));
    let names = rows.flat_map(|row| row.split(" | ").next().expect("a column").split('`').skip(1).step_by(2));
    names.map(|name| name.split('<').next().expect("a name").to_owned()).collect()
}

/// What a script writes into hashes: the key's name in the script, and the field. `'probe:' .. fence` is `probe:`.
fn written(script: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for command in ["'HSET', ", "'HINCRBY', "] {
        for (at, _) in script.match_indices(&format!("redis.call({command}")) {
            let arguments = arguments(&script[at + "redis.call(".len()..]);
            let fields = arguments[2..].iter().step_by(2);
            let fields = if command.starts_with("'HINCRBY'") { fields.take(1) } else { fields.take(usize::MAX) };
            found.extend(fields.map(|field| (arguments[1].clone(), field.clone())));
        }
    }
    found
}

/// The arguments of a call, up to its closing parenthesis.
fn arguments(call: &str) -> Vec<String> {
    let mut all = vec![String::new()];
    let mut depth = 0;
    for c in call.chars() {
        match c {
            ')' if depth == 0 => return all.iter().map(|argument| argument.trim().to_owned()).collect(),
            ',' if depth == 0 => {
                all.push(String::new());
                continue;
            }
            '(' => depth += 1,
            ')' => depth -= 1,
            _ => {}
        }
        all.last_mut().expect("one at least").push(c);
    }
    panic!("the call does not end: {call}");
}

/// The hashes, and what the scripts write into them.
fn fields() -> BTreeMap<&'static str, Names> {
    let mut fields = BTreeMap::<_, Names>::new();
    for path in [scripts("lua"), scripts("lua/lib")].concat() {
        for (key, field) in written(&text(&path)) {
            // Puts stamps right that others wrote.
            if path == "lua/lib/stamps.lua" && field == "field" {
                continue;
            }
            // Members of `permits`, as the table of keys says.
            if path == "lua/lib/permits.lua" && key == "shares_key(budget)" {
                continue;
            }
            // Pods, as the table of keys says.
            if key == "waits" {
                continue;
            }
            // By entry, as the table of keys says.
            if path == "lua/lib/land_family.lua" && key == "keys.answers" {
                continue;
            }
            let hash = match (path.as_str(), key.as_str()) {
                (_, "flight")
                | ("lua/follow.lua", "newest_key")
                | ("lua/lib/land_family.lua", "keys.link" | "key")
                | ("lua/lib/hold.lua", "place.link")
                | ("lua/lib/held.lua", "next_flight")
                | ("lua/complete.lua", "link")
                | ("lua/lib/wake.lua", "link")
                | ("lua/follow.lua" | "lua/tell.lua" | "lua/tip.lua", "link" | "next_key") => "flight:<flight>",
                // In both: the flight's is written with its link, too.
                ("lua/lib/held.lua", "key") | ("lua/lib/hold.lua", "place.held") | ("lua/tip.lua", "held") => {
                    "held:<flight>"
                }
                ("lua/lib/way.lua", "next_key") => "flight:<flight>",
                ("lua/follow.lua", "family_key")
                | ("lua/lib/family.lua", "key")
                | ("lua/lib/land_family.lua", "keys.family")
                | ("lua/lib/wake.lua" | "lua/lib/end_claims.lua" | "lua/lib/end_family.lua", "family") => "family:<id>",
                ("lua/begin.lua", "attempts")
                | ("lua/lib/attempts.lua" | "lua/lib/charge.lua" | "lua/lib/session.lua", "key" | "attempts") => {
                    "attempts:<session>"
                }
                ("lua/lib/circuit.lua" | "lua/lib/health.lua", "key") => "circuit",
                ("lua/lib/note.lua" | "lua/lib/note_client.lua", "known") => "known",
                ("lua/meta.lua", "meta") => "meta",
                _ => panic!("{path} writes {field} into {key}: which hash is that?"),
            };
            let names = match field.strip_prefix('\'').and_then(|rest| rest.split_once('\'')) {
                Some((name, after)) => {
                    assert_eq!(name.ends_with(':'), !after.is_empty(), "{path}: {field}");
                    vec![name.to_owned()]
                }
                None => panic!("{path}: what field is {field}?"),
            };
            fields.entry(hash).or_default().extend(names);
        }
    }
    fields
}

#[test]
fn every_script_is_in_the_table() {
    let there = scripts("lua").into_iter().map(|path| path.trim_start_matches("lua/").to_owned()).collect::<Names>();

    let readme = text("lua/README.md").replace("| script |", "The scripts:\n\n| script |");

    assert_eq!(listed(&readme, "The scripts:"), there);
}

#[test]
fn every_key_is_in_the_table() {
    let keys = text("src/store/redis/keys.rs");
    let spelled = keys.match_indices("\"{}").map(|(at, start)| &keys[at + start.len()..]);
    // `{}{pod}` is a channel, whose prefix is spelled, too.
    let spelled =
        spelled.map(|key| &key[..key.find(['{', '"']).expect("the literal ends")]).filter(|key| !key.is_empty());
    // Not a key, but all of them.
    let spelled = spelled.filter(|key| *key != "*");
    let spelled = spelled.map(str::to_owned).collect::<Names>();

    let readme = text("lua/README.md").replace("| key |", "The keys:\n\n| key |");

    assert_eq!(listed(&readme, "The keys:"), spelled);
}

#[test]
fn every_field_is_in_the_table_of_its_hash() {
    let readme = text("lua/README.md");
    let fields = fields();
    assert_eq!(fields.len(), readme.matches("\nThe fields of `").count(), "{fields:?}");

    for (hash, fields) in fields {
        assert_eq!(listed(&readme, &format!("The fields of `{hash}`:")), fields, "the fields of {hash}");
    }
}

#[test]
fn inspect_reads_fields_that_are_written() {
    let fields = fields();
    let inspect = text("lua/inspect.lua");
    let from = |start: &str, end: &str| {
        let (_, rest) = inspect.split_once(start).unwrap_or_else(|| panic!("no {start}"));
        rest.split_once(end).unwrap_or_else(|| panic!("no {end}")).0.to_owned()
    };

    for (hash, name, part) in [
        ("flight:<flight>", "record.", from("local function tell_what_was_known", "local function tell_session")),
        ("family:<id>", "family.", from("local function tell_family", "local function tell_what_was_known")),
        ("attempts:<session>", "session.", from("local function tell_session", "-- The circuit:")),
        ("circuit", "record.", from("local function tell_circuit", "-- The budget:")),
        ("meta", "register.", from("local function tell_register", "local function tell_fleet")),
    ] {
        let is_name = |c: char| c.is_ascii_lowercase() || c == '_';
        let by_name = part.match_indices(name).map(|(at, _)| {
            let field = &part[at + name.len()..];
            &field[..field.find(|c| !is_name(c)).unwrap_or(field.len())]
        });
        let by_prefix = part.match_indices("fields_after(order, '").map(|(at, start)| {
            let prefix = &part[at + start.len()..];
            &prefix[..prefix.find('\'').expect("the literal ends")]
        });
        let read: Names = by_name.chain(by_prefix).map(str::to_owned).collect();

        let unknown: Vec<_> = read.difference(&fields[hash]).collect();
        assert!(read.len() >= 2 && unknown.is_empty(), "{hash}: reads {read:?}, which nobody writes: {unknown:?}");
    }
}
