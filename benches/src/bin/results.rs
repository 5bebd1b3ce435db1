//! Makes `benches/RESULTS.md` of the lines that the benches have left. Called by `benches/run`.

use std::fmt::Write;
use std::path::Path;

use refresh_coordinator_benches::machine;
use refresh_coordinator_benches::report::{directory, met};
use serde_json::Value;

const BENCHES: [&str; 13] = [
    "local_join",
    "lead_in_memory",
    "allocations",
    "valid_token",
    "lead_on_redis",
    "network",
    "topologies",
    "redis_cost",
    "held",
    "join_over_redis",
    "storm",
    "token_endpoint",
    "growth",
];

fn main() {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let pictures = here.join("plots");
    std::fs::create_dir_all(&pictures).expect("a folder for the plots");
    let mut targets = String::new();
    let (mut questions, mut limits) = (String::new(), String::new());
    let (mut met_count, mut target_count) = (0, 0);
    for bench in BENCHES {
        let Ok(text) = std::fs::read_to_string(directory().join(format!("{bench}.jsonl"))) else {
            continue;
        };
        let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).expect("a line of JSON")).collect();
        let texts = |key: &str| lines.iter().filter_map(|line| line[key].as_str()).collect::<Vec<_>>();
        _ = writeln!(questions, "\n## {bench}\n\n{}\n", texts("question").concat());
        for setting in texts("setting") {
            _ = writeln!(questions, "* {setting}");
        }
        _ = writeln!(questions, "\n| | figure | | beside | target |\n| --- | ---: | --- | --- | --- |");
        for row in lines.iter().filter(|line| line["row"].is_string()) {
            let cell = |key: &str| row[key].as_str().unwrap_or_default();
            let beside = cell("beside");
            let target = match row["met"].as_bool() {
                Some(is_met) => {
                    target_count += 1;
                    met_count += usize::from(is_met);
                    let judged = format!("{}: **{}**", cell("target"), met(is_met));
                    _ = writeln!(
                        targets,
                        "| {bench} | {} | {} {} | {beside} | {} | {} |",
                        cell("row"),
                        cell("figure"),
                        cell("unit"),
                        cell("target"),
                        met(is_met)
                    );
                    judged
                }
                None => String::new(),
            };
            _ = writeln!(
                questions,
                "| {} | {} | {} | {beside} | {target} |",
                cell("row"),
                cell("figure"),
                cell("unit")
            );
        }
        _ = writeln!(questions);
        for note in texts("note") {
            _ = writeln!(questions, "* {note}");
        }
        for limit in texts("limit") {
            _ = writeln!(limits, "* {bench}: {limit}");
        }
        for line in lines.iter().filter(|line| line["plot"].is_string()) {
            let (file, title) = (line["plot"].as_str().expect("a file"), line["title"].as_str().expect("a title"));
            std::fs::copy(directory().join(file), pictures.join(file)).expect("the plot is there");
            _ = writeln!(questions, "\n![{title}](plots/{file})");
        }
    }

    let mut text = String::from(
        "# What a shared refresh costs, beside the peers\n\nWritten by `benches/run`. Absolute figures are this machine's \
         in this hour; the ratios are what to look at: both sides of each were measured in turn.\n\n",
    );
    for line in machine::describe() {
        _ = writeln!(text, "* {line}");
    }
    _ = writeln!(
        text,
        "\n## Targets: {met_count} of {target_count} met\n\n| question | | figure | beside | target | |\n\
         | --- | --- | ---: | --- | --- | --- |\n{targets}\n\
         ## What limits what is not met, or only just\n\n{limits}{questions}"
    );
    let path = here.join("RESULTS.md");
    std::fs::write(&path, text.trim_end().to_owned() + "\n").expect("RESULTS.md is written");
    println!("{met_count} of {target_count} targets met; {}", path.display());
}
