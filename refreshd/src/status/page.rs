//! The page at `/status`: HTML that asks for nothing else and runs nothing. All that stands in it is escaped.

use std::fmt::{self, Display, Write};

use super::{CircuitStatus, Flights, Pods, ProviderStatus, Refusals, Status, StoreStatus};

/// What a browser may do with the page: show it, in its own style. [`STYLE`] is told by its hash.
pub(crate) const POLICY: &str = "default-src 'none'; style-src 'sha256-jny3Y18I3UviU0SV12rAyX1eomjvsRQy7aIs26VNh9M='; base-uri 'none'; form-action 'none'; \
                                 frame-ancestors 'none'";

const STYLE: &str = "body{font:14px/1.5 sans-serif;margin:2em;max-width:75em;color:#222;background:#fff}\
                     h2{margin:1.5em 0 .3em}table{border-collapse:collapse;margin:.3em 0}\
                     caption{text-align:left;white-space:nowrap;font-weight:bold;padding-top:.6em}\
                     th,td{text-align:left;vertical-align:top;padding:.15em 1.2em .15em 0;border-bottom:1px solid #ddd}\
                     code{font-size:12px;overflow-wrap:anywhere}.bad{color:#a40000;font-weight:bold}";

/// A browser asks again by itself.
const AGAIN_S: u32 = 10;

/// Text as HTML shows it, in an element or in an attribute.
struct Text<T>(T);

impl<T: Display> Display for Text<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        struct Escaping<'a, 'b>(&'a mut fmt::Formatter<'b>);
        impl Write for Escaping<'_, '_> {
            fn write_str(&mut self, text: &str) -> fmt::Result {
                for char in text.chars() {
                    match char {
                        '&' => self.0.write_str("&amp;")?,
                        '<' => self.0.write_str("&lt;")?,
                        '>' => self.0.write_str("&gt;")?,
                        '"' => self.0.write_str("&quot;")?,
                        '\'' => self.0.write_str("&#39;")?,
                        // What would hide or turn around what stands beside it.
                        '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => self.0.write_char('\u{fffd}')?,
                        char if char.is_control() => self.0.write_char('\u{fffd}')?,
                        char => self.0.write_char(char)?,
                    }
                }
                Ok(())
            }
        }
        write!(Escaping(f), "{}", self.0)
    }
}

/// A row of two cells.
struct Row<A, B>(A, B);

impl<A: Display, B: Display> Display for Row<A, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "<tr><th scope=\"row\">{}</th><td>{}</td></tr>", Text(&self.0), self.1)
    }
}

impl Status {
    /// The whole page.
    pub(crate) fn html(&self) -> String {
        self.to_string()
    }
}

impl Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">")?;
        writeln!(f, "<meta http-equiv=\"refresh\" content=\"{AGAIN_S}\">")?;
        writeln!(f, "<meta name=\"viewport\" content=\"width=device-width\">")?;
        writeln!(f, "<title>refreshd</title>\n<style>{STYLE}</style>\n</head>\n<body>")?;
        writeln!(f, "<h1>refreshd {}</h1>", Text(self.version))?;
        if self.is_draining {
            writeln!(f, "<p class=\"bad\">This pod drains: it takes no new work.</p>")?;
        }
        writeln!(f, "<p>The page asks again every {AGAIN_S} s. The same as JSON: <code>/status.json</code></p>")?;
        self.providers.iter().try_for_each(|provider| provider.fmt(f))?;
        writeln!(f, "</body>\n</html>")
    }
}

impl Display for ProviderStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "<h2>{}</h2>\n<table>", Text(self.name.as_deref().unwrap_or(&self.upstream)))?;
        Row("provider", Text(&self.upstream)).fmt(f)?;
        Row("namespace", Text(&self.namespace)).fmt(f)?;
        Row("pod", format_args!("<code>{}</code>", Text(&self.pod))).fmt(f)?;
        Row("store", &self.store).fmt(f)?;
        match &self.circuit {
            Some(circuit) => Row("circuit", circuit).fmt(f)?,
            None => Row("circuit", UNKNOWN).fmt(f)?,
        }
        match self.permits.out {
            Some(out) => Row("permits", format_args!("{out} of {} are out", self.permits.limit)).fmt(f)?,
            None => Row("permits", UNKNOWN).fmt(f)?,
        }
        match &self.queue {
            Some(queue) => match queue.oldest_ms {
                Some(oldest) => {
                    Row("queue", format_args!("{} wait, the oldest for {}", queue.flights, Seconds(oldest))).fmt(f)?;
                }
                None => Row("queue", "nobody waits for a permit").fmt(f)?,
            },
            None => Row("queue", UNKNOWN).fmt(f)?,
        }
        match &self.pods {
            Some(pods) => Row("pods known alive", pods).fmt(f)?,
            None if self.store.is_reached => Row("pods known alive", "this one: the store is embedded").fmt(f)?,
            None => Row("pods known alive", UNKNOWN).fmt(f)?,
        }
        writeln!(f, "</table>")?;
        self.flights.fmt(f)?;
        self.refused.fmt(f)
    }
}

const UNKNOWN: &str = "not known: the store does not answer";

