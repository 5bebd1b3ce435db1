//! The three rules: no circles, imports along the arrows, words in their place.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::imports::{Imports, WordKind};
use crate::page::{PAGE, Page, Reserved, ReservedWords, holds};
use crate::source::Source;
use crate::violation::Violation;

/// The line of the first import between two files.
type Lines<'a> = BTreeMap<&'a str, BTreeMap<&'a str, usize>>;

/// Files that import each other, shortest circles first. A circle is left out while one of its imports is part of a
/// circle that is told already: mending that one mends it too, or lets it be told next.
pub(crate) fn circles(imports: &Imports) -> Vec<Violation> {
    let mut lines = Lines::new();
    for import in &imports.imports {
        lines.entry(&import.from).or_default().entry(&import.to).or_insert(import.line);
    }
    let mut circles: Vec<Vec<&str>> = Vec::new();
    for (from, targets) in &lines {
        let back = targets.keys().filter_map(|to| shortest(&lines, to, from));
        circles.extend(back.map(|back| std::iter::once(*from).chain(back).collect()));
    }
    circles.sort_by_key(Vec::len);

    let mut told = BTreeSet::new();
    let mut violations = Vec::new();
    for circle in circles {
        let steps: Vec<(&str, &str)> = circle.windows(2).map(|step| (step[0], step[1])).collect();
        if steps.iter().any(|step| told.contains(step)) {
            continue;
        }
        let way: Vec<String> = steps.iter().map(|(from, to)| format!("{from}:{} -> {to}", lines[from][to])).collect();
        let message =
            format!("files import each other: {}: move what both need into a file that knows neither", way.join(", "));
        violations.push(Violation::new(circle[0], lines[circle[0]][circle[1]], message));
        told.extend(steps);
    }
    violations
}

/// The files on the shortest way, with its ends.
fn shortest<'a>(lines: &Lines<'a>, from: &'a str, to: &str) -> Option<Vec<&'a str>> {
    let mut before: BTreeMap<&str, Option<&'a str>> = BTreeMap::from([(from, None)]);
    let mut next = VecDeque::from([from]);
    while let Some(file) = next.pop_front() {
        if file == to {
            let mut way: Vec<&str> = std::iter::successors(Some(file), |file| before[file]).collect();
            way.reverse();
            return Some(way);
        }
        for target in lines.get(file).into_iter().flat_map(BTreeMap::keys) {
            if !before.contains_key(target) {
                before.insert(target, Some(file));
                next.push_back(target);
            }
        }
    }
    None
}

/// Every file has one room, every import an arrow, and every room, file and arrow of the page is used.
pub(crate) fn arrows(page: &Page, source: &Source, imports: &Imports) -> Vec<Violation> {
    let mut violations = Vec::new();
    let mut room_of = BTreeMap::new();
    for file in source.files() {
        let rooms: Vec<usize> = (0..page.rooms.len())
            .filter(|room| page.rooms[*room].files.iter().any(|place| holds(place, file)))
            .collect();
        match rooms[..] {
            [room] => _ = room_of.insert(file, room),
            [] => violations.push(Violation::new(file, 1, format!("belongs to no room: name it in {PAGE}"))),
            _ => {
                let names: Vec<&str> = rooms.iter().map(|room| page.rooms[*room].name.as_str()).collect();
                let message = format!("belongs to several rooms ({}): keep one of them in {PAGE}", names.join(", "));
                violations.push(Violation::new(file, 1, message));
            }
        }
    }

    let mut used: BTreeSet<(usize, usize)> = BTreeSet::new();
    for import in &imports.imports {
        let (Some(from), Some(to)) = (room_of.get(import.from.as_str()), room_of.get(import.to.as_str())) else {
            continue;
        };
        used.insert((*from, *to));
        let knower = &page.rooms[*from];
        if from != to && !knower.knows.iter().any(|known| page.named(known).contains(to)) {
            let message = format!(
                "-> {}: `{}` may not know `{}`: move what it needs to a room that it may know, or draw the arrow in {PAGE}",
                import.to, knower.name, page.rooms[*to].name
            );
            violations.push(Violation::new(&import.from, import.line, message));
        }
    }

    for (index, room) in page.rooms.iter().enumerate() {
        for place in &room.files {
            if !source.files().any(|file| holds(place, file)) {
                let message = format!("`{}` has no file `{place}` that ships: take it out", room.name);
                violations.push(Violation::new(PAGE, room.line, message));
            }
        }
        for known in &room.knows {
            if !page.named(known).iter().any(|known| used.contains(&(index, *known))) {
                let message = format!("`{}` no longer imports anything of `{known}`: take the arrow out", room.name);
                violations.push(Violation::new(PAGE, room.line, message));
            }
        }
    }
    violations
}

/// Reserved words stand in their places only, and each place has one.
pub(crate) fn words(page: &Page, source: &Source, imports: &Imports) -> Vec<Violation> {
    let mut violations = Vec::new();
    for reserved in &page.reserved {
        let mut used = BTreeSet::new();
        for word in imports.words.iter().filter(|word| holds(&reserved.within, &word.file)) {
            let Some(found) = reserved.find(&word.kind) else { continue };
            let function = word.function.as_deref().unwrap_or_default();
            let is_here = |place: &&String| match place.split_once('#') {
                Some((file, name)) => file == word.file && name == function,
                None => holds(place, &word.file),
            };
            match reserved.places.iter().find(is_here) {
                Some(place) => _ = used.insert(place),
                None => {
                    let message =
                        format!("`{found}` stands only in {}: ask that place for it", reserved.places.join(", "));
                    violations.push(Violation::new(&word.file, word.line, message));
                }
            }
        }
        for place in reserved.places.iter().filter(|place| !used.contains(place)) {
            let message = format!("`{place}` holds none of these words: take it out");
            violations.push(Violation::new(PAGE, reserved.line, message));
        }
        if !source.files().any(|file| holds(&reserved.within, file)) {
            let message = format!("no file that ships stands in `{}`: take it out", reserved.within);
            violations.push(Violation::new(PAGE, reserved.line, message));
        }
    }
    violations
}

impl Reserved {
    /// Which of these words it is.
    fn find(&self, word: &WordKind) -> Option<&str> {
        let found = match (&self.words, word) {
            (ReservedWords::Crates(names), WordKind::Crate(name)) => names.iter().find(|reserved| *reserved == name),
            (ReservedWords::Texts(parts), WordKind::Text(text)) => parts.iter().find(|part| text.contains(*part)),
            (ReservedWords::Crates(_), WordKind::Text(_)) | (ReservedWords::Texts(_), WordKind::Crate(_)) => None,
        };
        found.map(String::as_str)
    }
}
