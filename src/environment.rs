//! Words: settings from the environment. Any struct that serde reads can be read so: its fields are the names of variables.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::str::FromStr;

use serde::Deserializer;
use serde::de::value::{MapDeserializer, SeqDeserializer, StringDeserializer};
use serde::de::{self, DeserializeOwned, IntoDeserializer, Visitor};
use serde::forward_to_deserialize_any;

use crate::config_error::ConfigError;

/// Why settings could not be read from the environment. Prints as one line that names the variable.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EnvironmentError {
    /// A variable with the prefix that no setting is called by.
    #[error("{variable} is no setting")]
    Unknown {
        /// Its name.
        variable: String,
    },
    /// The value of a variable is not UTF-8.
    #[error("{variable} is not UTF-8")]
    NotUnicode {
        /// Its name.
        variable: String,
    },
    /// The value of a variable cannot be read.
    #[error("{variable}: {reason}")]
    Unreadable {
        /// Its name.
        variable: String,
        /// What was expected. It quotes the value, unless that is secret.
        reason: String,
    },
    /// A value that could be read, and that the settings do not allow.
    #[error(transparent)]
    Impossible(#[from] ConfigError),
}

/// Reads those of these variables that begin with the prefix.
pub(crate) fn read<T: DeserializeOwned>(
    prefix: &str,
    variables: impl Iterator<Item = (OsString, OsString)>,
) -> Result<T, EnvironmentError> {
    let mut found = Vec::new();
    for (name, value) in variables {
        let name = name.to_string_lossy().into_owned();
        let Some(rest) = name.strip_prefix(prefix) else { continue };
        let rest = rest.to_owned();
        let Ok(value) = value.into_string() else { return Err(EnvironmentError::NotUnicode { variable: name }) };
        found.push(Variable { name, rest, value });
    }
    T::deserialize(Group(found)).map_err(|wrong| match wrong {
        Wrong::Known(error) => error,
        Wrong::Said(reason) => EnvironmentError::Unreadable { variable: format!("{prefix}..."), reason },
    })
}

#[derive(Clone)]
struct Variable {
    name: String,
    /// What of its name is not read yet.
    rest: String,
    value: String,
}

impl Variable {
    fn unknown(&self) -> Wrong {
        Wrong::Known(EnvironmentError::Unknown { variable: self.name.clone() })
    }
}

/// What serde says has no variable until it is known which was read.
#[derive(Debug)]
enum Wrong {
    Known(EnvironmentError),
    Said(String),
}

impl Wrong {
    fn of(self, variable: &str) -> Self {
        match self {
            Self::Known(_) => self,
            Self::Said(reason) => Self::Known(EnvironmentError::Unreadable { variable: variable.to_owned(), reason }),
        }
    }
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Known(error) => error.fmt(f),
            Self::Said(reason) => f.write_str(reason),
        }
    }
}

impl std::error::Error for Wrong {}

impl de::Error for Wrong {
    fn custom<T: fmt::Display>(reason: T) -> Self {
        Self::Said(reason.to_string())
    }
}

/// The variables of a struct.
struct Group(Vec<Variable>);

impl<'de> Deserializer<'de> for Group {
    type Error = Wrong;

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Wrong> {
        let mut given: BTreeMap<&'static str, Setting> = BTreeMap::new();
        for mut variable in self.0 {
            // The longest name: `UNCERTAIN_MEMORY` is not `MEMORY` of `UNCERTAIN`.
            let field = fields.iter().filter(|field| below(&variable.rest, field).is_some()).max_by_key(|f| f.len());
            let Some(field) = field else { return Err(variable.unknown()) };
            let setting = given.entry(field).or_default();
            match below(&variable.rest, field) {
                Some(rest) if !rest.is_empty() => {
                    variable.rest = rest.to_owned();
                    setting.below.push(variable);
                }
                Some(_) | None => setting.itself = Some(variable),
            }
        }
        visitor.visit_map(MapDeserializer::new(given.into_iter()))
    }

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Wrong> {
        unreachable!("BUG: settings are structs with named fields")
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 u8 u16 u32 u64 f32 f64 char str string bytes byte_buf option unit unit_struct newtype_struct seq
        tuple tuple_struct map enum identifier ignored_any
    }
}

