//! One format for every bench: a question, its settings, and rows with a figure, the ratio to a floor or to peers, and the
//! target that holds for one of these.
//!
//! Printed for whoever waits, and written as JSON lines for `benches/run`, which makes `RESULTS.md` of them.

use std::fs::File;
use std::io::Write;
use std::path::PathBuf;

use serde_json::{Value, json};

use crate::figure::short;

/// What a bench says.
pub struct Report {
    question: &'static str,
    lines: File,
}

/// One figure.
pub struct Row {
    name: String,
    figure: f64,
    unit: &'static str,
    beside: Vec<(String, f64)>,
    target: Option<Target>,
}

struct Target {
    bound: f64,
    is_ceiling: bool,
    of_ratio: bool,
}

impl Row {
    /// A figure by its name and unit.
    pub fn new(name: impl Into<String>, figure: f64, unit: &'static str) -> Self {
        Self { name: name.into(), figure, unit, beside: Vec::new(), target: None }
    }

    /// The floor or peer it is compared with, in the same unit. There may be several.
    pub fn beside(mut self, peer: impl Into<String>, figure: f64) -> Self {
        self.beside.push((peer.into(), self.figure / figure));
        self
    }

    /// The ratio to the first peer is to be at most so much.
    pub fn ratio_at_most(self, bound: f64) -> Self {
        self.target(bound, true, true)
    }

    /// The ratio to the first peer is to be at least so much.
    pub fn ratio_at_least(self, bound: f64) -> Self {
        self.target(bound, false, true)
    }

    /// The figure itself is to be at most so much.
    pub fn at_most(self, bound: f64) -> Self {
        self.target(bound, true, false)
    }

    /// The figure itself is to be at least so much.
    pub fn at_least(self, bound: f64) -> Self {
        self.target(bound, false, false)
    }

    fn target(mut self, bound: f64, is_ceiling: bool, of_ratio: bool) -> Self {
        self.target = Some(Target { bound, is_ceiling, of_ratio });
        self
    }
}

impl Report {
    /// Begins with the question that the bench answers. `name` is the bench's own.
    pub fn open(name: &'static str, question: &'static str) -> Self {
        let path = directory().join(format!("{name}.jsonl"));
        let lines = File::create(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let mut report = Self { question: name, lines };
        println!("\n# {name}: {question}");
        report.write(&json!({ "question": question, "name": name }));
        if crate::is_quick() {
            report.setting("BENCH_QUICK: few rounds, the figures are rough");
        }
        report.setting(format!("load average at the start {}", crate::machine::load()));
        report
    }

    /// A setting it ran with.
    pub fn setting(&mut self, text: impl Into<String>) {
        let text = text.into();
        println!("  {text}");
        self.write(&json!({ "setting": text }));
    }

    /// Something a reader must know beside the figures, such as a peer that is missing.
    pub fn note(&mut self, text: impl Into<String>) {
        let text = text.into();
        println!("  note: {text}");
        self.write(&json!({ "note": text }));
    }

    /// What stands between a figure and its target: by measurement, in this run where that is possible.
    pub fn limit(&mut self, text: impl Into<String>) {
        let text = text.into();
        println!("  limit: {text}");
        self.write(&json!({ "limit": text }));
    }

    /// One more figure.
    pub fn row(&mut self, row: Row) {
        let Row { name, figure, unit, beside, target } = row;
        let target = target.map(|target| {
            let judged = if target.of_ratio { beside.first().expect("a ratio has a peer").1 } else { figure };
            let is_met = if target.is_ceiling { judged <= target.bound } else { judged >= target.bound };
            let word = if target.is_ceiling { "at most" } else { "at least" };
            let unit = if target.of_ratio { "x" } else { unit };
            (format!("{word} {} {unit}", short(target.bound)), is_met)
        });
        let beside: Vec<String> = beside.iter().map(|(peer, ratio)| format!("{} x {peer}", short(*ratio))).collect();
        let beside = beside.join(", ");
        let judged = target.as_ref().map(|(text, is_met)| format!("{text}: {}", met(*is_met)));
        println!("  {name:<58} {:>10} {unit:<8} {beside:<44} {}", short(figure), judged.as_deref().unwrap_or_default());
        self.write(&json!({
            "row": name, "figure": short(figure), "unit": unit,
            "beside": beside,
            "target": target.as_ref().map(|(text, _)| text.as_str()), "met": target.as_ref().map(|(_, is_met)| *is_met),
        }));
    }

    /// Puts a picture beside `RESULTS.md`.
    pub fn plot(&mut self, plot: &crate::plot::Plot) {
        let file = format!("{}.svg", plot.name);
        let path = directory().join(&file);
        std::fs::write(&path, plot.svg()).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        println!("  plot: {}", path.display());
        self.write(&json!({ "plot": file, "title": plot.title }));
    }

    fn write(&mut self, line: &Value) {
        writeln!(self.lines, "{line}").unwrap_or_else(|error| panic!("the lines of {}: {error}", self.question));
    }
}

/// The word in the table.
pub fn met(is_met: bool) -> &'static str {
    if is_met { "met" } else { "NOT MET" }
}

/// Where benches leave their lines and pictures.
pub fn directory() -> PathBuf {
    let target = std::env::var_os("CARGO_TARGET_DIR")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../target"), PathBuf::from);
    let directory = target.join("benches");
    std::fs::create_dir_all(&directory).unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
    directory
}
