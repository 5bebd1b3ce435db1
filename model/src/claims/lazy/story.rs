//! What Redis holds, in words.

use super::super::action::name;
use super::course::Course;
use super::redis::{Entry, Family, Keys};

/// The record of a token, and what is held for it.
pub fn tell_token(keys: &Keys, token: u8) -> String {
    let mut text = String::new();
    if let Some(it) = keys.record(token) {
        text += &format!("flight of T{token}: {:?} by {:?}", it.stage, it.claim);
        if it.generation > 0 {
            text += &format!(", place {}, used {}, given {}, to {:?}", it.generation, it.used, it.given, it.to);
        }
        if it.family > 0 {
            let key = if it.key > 0 { "with its key" } else { "without a key" };
            text += &format!(", family of T{} {key}", it.family);
        }
    }
    if let Some(it) = keys.held(token) {
        text += &format!("; held for T{token}: the answer of {:?} with T{}, used {}", it.claim, it.next, it.used);
    }
    text
}

/// All families.
pub fn tell_families(keys: &Keys) -> String {
    keys.families().map(tell_family).collect::<Vec<_>>().join("; ")
}

fn tell_family(family: &Family) -> String {
    let newest = family.newest.map_or("none".to_owned(), |it| format!("T{} at {}", it.token, it.place));
    let mut text = format!("family of T{}: newest {newest}, used {}", family.id, family.used);
    for Entry { name, came, given, is_good, life, .. } in family.entries.iter().flatten() {
        let over = if *is_good { " (good)" } else { "" };
        text += &format!("; {name:?} came {came}, given {given}{over}, lives {life}");
    }
    if let Some(called) = family.called {
        text += &format!("; called is {}", name(usize::from(called)));
    }
    text
}

/// As what a flight comes.
pub fn tell_course(course: &Course) -> String {
    let follows = if course.is_following { ", among claims" } else { "" };
    format!(" ({:?}{follows})", course.coming)
}
