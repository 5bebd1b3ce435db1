//! Values of the file as the texts that their flag would be given.

use clap::{Arg, ArgAction};
use toml::de::DeValue;

/// Else what is expected.
pub(super) fn texts(flag: &Arg, value: &DeValue<'_>) -> Result<Vec<String>, &'static str> {
    match (flag.get_action(), value) {
        (ArgAction::SetTrue, DeValue::Boolean(is_set)) => Ok(vec![is_set.to_string()]),
        (ArgAction::SetTrue, _) => Err("true or false is expected"),
        (ArgAction::Append, DeValue::Array(values)) => values.iter().map(|value| one(value.get_ref())).collect(),
        (_, DeValue::Array(_)) => Err("one value is expected, no list"),
        (_, value) => Ok(vec![one(value)?]),
    }
}

fn one(value: &DeValue<'_>) -> Result<String, &'static str> {
    const EXPECTED: &str = "a text in quotes or a whole number is expected";
    match value {
        DeValue::String(text) => Ok(text.to_string()),
        DeValue::Integer(number) => {
            let number = i64::from_str_radix(number.as_str(), number.radix());
            number.map(|number| number.to_string()).map_err(|_| EXPECTED)
        }
        DeValue::Float(_) | DeValue::Boolean(_) | DeValue::Datetime(_) | DeValue::Array(_) | DeValue::Table(_) => {
            Err(EXPECTED)
        }
    }
}
