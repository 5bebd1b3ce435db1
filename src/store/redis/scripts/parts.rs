//! Parts of a script that it makes only on the way that needs them: where it says `-- PARTS HERE: budget queue`.
//!
//! A function of `lua/lib/` is made anew at every call of the script, with what it refers to, and thrown away after it. That is
//! as dear as half of a small command, and most refreshes need no queue, no circuit and no cooldown. So the two scripts that
//! run for each of them name the parts in the branch that calls them; the text of a part may stand in a script twice.

macro_rules! parts {
    ($($name:ident)*) => {
        [$((stringify!($name), include_str!(concat!("../../../../lua/lib/", stringify!($name), ".lua")))),*]
    };
}

const PARTS: [(&str, &str); 46] = parts!(
    accounts again attempts begun budget charge circuit clients clock end_family ended family fields flight follows freed hash health held hold in_use incarnation join
    keep known land_family lines login names namespace note note_client permits plain queue record register run_id server session spans stamps turns untold waiting wake
);

const MARK: &str = "-- PARTS HERE: ";

/// The text of a script with its parts in place of the marks.
pub(super) fn put_into(text: &str) -> String {
    let mut whole = String::new();
    for line in text.lines() {
        match line.trim_start().strip_prefix(MARK) {
            Some(names) => names.split(' ').for_each(|name| whole.push_str(&put_into(part(name)))),
            None => {
                whole.push_str(line);
                whole.push('\n');
            }
        }
    }
    whole
}

fn part(name: &str) -> &'static str {
    let part = PARTS.iter().find(|(there, _)| *there == name);
    part.unwrap_or_else(|| panic!("BUG: a script names the part {name}, which is not in lua/lib")).1
}
