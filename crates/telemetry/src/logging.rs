//! Log lines on standard error, as text for people or JSON for machines.
//!
//! The filter is an argument: which variable or option it comes from is the
//! program's business.

use std::io::IsTerminal as _;
use std::str::FromStr;

use tracing::Subscriber;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

/// How a log line looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LogFormat {
    /// One readable line, coloured on a terminal.
    #[default]
    Text,
    /// One JSON object.
    Json,
}

impl FromStr for LogFormat {
    type Err = LogError;

    fn from_str(text: &str) -> Result<Self, LogError> {
        match text {
            "text" => Ok(Self::Text),
            "json" => Ok(Self::Json),
            other => Err(LogError::Format(other.to_owned())),
        }
    }
}

/// Why logging could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The operator's filter is not one.
    #[error("invalid log filter: {0}")]
    Filter(#[from] tracing_subscriber::filter::ParseError),
    /// The operator's format is not one.
    #[error("unknown log format {0:?}, expected \"text\" or \"json\"")]
    Format(String),
    /// The process set up logging before.
    #[error("logging is set up already")]
    Installed,
}

/// Sends this process's log to standard error from here on. `filter` is a
/// list of directives such as `info,weir_gateway=debug`.
pub fn init(filter: &str, format: LogFormat) -> Result<(), LogError> {
    let colour = std::io::stderr().is_terminal();
    let subscriber = subscriber(filter, format, colour, std::io::stderr)?;
    tracing::subscriber::set_global_default(subscriber).map_err(|_| LogError::Installed)
}

/// A subscriber that writes elsewhere; [`init`] is this on standard error.
pub fn subscriber<W>(
    filter: &str,
    format: LogFormat,
    colour: bool,
    writer: W,
) -> Result<Box<dyn Subscriber + Send + Sync>, LogError>
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let builder = tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::builder().parse(filter)?)
        .with_ansi(colour)
        .with_writer(writer);
    Ok(match format {
        LogFormat::Text => Box::new(builder.finish()),
        LogFormat::Json => Box::new(builder.json().flatten_event(true).finish()),
    })
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Sink(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn log(filter: &str, format: LogFormat) -> String {
        let sink = Sink::default();
        let writer = sink.clone();
        let subscriber = subscriber(filter, format, false, move || writer.clone()).unwrap();
        tracing::subscriber::with_default(subscriber, || {
            tracing::info!(port = 5432, "accepted");
            tracing::debug!("hidden");
        });
        let bytes = sink.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn text_holds_message_and_fields_and_obeys_the_filter() {
        let text = log("info", LogFormat::Text);
        assert!(text.contains("accepted port=5432"), "{text}");
        assert!(!text.contains("hidden"));
        assert_eq!(log("error", LogFormat::Text), "");
    }

    #[test]
    fn json_is_one_object_per_line() {
        let text = log("debug", LogFormat::Json);
        let lines: Vec<serde_json::Value> = text
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        assert_eq!(lines.len(), 2);
        assert_eq!(lines[0]["message"], "accepted");
        assert_eq!(lines[0]["port"], 5432);
    }

    #[test]
    fn a_bad_filter_or_format_is_an_error_that_says_which() {
        let filter = subscriber("weir=loud", LogFormat::Text, false, io::sink).err();
        assert!(
            filter
                .unwrap()
                .to_string()
                .starts_with("invalid log filter")
        );
        let format = "yaml".parse::<LogFormat>().unwrap_err();
        assert!(format.to_string().contains("\"yaml\""));
    }
}