/// What of the name lies below this field: nothing where it is the field itself, none where it is another.
fn below<'a>(name: &'a str, field: &str) -> Option<&'a str> {
    let rest = name.strip_prefix(&field.to_ascii_uppercase())?;
    if rest.is_empty() { Some(rest) } else { rest.strip_prefix('_').filter(|rest| !rest.is_empty()) }
}

/// What the environment says of one field.
#[derive(Default)]
struct Setting {
    itself: Option<Variable>,
    /// Where the field is a struct: its own fields.
    below: Vec<Variable>,
}

impl Setting {
    /// The one variable of a field that is no struct.
    fn single(self) -> Result<Variable, Wrong> {
        match (self.below.first(), self.itself) {
            (Some(variable), _) => Err(variable.unknown()),
            (None, Some(variable)) => Ok(variable),
            (None, None) => unreachable!("BUG: a field without variables is not read"),
        }
    }

    fn number<N: FromStr>(self) -> Result<(N, Variable), Wrong> {
        let variable = self.single()?;
        let Ok(number) = variable.value.trim().parse() else {
            return Err(
                Wrong::Said(format!("{:?} is no whole number that it could be", variable.value)).of(&variable.name)
            );
        };
        Ok((number, variable))
    }
}

impl<'de> IntoDeserializer<'de, Wrong> for Setting {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

macro_rules! numbers {
    ($($deserialize:ident $visit:ident,)*) => {
        $(
            fn $deserialize<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Wrong> {
                let (number, variable) = self.number()?;
                visitor.$visit(number).map_err(|wrong: Wrong| wrong.of(&variable.name))
            }
        )*
    };
}

impl<'de> Deserializer<'de> for Setting {
    type Error = Wrong;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Wrong> {
        let Variable { name, value, .. } = self.single()?;
        visitor.visit_string(value).map_err(|wrong: Wrong| wrong.of(&name))
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Wrong> {
        let Variable { name, value, .. } = self.single()?;
        match value.parse() {
            Ok(is) => visitor.visit_bool(is),
            Err(_) => Err(Wrong::Said(format!("{value:?} is neither true nor false"))),
        }
        .map_err(|wrong: Wrong| wrong.of(&name))
    }

    numbers! {
        deserialize_u8 visit_u8,
        deserialize_u16 visit_u16,
        deserialize_u32 visit_u32,
        deserialize_u64 visit_u64,
        deserialize_i8 visit_i8,
        deserialize_i16 visit_i16,
        deserialize_i32 visit_i32,
        deserialize_i64 visit_i64,
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Wrong> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, Wrong> {
        visitor.visit_newtype_struct(self)
    }

    /// Texts with commas between them, or as a JSON array where one holds a comma.
    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Wrong> {
        let Variable { name, value, .. } = self.single()?;
        let texts: Vec<String> = if value.trim_start().starts_with('[') {
            serde_json::from_str(&value)
                .map_err(|error| Wrong::Said(format!("no JSON array of texts: {error}")).of(&name))?
        } else {
            value.split(',').map(|text| text.trim().to_owned()).collect()
        };
        visitor.visit_seq(SeqDeserializer::new(texts.into_iter())).map_err(|wrong: Wrong| wrong.of(&name))
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Wrong> {
        let variable = self.single()?;
        let value: StringDeserializer<Wrong> = variable.value.into_deserializer();
        value.deserialize_enum(name, variants, visitor).map_err(|wrong| wrong.of(&variable.name))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Wrong> {
        match self.itself {
            // It has no value of its own.
            Some(variable) => Err(variable.unknown()),
            None => Group(self.below).deserialize_struct(name, fields, visitor),
        }
    }

    forward_to_deserialize_any! {
        f32 f64 char str string bytes byte_buf unit unit_struct tuple tuple_struct map identifier ignored_any
    }
}
