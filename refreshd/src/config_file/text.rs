//! The text of the file: tables of keys that there are, with values as flags take them.

use std::collections::BTreeMap;
use std::ops::Range;

use clap::Arg;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::keys::{Scope, key, nearest, scope};
use super::values;

/// What the file says, before anything is read from it.
pub(super) struct File {
    /// What stands above all tables.
    pub(super) common: Table,
    /// By name.
    pub(super) providers: BTreeMap<String, Table>,
}

pub(super) struct Table {
    /// Where it begins.
    pub(super) line: usize,
    /// By key.
    pub(super) values: BTreeMap<String, Value>,
}

pub(super) struct Value {
    /// Several where the flag may be given several times.
    pub(super) texts: Vec<String>,
    pub(super) line: usize,
}

/// What cannot be meant, at which line.
#[derive(Debug)]
pub(super) struct Wrong {
    pub(super) line: usize,
    pub(super) what: String,
}

/// The table that the tables of providers stand in.
const PROVIDER: &str = "provider";

pub(super) fn read(text: &str, flags: &[&Arg]) -> Result<File, Wrong> {
    let reader = Reader { text, flags };
    let whole = DeTable::parse(text).map_err(|error| {
        // Its message alone: the text beside it may be a password.
        reader.wrong(error.span().unwrap_or_default(), format!("this is no TOML: {}", error.message()))
    })?;
    let (mut common, mut providers) = (Table { line: 1, values: BTreeMap::new() }, BTreeMap::new());
    for (name, value) in whole.get_ref() {
        if name.get_ref() == PROVIDER {
            providers = reader.providers(value)?;
        } else {
            reader.insert(&mut common, Place::Above, name, value)?;
        }
    }
    Ok(File { common, providers })
}

#[derive(Clone, Copy)]
enum Place<'a> {
    Above,
    Provider(&'a str),
}

struct Reader<'a> {
    text: &'a str,
    flags: &'a [&'a Arg],
}

impl Reader<'_> {
    fn providers(&self, value: &Spanned<DeValue<'_>>) -> Result<BTreeMap<String, Table>, Wrong> {
        let expected = "a table for each provider is expected: [provider.NAME]";
        let DeValue::Table(tables) = value.get_ref() else {
            return Err(self.wrong(value.span(), expected.to_owned()));
        };
        let mut providers = BTreeMap::new();
        for (name, value) in tables {
            let DeValue::Table(table) = value.get_ref() else {
                return Err(self.wrong(name.span(), expected.to_owned()));
            };
            let at = name.span();
            let name = name.get_ref().to_string();
            let is_name = (1..=64).contains(&name.len())
                && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte));
            if !is_name {
                let what = format!("provider {name:?}: its name must be 1 to 64 characters of A-Z a-z 0-9 . _ -");
                return Err(self.wrong(at, what));
            }
            let mut own = Table { line: self.line(at), values: BTreeMap::new() };
            for (key, value) in table {
                self.insert(&mut own, Place::Provider(&name), key, value)?;
            }
            providers.insert(name, own);
        }
        Ok(providers)
    }

    fn insert(
        &self,
        table: &mut Table,
        place: Place<'_>,
        name: &Spanned<impl AsRef<str>>,
        value: &Spanned<DeValue<'_>>,
    ) -> Result<(), Wrong> {
        let (text, at) = (name.get_ref().as_ref(), name.span());
        let flag = self.flags.iter().find(|flag| key(flag) == Some(text));
        let Some(flag) = flag else {
            return Err(self.wrong(at, self.unknown(place, text)));
        };
        match (place, scope(flag)) {
            (Place::Above, Scope::Own) => {
                let what = format!("{text} is each provider's own: say it below its [provider.NAME]");
                return Err(self.wrong(at, what));
            }
            (Place::Provider(_), Scope::Shared) => {
                let what = format!("{text} is shared by all providers: say it above the first [provider.NAME]");
                return Err(self.wrong(at, what));
            }
            (Place::Above | Place::Provider(_), Scope::Shared | Scope::Own | Scope::Each) => {}
        }
        let texts = values::texts(flag, value.get_ref())
            .map_err(|expected| self.wrong(value.span(), format!("{text}: {expected}")))?;
        table.values.insert(text.to_owned(), Value { texts, line: self.line(at) });
        Ok(())
    }

    /// The key that was meant, of those that may stand there.
    fn unknown(&self, place: Place<'_>, wrong: &str) -> String {
        let fits = |flag: &&&Arg| match place {
            Place::Above => scope(flag) != Scope::Own,
            Place::Provider(_) => scope(flag) != Scope::Shared,
        };
        let keys = self.flags.iter().filter(fits).filter_map(|flag| key(flag));
        let above = matches!(place, Place::Above).then_some(PROVIDER);
        let renamed = self.flags.iter().find(|flag| flag.get_long() == Some(wrong)).and_then(|flag| key(flag));
        let likely = match renamed.or_else(|| nearest(wrong, keys.chain(above))) {
            Some(PROVIDER) => "is [provider.NAME] meant?".to_owned(),
            Some(key) => format!("is {key} meant?"),
            None => "keys are the flags of `refreshd serve --help`, without --".to_owned(),
        };
        match place {
            Place::Above => format!("there is no key {wrong}: {likely}"),
            Place::Provider(name) => format!("provider {name}: there is no key {wrong}: {likely}"),
        }
    }

    fn wrong(&self, at: Range<usize>, what: String) -> Wrong {
        Wrong { line: self.line(at), what }
    }

    fn line(&self, at: Range<usize>) -> usize {
        let before = &self.text.as_bytes()[..at.start.min(self.text.len())];
        before.iter().filter(|byte| **byte == b'\n').count() + 1
    }
}