impl Display for StoreStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.reason, self.recovering_ms) {
            (Some(reason), _) => {
                write!(f, "{}, <span class=\"bad\">not reached</span>: {}", self.kind, Text(reason))
            }
            (None, Some(left)) => write!(
                f,
                "{}, reached; <span class=\"bad\">recovering for {} more</span>: nobody is given a lead",
                self.kind,
                Seconds(left)
            ),
            (None, None) => write!(f, "{}, reached", self.kind),
        }
    }
}

impl Display for CircuitStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.state != "closed" {
            write!(f, "<span class=\"bad\">{}</span>", Text(self.state.replace('_', " ")))?;
        } else {
            f.write_str("closed")?;
        }
        if let Some(left) = self.retry_after_ms {
            write!(f, " for {} more", Seconds(left))?;
        }
        if let Some(probes) = self.probes {
            write!(f, ", probes out: {probes}")?;
        }
        if let Some(failures) = self.failures.filter(|failures| *failures > 0) {
            write!(f, ", failed flights in a row: {failures}")?;
        }
        if let Some(reason) = self.reason {
            write!(f, ", opened because of {}", Text(reason))?;
        }
        Ok(())
    }
}

impl Display for Pods {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.count)?;
        for pod in &self.first {
            write!(f, "<br><code>{}</code>", Text(pod))?;
        }
        if self.more > 0 {
            write!(f, "<br>and {} more", self.more)?;
        }
        Ok(())
    }
}

impl Display for Flights {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "<table>\n<caption>Flights of this pod: {}</caption>", self.count)?;
        if !self.first.is_empty() {
            writeln!(f, "<tr><th scope=\"col\">flight</th><th scope=\"col\">role</th><th scope=\"col\">age</th></tr>")?;
        }
        for flight in &self.first {
            let name = flight.name.as_deref().unwrap_or("not begun yet");
            let role = flight.role.replace('_', " ");
            writeln!(
                f,
                "<tr><td><code>{}</code></td><td>{}</td><td>{}</td></tr>",
                Text(name),
                Text(role),
                Seconds(flight.age_ms)
            )?;
        }
        if self.more > 0 {
            writeln!(f, "<tr><td colspan=\"3\">and {} more</td></tr>", self.more)?;
        }
        writeln!(f, "</table>")
    }
}

impl Display for Refusals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "<table>\n<caption>Refused by this pod in the last {}</caption>", Seconds(self.within_ms))?;
        if self.by_reason.is_empty() {
            writeln!(f, "<tr><td>nobody</td></tr>")?;
        }
        for (reason, count) in &self.by_reason {
            Row(reason.replace('_', " "), count).fmt(f)?;
        }
        writeln!(f, "</table>")
    }
}

struct Seconds(u64);

impl Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = std::time::Duration::from_millis(self.0).as_secs_f64();
        if seconds < 60.0 { write!(f, "{seconds:.1} s") } else { write!(f, "{seconds:.0} s") }
    }
}

#[cfg(test)]
mod tests {
    use base64::Engine;
    use base64::prelude::BASE64_STANDARD;

    use super::super::{Flight, Permits};
    use super::*;

    /// A page whose every text is hostile.
    fn status() -> Status {
        let evil = "<script>alert(1)</script>\"'&\u{202e}\u{1b}".to_owned();
        let flights = Flights {
            count: 1,
            first: vec![Flight { name: Some(evil.clone()), role: "waiting_for_recovery", age_ms: 61_500 }],
            more: 7,
        };
        let provider = ProviderStatus {
            name: Some(evil.clone()),
            upstream: evil.clone(),
            namespace: evil.clone(),
            pod: evil.clone(),
            store: StoreStatus { kind: "redis", is_reached: false, reason: Some(evil.clone()), recovering_ms: None },
            circuit: None,
            permits: Permits { limit: 10, out: None },
            queue: None,
            flights,
            refused: Refusals { within_ms: 0, by_reason: [("cooling_down", 2)].into() },
            pods: Some(Pods { count: 2, first: vec![evil], more: 1 }),
        };
        Status { version: "0", is_draining: true, providers: vec![provider] }
    }

    #[test]
    fn nothing_that_stands_in_the_page_is_read_as_html() {
        let page = status().html();

        assert!(!page.contains("<script") && !page.contains(['\u{1b}', '\u{202e}']), "{page}");
        assert_eq!(page.matches("&lt;script&gt;alert(1)&lt;/script&gt;&quot;&#39;&amp;").count(), 7, "{page}");
        for part in ["not reached", "waiting for recovery", "62 s", "and 7 more", "cooling down", "drains"] {
            assert!(page.contains(part), "no {part}: {page}");
        }
        // Nothing is asked for elsewhere.
        assert!(!page.contains("src=") && !page.contains("href=") && !page.contains("url("), "{page}");
    }

    #[test]
    fn policy_allows_this_style_and_no_other() {
        let hash = BASE64_STANDARD.encode(ring::digest::digest(&ring::digest::SHA256, STYLE.as_bytes()));

        assert!(POLICY.starts_with("default-src 'none'"), "{POLICY}");
        assert!(POLICY.contains(&format!("'sha256-{hash}'")), "the style's hash is {hash}: {POLICY}");
    }
}
