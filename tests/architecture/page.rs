//! What `docs/architecture.md` says: tables of rooms, and a table of the words that belong to one place.
//!
//! A table of rooms has the columns `room`, `files` and `may know`; a table of words has `in`, `words` and `only in`.
//! Further columns are for people. Of a cell counts what stands in backticks. A room may also know a heading: that is
//! every room below it. Rooms know only rooms that stand above them, so arrows can make no circle.

use crate::violation::Violation;

/// Where the page stands.
pub(crate) const PAGE: &str = "docs/architecture.md";

#[derive(Debug)]
pub(crate) struct Room {
    pub(crate) name: String,
    pub(crate) line: usize,
    /// The heading above its table, in lower case.
    heading: String,
    /// Files, and folders with `/` at their end.
    pub(crate) files: Vec<String>,
    /// Rooms and headings.
    pub(crate) knows: Vec<String>,
}

/// Words that stand in one place only.
#[derive(Debug)]
pub(crate) struct Reserved {
    pub(crate) line: usize,
    /// The folder that this is said of.
    pub(crate) within: String,
    pub(crate) words: ReservedWords,
    /// Files and folders, or `file#function`.
    pub(crate) places: Vec<String>,
}

#[derive(Debug)]
pub(crate) enum ReservedWords {
    Crates(Vec<String>),
    /// Parts of texts in quotes.
    Texts(Vec<String>),
}

#[derive(Default)]
pub(crate) struct Page {
    pub(crate) rooms: Vec<Room>,
    pub(crate) reserved: Vec<Reserved>,
    /// What cannot be meant.
    pub(crate) violations: Vec<Violation>,
}

#[derive(Clone, Copy)]
enum Table {
    Rooms,
    Words,
    Other,
}

impl Page {
    pub(crate) fn read(text: &str) -> Self {
        let mut page = Self::default();
        let (mut heading, mut table) = (String::new(), None);
        for (index, line) in text.lines().enumerate() {
            if let Some(text) = line.strip_prefix('#') {
                heading = text.trim_start_matches('#').trim().to_lowercase();
            }
            let Some(row) = line.strip_prefix('|') else {
                table = None;
                continue;
            };
            let cells: Vec<&str> = row.trim_end().trim_end_matches('|').split('|').map(str::trim).collect();
            match (table, &cells[..]) {
                (None, ["room", "files", "may know", ..]) => table = Some(Table::Rooms),
                (None, ["in", "words", "only in", ..]) => table = Some(Table::Words),
                (None, _) => table = Some(Table::Other),
                (Some(_), [first, ..]) if first.starts_with("--") => {}
                (Some(Table::Rooms), [name, files, knows, ..]) => page.rooms.push(Room {
                    name: in_backticks(name).concat(),
                    line: index + 1,
                    heading: heading.clone(),
                    files: in_backticks(files),
                    knows: in_backticks(knows),
                }),
                (Some(Table::Words), [within, words, places, ..]) => {
                    let all = in_backticks(words);
                    page.reserved.push(Reserved {
                        line: index + 1,
                        within: in_backticks(within).concat(),
                        words: if words.starts_with("crate") {
                            ReservedWords::Crates(all)
                        } else {
                            ReservedWords::Texts(all)
                        },
                        places: in_backticks(places),
                    });
                }
                (Some(Table::Rooms | Table::Words), _) => page.violation(index + 1, "a row with too few cells"),
                (Some(Table::Other), _) => {}
            }
        }
        page.judge();
        page
    }

    /// The rooms that a room or heading stands for.
    pub(crate) fn named(&self, name: &str) -> Vec<usize> {
        let is_named = |room: &Room| room.name == name || room.heading == name;
        (0..self.rooms.len()).filter(|room| is_named(&self.rooms[*room])).collect()
    }

    fn judge(&mut self) {
        if self.rooms.is_empty() {
            self.violation(1, "no table of rooms: give it the columns room, files, may know");
        }
        let mut wrong = Vec::new();
        for (index, room) in self.rooms.iter().enumerate() {
            if self.named(&room.name) != [index] {
                wrong.push((room.line, format!("`{}` is the name of more than one room or heading", room.name)));
            }
            for known in &room.knows {
                let rooms = self.named(known);
                if rooms.is_empty() {
                    wrong.push((
                        room.line,
                        format!("`{}` knows `{known}`, and no room or heading is called that", room.name),
                    ));
                } else if rooms.iter().any(|known| *known >= index) {
                    wrong.push((
                        room.line,
                        format!(
                            "`{}` knows `{known}`, which stands not above it: a room knows rooms above it only",
                            room.name
                        ),
                    ));
                }
            }
        }
        wrong.into_iter().for_each(|(line, message)| self.violation(line, &message));
    }

    fn violation(&mut self, line: usize, message: &str) {
        self.violations.push(Violation::new(PAGE, line, message));
    }
}

fn in_backticks(cell: &str) -> Vec<String> {
    cell.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

/// Whether a place of the page (a file, or a folder with `/` at its end) holds a file.
pub(crate) fn holds(place: &str, file: &str) -> bool {
    if place.ends_with('/') { file.starts_with(place) } else { file == place }
}
