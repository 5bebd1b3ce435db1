//! What a pod logs: to stderr, which is one file for all pods of a fleet, so each line says whose it is.

use std::io::{IsTerminal, Write, stderr};

use tracing_subscriber::EnvFilter;

/// Logs from now on, as `RUST_LOG` says.
pub(crate) fn start(pod: usize) {
    tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::from_default_env())
        .with_ansi(stderr().is_terminal())
        .with_writer(move || Named { pod, to: stderr() })
        .init();
}

/// Writes the pod's name before what is written at once: an event is.
struct Named<W> {
    pod: usize,
    to: W,
}

impl<W: Write> Write for Named<W> {
    fn write(&mut self, event: &[u8]) -> std::io::Result<usize> {
        // In one piece: other pods append to the same file.
        self.to.write_all(&[format!("pod {} ", self.pod).as_bytes(), event].concat())?;
        Ok(event.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.to.flush()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl Write for Written {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().expect("no panic").write(bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn each_event_says_which_pod_logged_it() {
        let written = Written::default();
        let to = written.clone();
        let logs = tracing_subscriber::fmt()
            .with_ansi(false)
            .without_time()
            .with_writer(move || Named { pod: 7, to: to.clone() })
            .finish();

        tracing::subscriber::with_default(logs, || {
            tracing::info!(flight = "f", "led");
            tracing::warn!("lost");
        });

        let written = String::from_utf8(written.0.lock().expect("no panic").clone()).expect("UTF-8");
        let lines: Vec<&str> = written.lines().collect();
        assert_eq!(lines.len(), 2, "{written}");
        assert!(lines[0].starts_with("pod 7 ") && lines[0].ends_with("led flight=\"f\""), "{written}");
        assert!(lines[1].starts_with("pod 7 ") && lines[1].ends_with("lost"), "{written}");
    }
}
