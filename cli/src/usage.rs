//! Wrong arguments in one line. Clap spreads them over a paragraph, a tip and the usage.

use std::process::ExitCode;

use clap::error::ErrorKind;

use crate::lines::complain;

/// Prints help and version as asked for, everything else as one line on stderr that begins with the program's name.
pub fn explain(program: &str, error: &clap::Error) -> ExitCode {
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            error.exit()
        }
        _ => {
            complain(format_args!("{program}: {}; see --help", usage_line(error)));
            ExitCode::from(2)
        }
    }
}

/// What is wrong with arguments, as one line.
pub fn usage_line(error: &clap::Error) -> String {
    one_line(&error.render().to_string())
}

/// What is wrong, and the tips; not the usage.
fn one_line(paragraphs: &str) -> String {
    let mut parts: Vec<String> = Vec::new();
    for paragraph in paragraphs.split("\n\n") {
        let line = paragraph.split_whitespace().collect::<Vec<_>>().join(" ");
        if line.is_empty() || line.starts_with("Usage:") || line.starts_with("For more information") {
            continue;
        }
        let line = line.strip_prefix("error: ").or(line.strip_prefix("tip: ")).unwrap_or(&line);
        parts.push(line.to_owned());
    }
    parts.join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrong_arguments_are_one_line() {
        let rendered = "error: unexpected argument '--upstrem' found\n\n  tip: a similar argument exists: '--upstream'\n\n\
                        Usage: refreshd serve --upstream <URL>\n\nFor more information, try '--help'.\n";

        assert_eq!(
            one_line(rendered),
            "unexpected argument '--upstrem' found; a similar argument exists: '--upstream'"
        );
    }
}
