//! What the program says about itself, on standard error.
//!
//! The level is that of keygate's own events. Other crates are heard from `warn` upwards only, whatever the level: at
//! `debug` and `trace` HTTP and TLS libraries write what they read from connections, credentials included.

use std::fmt::{Debug, Write};
use std::io::{self, IsTerminal};

use tracing::Subscriber;
use tracing::field::Field;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::field::MakeExt;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{self, MakeWriter};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::Registry;
use tracing_subscriber::reload;
use tracing_subscriber::{Layer, util::SubscriberInitExt};

use super::escape::is_dangerous;

/// How much keygate says. Each level includes the ones before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// Nothing.
    Off,
    /// Something does not work and needs somebody.
    Error,
    /// Something does not work and was got round.
    Warn,
    /// What an operator did and what came of it: started, reloaded, stopped.
    Info,
    /// What happens in detail.
    Debug,
    /// Everything.
    Trace,
}

/// How an event looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// A line for people; coloured if standard error is a terminal and `NO_COLOR` is not set.
    Text,
    /// A JSON object a line.
    Json,
}

/// Changes the level of a log that has been started.
#[derive(Clone)]
pub struct LogControl(reload::Handle<Targets, Registry>);

/// Starts the log of this process on standard error.
///
/// # Errors
///
/// A text, if a log was started before.
pub fn init(level: Level, format: Format) -> Result<LogControl, String> {
    let ansi = io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let (subscriber, control) = subscriber(level, format, ansi, io::stderr);
    subscriber.try_init().map_err(|error| error.to_string())?;
    Ok(control)
}

impl LogControl {
    /// Controls no log at all.
    #[must_use]
    pub fn silent() -> Self {
        subscriber(Level::Off, Format::Text, false, io::sink).1
    }

    /// Changes the level from now on.
    pub fn set_level(&self, level: Level) {
        // It fails only when the log itself is gone, and then there is nobody to tell.
        drop(self.0.reload(targets(level)));
    }
}

/// A log that writes to `writer`.
fn subscriber<W>(
    level: Level,
    format: Format,
    ansi: bool,
    writer: W,
) -> (impl Subscriber + Send + Sync + 'static, LogControl)
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let layer = fmt::layer().with_writer(writer).with_ansi(ansi);
    let layer: Box<dyn Layer<Registry> + Send + Sync> = match format {
        Format::Text => layer.fmt_fields(fmt::format::debug_fn(write_field).delimited(" ")).boxed(),
        Format::Json => layer.json().flatten_event(true).with_current_span(false).with_span_list(false).boxed(),
    };
    let (filter, handle) = reload::Layer::new(targets(level));
    (tracing_subscriber::registry().with(layer.with_filter(filter)), LogControl(handle))
}

/// Writes a field of an event into a line of text. The crate's own way carries line breaks and terminal sequences of a
/// displayed value (`%value`) on, and such values hold what clients and files say.
fn write_field(writer: &mut Writer<'_>, field: &Field, value: &dyn Debug) -> std::fmt::Result {
    let mut writer = OneLine(writer);
    match field.name() {
        "message" => write!(writer, "{value:?}"),
        name => write!(writer, "{name}={value:?}"),
    }
}

/// Writes dangerous letters as `\u{...}`.
struct OneLine<W>(W);

impl<W: Write> Write for OneLine<W> {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        for piece in text.split_inclusive(is_dangerous) {
            match piece.chars().next_back().filter(|last| is_dangerous(*last)) {
                None => self.0.write_str(piece)?,
                Some(last) => {
                    self.0.write_str(piece.strip_suffix(last).unwrap_or_default())?;
                    write!(self.0, "{}", last.escape_unicode())?;
                }
            }
        }
        Ok(())
    }
}

/// Keygate at `level`, everybody else at `warn` or quieter.
fn targets(level: Level) -> Targets {
    let level = match level {
        Level::Off => LevelFilter::OFF,
        Level::Error => LevelFilter::ERROR,
        Level::Warn => LevelFilter::WARN,
        Level::Info => LevelFilter::INFO,
        Level::Debug => LevelFilter::DEBUG,
        Level::Trace => LevelFilter::TRACE,
    };
    Targets::new().with_default(level.min(LevelFilter::WARN)).with_target("keygate", level)
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    /// What a log has written.
    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Written {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// What is written at this level while `act` runs.
    fn written(level: Level, format: Format, act: impl FnOnce(&LogControl)) -> String {
        let written = Written::default();
        let writer = written.clone();
        let (subscriber, control) = subscriber(level, format, false, move || writer.clone());
        tracing::subscriber::with_default(subscriber, || act(&control));
        let bytes = written.0.lock().unwrap().clone();
        String::from_utf8(bytes).expect("UTF-8")
    }

    #[test]
    fn other_crates_never_say_more_than_warnings() {
        let text = written(Level::Trace, Format::Text, |_| {
            tracing::trace!("ours");
            tracing::debug!(target: "hyper::proto", "x-api-key: secret");
            tracing::warn!(target: "hyper::proto", "theirs");
        });
        assert!(text.contains("ours") && text.contains("theirs"), "{text}");
        assert!(!text.contains("secret"), "{text}");
    }

    #[test]
    fn a_quiet_level_is_quiet_for_everybody() {
        let text = written(Level::Error, Format::Text, |_| {
            tracing::warn!(target: "hyper::proto", "theirs");
            tracing::warn!("ours");
        });
        assert_eq!(text, "");
    }

    #[test]
    fn the_level_changes_while_the_log_runs() {
        let text = written(Level::Info, Format::Text, |control| {
            tracing::debug!("before");
            control.set_level(Level::Debug);
            tracing::debug!("after");
        });
        assert!(text.contains("after") && !text.contains("before"), "{text}");
    }

    #[test]
    fn json_is_one_object_a_line_with_the_fields_on_top() {
        let text =
            written(Level::Info, Format::Json, |_| tracing::info!(path = "/etc/keys\nx", "Keys \u{1b}[31m loaded"));
        let line = text.strip_suffix('\n').expect("a line");
        let value: serde_json::Value = serde_json::from_str(line).expect("JSON");
        assert_eq!(value["path"], "/etc/keys\nx");
        assert_eq!(value["level"], "INFO");
        assert_eq!(line.lines().count(), 1);
    }

    /// What a client or a file puts into a field must not move the cursor of the operator's terminal.
    #[test]
    fn text_does_not_carry_escape_sequences_on() {
        let odd = "\u{1b}[2J\r\nERROR invented";
        let text = written(Level::Info, Format::Text, |_| {
            tracing::info!("message {odd}");
            tracing::info!(field = %odd, "display");
            tracing::info!(field = ?odd, "debug");
            tracing::info!(field = odd, "value");
        });
        assert!(!text.contains('\u{1b}'), "{text:?}");
        assert_eq!(text.lines().count(), 4, "{text:?}");
        assert!(text.contains(r"message \u{1b}[2J\u{d}\u{a}ERROR invented"), "{text}");
        assert!(text.contains(r"display field=\u{1b}[2J\u{d}\u{a}ERROR invented"), "{text}");
    }
}
