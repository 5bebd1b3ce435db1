//! Words: values as people write them in a file or a variable: `30s`, `64KiB`. For serde's `with`.

/// A duration with its unit: `100ms`, `30s`, `1m 30s`, `1h`. Zero is `0`.
pub(crate) mod time {
    use std::fmt;
    use std::time::Duration;

    use serde::de::{self, Unexpected, Visitor};
    use serde::{Deserializer, Serializer};

    pub(crate) fn serialize<S: Serializer>(time: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&humantime::format_duration(*time))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        deserializer.deserialize_str(Written)
    }

    struct Written;

    impl Visitor<'_> for Written {
        type Value = Duration;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a time with its unit, such as 100ms, 30s or 5m")
        }

        fn visit_str<E: de::Error>(self, text: &str) -> Result<Duration, E> {
            humantime::parse_duration(text).map_err(|_| E::invalid_value(Unexpected::Str(text), &self))
        }
    }
}

/// The same, or none.
pub(crate) mod time_or_none {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer};

    #[derive(Deserialize)]
    struct Written(#[serde(with = "super::time")] Duration);

    #[expect(clippy::ref_option, reason = "serde hands it over so")]
    pub(crate) fn serialize<S: Serializer>(time: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
        match time {
            Some(time) => super::time::serialize(time, serializer),
            None => serializer.serialize_none(),
        }
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
        Ok(Option::<Written>::deserialize(deserializer)?.map(|written| written.0))
    }
}

/// A number of bytes: `65536`, `64KiB`, `1MiB`.
pub(crate) mod size {
    use std::fmt;

    use serde::de::{self, Unexpected, Visitor};
    use serde::{Deserializer, Serializer};

    const UNITS: [(&str, usize); 3] = [("MiB", 1024 * 1024), ("KiB", 1024), ("B", 1)];

    pub(crate) fn serialize<S: Serializer>(bytes: &usize, serializer: S) -> Result<S::Ok, S::Error> {
        let (unit, factor) = UNITS.into_iter().find(|(_, factor)| bytes.is_multiple_of(*factor)).unwrap_or(("B", 1));
        serializer.collect_str(&format_args!("{}{unit}", bytes / factor))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<usize, D::Error> {
        deserializer.deserialize_any(Written)
    }

    struct Written;

    impl Visitor<'_> for Written {
        type Value = usize;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a number of bytes, such as 65536, 64KiB or 1MiB")
        }

        fn visit_u64<E: de::Error>(self, bytes: u64) -> Result<usize, E> {
            usize::try_from(bytes).map_err(|_| E::invalid_value(Unexpected::Unsigned(bytes), &self))
        }

        fn visit_i64<E: de::Error>(self, bytes: i64) -> Result<usize, E> {
            usize::try_from(bytes).map_err(|_| E::invalid_value(Unexpected::Signed(bytes), &self))
        }

        fn visit_str<E: de::Error>(self, text: &str) -> Result<usize, E> {
            let unit = UNITS.iter().find_map(|(unit, factor)| Some((text.strip_suffix(unit)?.trim_end(), *factor)));
            let (digits, factor) = unit.unwrap_or((text, 1));
            let bytes = digits.parse::<usize>().ok().and_then(|number| number.checked_mul(factor));
            bytes.ok_or_else(|| E::invalid_value(Unexpected::Str(text), &self))
        }
    }
}

/// A text that no error quotes, whatever stands there instead.
pub(crate) mod secret {
    use std::fmt;

    use serde::Deserializer;
    use serde::de::{self, Visitor};

    use crate::secret::Secret;

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Secret>, D::Error> {
        deserializer.deserialize_option(Written)
    }

    struct Written;

    /// As serde would say it, without the value.
    fn not_a_text<T, E: de::Error>() -> Result<T, E> {
        Err(E::custom("a secret must be a text: put it in quotes"))
    }

    impl<'de> Visitor<'de> for Written {
        type Value = Option<Secret>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a text")
        }

        fn visit_none<E: de::Error>(self) -> Result<Self::Value, E> {
            Ok(None)
        }

        fn visit_unit<E: de::Error>(self) -> Result<Self::Value, E> {
            Ok(None)
        }

        fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
            deserializer.deserialize_any(self)
        }

        fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
            Ok(Some(Secret::from(text)))
        }

        fn visit_string<E: de::Error>(self, text: String) -> Result<Self::Value, E> {
            Ok(Some(Secret::from(text)))
        }

        fn visit_bool<E: de::Error>(self, _: bool) -> Result<Self::Value, E> {
            not_a_text()
        }

        fn visit_i64<E: de::Error>(self, _: i64) -> Result<Self::Value, E> {
            not_a_text()
        }

        fn visit_u64<E: de::Error>(self, _: u64) -> Result<Self::Value, E> {
            not_a_text()
        }

        fn visit_f64<E: de::Error>(self, _: f64) -> Result<Self::Value, E> {
            not_a_text()
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde::{Deserialize, Serialize};

    use crate::secret::Secret;

    #[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
    #[serde(default)]
    struct Values {
        #[serde(with = "super::time")]
        time: Duration,
        #[serde(with = "super::time_or_none")]
        or_none: Option<Duration>,
        #[serde(with = "super::size")]
        size: usize,
    }

    fn read(json: &str) -> Result<Values, String> {
        serde_json::from_str(json).map_err(|error| error.to_string())
    }

    #[test]
    fn times_and_sizes_are_read_as_people_write_them_and_written_so() {
        let values = read(r#"{"time":"1m 30s","or_none":"100ms","size":"64KiB"}"#).expect("all three");

        assert_eq!(
            values,
            Values { time: Duration::from_secs(90), or_none: Some(Duration::from_millis(100)), size: 65536 }
        );
        let json = serde_json::to_string(&values).expect("JSON");
        assert_eq!(json, r#"{"time":"1m 30s","or_none":"100ms","size":"64KiB"}"#);
        assert_eq!(read(r#"{"time":"0","or_none":null,"size":0}"#), Ok(Values::default()));
        assert_eq!(read(r#"{"size":"1 MiB"}"#).expect("with a blank").size, 1024 * 1024);
        for size in [0, 1, 1000, 65536, 3 * 1024 * 1024] {
            let json = serde_json::to_string(&Values { size, ..Values::default() }).expect("JSON");
            assert_eq!(read(&json).expect("the same").size, size, "{json}");
        }
    }

    #[test]
    fn value_without_unit_or_of_another_kind_is_refused() {
        for (json, said) in [
            (
                r#"{"time":"30"}"#,
                r#"invalid value: string "30", expected a time with its unit, such as 100ms, 30s or 5m"#,
            ),
            (r#"{"time":30}"#, "invalid type: integer `30`, expected a time with its unit"),
            (r#"{"or_none":"soon"}"#, r#"invalid value: string "soon", expected a time with its unit"#),
            (
                r#"{"size":"1kb"}"#,
                r#"invalid value: string "1kb", expected a number of bytes, such as 65536, 64KiB or 1MiB"#,
            ),
            (r#"{"size":"99999999999999999999"}"#, "expected a number of bytes"),
            (r#"{"size":-1}"#, "invalid value: integer `-1`, expected a number of bytes"),
        ] {
            let error = read(json).expect_err(json);
            assert!(error.contains(said), "{json}: {error}");
        }
    }

    #[test]
    fn secret_that_is_no_text_is_not_quoted() {
        #[derive(Debug, Deserialize)]
        struct Pepper {
            #[serde(default, deserialize_with = "super::secret::deserialize")]
            pepper: Option<Secret>,
        }

        for pepper in ["4711", "-4711", "4711.5"] {
            let error = serde_json::from_str::<Pepper>(&format!(r#"{{"pepper":{pepper}}}"#)).expect_err(pepper);
            let error = error.to_string();
            assert!(error.starts_with("a secret must be a text") && !error.contains("4711"), "{error}");
        }
        let read = |json| serde_json::from_str::<Pepper>(json).expect("a pepper").pepper;
        assert_eq!(read(r#"{"pepper":"47\n11"}"#).expect("a text").expose(), "47\n11");
        assert!(read(r#"{"pepper":null}"#).is_none() && read("{}").is_none());
    }
}
