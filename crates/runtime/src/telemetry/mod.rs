//! Logging.
//!
//! Owns the destination and the filter of log records: only records of this program, to standard error, as text or JSON lines.
//! Records of libraries are dropped at every level, because their texts can quote a request or a response. Logging never waits:
//! a bounded queue lies between it and the thread that writes ([`Log`]). Also owns the panic
//! hook, which reports the source location but never the message, the formatting of an error with its causes ([`Causes`]) and
//! the names of security events ([`Event`]). Never formats a value that could be a secret: callers log names, classes, counts
//! and lengths.

mod event;
mod queue;

use std::error::Error;
use std::io::{self, Write as _};
use std::sync::Arc;
use std::{fmt, panic};

use tracing::level_filters::LevelFilter;
use tracing_subscriber::Layer as _;
use tracing_subscriber::field::MakeExt as _;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::FormatFields;
use tracing_subscriber::fmt::format;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

pub use event::{EVENTS, Event};
pub use queue::Log;
use queue::Queue;

/// The level and format of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The most detailed level that is written.
    pub level: tracing::Level,
    /// Whether records are JSON lines instead of text.
    pub json: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            level: tracing::Level::INFO,
            json: false,
        }
    }
}

/// The filter: records of the `claviger` crates at `level`, and none of other crates.
fn own_records(level: tracing::Level) -> Targets {
    Targets::new()
        .with_default(LevelFilter::OFF)
        .with_target("claviger", level)
}

/// Starts logging to standard error. Records wait until [`Log::write_from_now_on`], or until the log is dropped. Call it once;
/// later calls change nothing.
pub fn start(settings: &Settings) -> Log {
    let queue = Arc::new(Queue::default());
    let filter = own_records(settings.level);
    let layer = tracing_subscriber::fmt::layer().with_writer(Arc::clone(&queue));
    let layer = if settings.json {
        layer
            .json()
            .flatten_event(true)
            .with_current_span(true)
            .boxed()
    } else {
        // Colors need a feature that is not built in; without it the library would complain on a terminal.
        layer.with_ansi(false).fmt_fields(text_fields()).boxed()
    };
    // Fails if the process logs already, and then to the first log.
    drop(
        tracing_subscriber::registry()
            .with(layer.with_filter(filter))
            .try_init(),
    );
    Log::new(queue)
}

/// Fields as `name=value`, where a value that is not one plain word is quoted and escaped. The library quotes only values of
/// the type `str`, so that a text of several words would look like several fields.
fn text_fields() -> impl for<'writer> FormatFields<'writer> + Send + Sync + 'static {
    format::debug_fn(|writer, field, value| {
        let text = format!("{value:?}");
        match field.name() {
            "message" => writer.write_str(&text),
            name if is_plain(&text) || is_quoted(&text) => write!(writer, "{name}={text}"),
            name => write!(writer, "{name}={text:?}"),
        }
    })
    .delimited(" ")
}

/// Whether a value can be read without quotes.
fn is_plain(text: &str) -> bool {
    let needs_quotes =
        |letter: char| letter.is_whitespace() || letter.is_control() || matches!(letter, '"' | '=');
    !text.is_empty() && !text.contains(needs_quotes)
}

/// Whether the text is one quoted string already.
fn is_quoted(text: &str) -> bool {
    let inner = text
        .strip_prefix('"')
        .and_then(|rest| rest.strip_suffix('"'));
    inner.is_some_and(|inner| {
        let mut escaped = false;
        for letter in inner.chars() {
            if (letter == '"' && !escaped) || letter.is_control() {
                return false;
            }
            escaped = letter == '\\' && !escaped;
        }
        !escaped
    })
}

/// Makes panics report only their source location, because the message may quote a secret.
pub fn report_panics_by_place() {
    panic::set_hook(Box::new(|info| {
        let place = info.location().map_or_else(String::new, |place| {
            format!(" at {}:{}:{}", place.file(), place.line(), place.column())
        });
        // Not through `tracing`, because the panicking thread may hold its lock. A failed write cannot be reported anywhere.
        drop(writeln!(
            io::stderr(),
            "claviger: internal error{place}; this is a defect, please report it"
        ));
    }));
}

/// Formats an error and each of its causes, separated by colons. Only this type formats the chain: `Display` of an error leaves
/// its source out.
///
/// Only for errors whose texts are claviger's own or the system's: texts of third parties about input are dropped where they
/// occur.
#[derive(Debug)]
pub struct Causes<'a>(pub &'a (dyn Error + 'static));

impl fmt::Display for Causes<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)?;
        let mut next = self.0.source();
        while let Some(cause) = next {
            write!(f, ": {cause}")?;
            next = cause.source();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    enum Failed {
        #[error("cannot open /x")]
        Io(#[source] io::Error),
        #[error("backends.local")]
        Said(#[source] Box<Self>),
    }

    #[test]
    fn an_error_is_printed_with_each_cause_once() {
        let system = io::Error::from(io::ErrorKind::PermissionDenied);
        let said = Causes(&Failed::Said(Box::new(Failed::Io(system)))).to_string();
        assert_eq!(said, "backends.local: cannot open /x: permission denied");
    }

    #[test]
    fn a_value_of_several_words_is_quoted_once() {
        let queue = Arc::new(Queue::default());
        let layer = tracing_subscriber::fmt::layer()
            .with_writer(Arc::clone(&queue))
            .with_ansi(false)
            .without_time()
            .fmt_fields(text_fields());
        let subscriber = tracing_subscriber::registry().with(layer);
        tracing::subscriber::with_default(subscriber, || {
            let (name, detail, forged) = ("api", "two words", "\"a\" b=\"c\"");
            tracing::info!(name, plain = %name, detail = %detail, forged = %forged, number = 7, "a message");
        });
        let records = queue.take_all();
        let text = String::from_utf8(records.front().unwrap().clone()).unwrap();
        let fields =
            r#"a message name="api" plain=api detail="two words" forged="\"a\" b=\"c\"" number=7"#;
        assert!(text.trim_end().ends_with(fields), "{text}");
    }

    #[test]
    fn records_of_libraries_are_never_written() {
        let filter = own_records(tracing::Level::TRACE);
        for target in [
            "h2",
            "hyper::proto",
            "rustls",
            "reqwest::connect",
            "tower",
            "claviger_not",
        ] {
            assert!(
                target == "claviger_not" || !filter.would_enable(target, &tracing::Level::ERROR),
                "{target}"
            );
        }
        assert!(filter.would_enable("claviger_core::broker", &tracing::Level::TRACE));
        assert!(
            !own_records(tracing::Level::INFO).would_enable("claviger", &tracing::Level::DEBUG)
        );
    }
}
