//! What something took when it was measured last, kept in `benches/instructions.json`: compared, and rewritten.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Mutex;

use serde_json::{Value, json};

/// How far a figure may be from its baseline, up or down.
const PERCENT: u64 = 3;

/// Measures the baselines anew.
const REWRITE: &str = "REWRITE_BASELINES=1 cargo test --manifest-path benches/Cargo.toml --target-dir target/benches \
                       --test instructions";

/// Instructions, and what they depend on beside the code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Figure {
    /// How many, rounded.
    pub instructions: u64,
    /// The version of each tool, by its name.
    pub tools: BTreeMap<String, String>,
}

impl Figure {
    /// Says how it compares with what it was.
    ///
    /// # Errors
    ///
    /// It is out of bounds: it grew, or it fell and the baseline is no longer true.
    pub fn compare(&self, was: &Figure) -> Result<String, String> {
        let change = self.instructions as f64 / was.instructions as f64 - 1.0;
        let mut told = format!("{} instructions, {:+.2} % of {}", self.instructions, change * 100.0, was.instructions);
        let others: Vec<String> = self
            .tools
            .iter()
            .filter(|(tool, version)| was.tools.get(*tool) != Some(version))
            .map(|(tool, version)| {
                let before = was.tools.get(tool).map_or("not recorded", String::as_str);
                format!("{tool} is {version}, the baseline is of {before}")
            })
            .collect();
        let is_within = self.instructions.abs_diff(was.instructions) * 100 <= was.instructions * PERCENT;
        if !is_within {
            told += if change > 0.0 { ": more than 3 % above the baseline" } else { ": lower the baseline" };
        }
        if !others.is_empty() {
            told += &format!("\n  OTHER VERSIONS: {}", others.join("; "));
            told += if is_within {
                "\n  The figure holds all the same; measure the baseline anew when it suits, with"
            } else {
                "\n  To tell the versions from the change, measure the baseline anew where the change is not yet in, with"
            };
        } else if !is_within {
            told += "\n  What is meant to be so is measured anew with";
        }
        if !is_within || !others.is_empty() {
            told += &format!("\n  {REWRITE}");
        }
        if is_within { Ok(told) } else { Err(told) }
    }

    fn read(name: &str) -> Option<Self> {
        let all = all();
        let value = all.get(name)?;
        let tools = value["tools"].as_object()?.iter();
        Some(Self {
            instructions: value["instructions"].as_u64()?,
            tools: tools.filter_map(|(tool, version)| Some((tool.clone(), version.as_str()?.to_owned()))).collect(),
        })
    }

    fn write(&self, name: &str) {
        // The figures of one file come from tests that run at once.
        static ALONE: Mutex<()> = Mutex::new(());
        let _alone = ALONE.lock();
        let mut all = all();
        all.insert(name.to_owned(), json!({ "instructions": self.instructions, "tools": self.tools }));
        let text = serde_json::to_string_pretty(&all).expect("strings and numbers are always JSON") + "\n";
        std::fs::write(path(), text).unwrap_or_else(|error| panic!("{}: {error}", path().display()));
    }
}

/// Compares a figure with its baseline, or makes it the baseline with `REWRITE_BASELINES=1`.
///
/// # Errors
///
/// It is out of bounds, or there is no baseline.
pub fn judge(name: &str, figure: &Figure) -> Result<String, String> {
    if std::env::var_os("REWRITE_BASELINES").is_some_and(|value| value == "1") {
        figure.write(name);
        return Ok(format!("{} instructions, the new baseline", figure.instructions));
    }
    match Figure::read(name) {
        Some(was) => figure.compare(&was),
        None => {
            Err(format!("{} instructions, without a baseline; it is written with\n  {REWRITE}", figure.instructions))
        }
    }
}

fn all() -> BTreeMap<String, Value> {
    // Beside what is committed there is nothing to fall back on.
    let text = std::fs::read_to_string(path()).unwrap_or_else(|error| panic!("{}: {error}", path().display()));
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path().display()))
}

fn path() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("instructions.json")
}
