//! The format of results.

use std::io::{self, Write};
use std::time::Duration;

use prost_types::Timestamp;
use serde_json::Value;

/// Writes one JSON document.
pub(super) fn json(out: &mut dyn Write, value: &Value) -> io::Result<()> {
    serde_json::to_writer_pretty(&mut *out, value)?;
    writeln!(out)
}

/// Writes rows in columns, each as wide as its widest cell.
pub(super) fn table(out: &mut dyn Write, head: &[&str], rows: &[Vec<String>]) -> io::Result<()> {
    let plain_row = |row: &Vec<String>| row.iter().map(|cell| plain(cell)).collect();
    let rows: Vec<Vec<String>> = rows.iter().map(plain_row).collect();
    let width = |column: usize| {
        rows.iter()
            .filter_map(|row| row.get(column))
            .map(|cell| cell.chars().count())
            .chain(head.get(column).map(|cell| cell.chars().count()))
            .max()
            .unwrap_or(0)
    };
    let widths: Vec<usize> = (0..head.len()).map(width).collect();
    let head: Vec<String> = head.iter().map(|cell| (*cell).to_owned()).collect();
    for row in std::iter::once(&head).chain(&rows) {
        let mut line = String::from(" ");
        for (cell, width) in row.iter().zip(&widths) {
            line.push(' ');
            line.push_str(cell);
            let pad = width.saturating_sub(cell.chars().count()).saturating_add(1);
            line.extend(std::iter::repeat_n(' ', pad));
        }
        writeln!(out, "{}", line.trim_end())?;
    }
    Ok(())
}

/// A duration for people: its two largest units.
pub(super) fn duration(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, _) => format!("{minutes} min {} s", seconds % 60),
        (0, _, _) => format!("{hours} h {minutes} min"),
        _ => format!("{days} d {hours} h"),
    }
}

/// A duration of the wire for people; `-` if there is none.
pub(super) fn wire_duration(value: Option<&prost_types::Duration>) -> String {
    let seconds = value.and_then(|value| u64::try_from(value.seconds).ok());
    seconds.map_or_else(
        || "-".to_owned(),
        |seconds| duration(Duration::from_secs(seconds)),
    )
}

/// A time of the wire, RFC 3339 in UTC; `-` if there is none.
pub(super) fn time(value: Option<&Timestamp>) -> String {
    value.map_or_else(
        || "-".to_owned(),
        |value| Timestamp { nanos: 0, ..*value }.to_string(),
    )
}

/// A time of the wire for programs: RFC 3339 in UTC, or null.
pub(super) fn json_time(value: Option<&Timestamp>) -> Value {
    value.map_or(Value::Null, |_| time(value).into())
}

/// The text without control characters, which a terminal would interpret.
pub(super) fn plain(text: &str) -> String {
    text.replace(char::is_control, "\u{fffd}")
}

/// A number of things: `1 rule`, `2 rules`.
pub(super) fn count(number: impl TryInto<u64>, thing: &str) -> String {
    let number = number.try_into().unwrap_or(u64::MAX);
    let ending = if number == 1 { "" } else { "s" };
    format!("{number} {thing}{ending}")
}

/// The text, or `-`.
pub(super) fn or_dash(text: &str) -> String {
    if text.is_empty() {
        "-".to_owned()
    } else {
        text.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_well() {
        for (seconds, text) in [
            (0, "0 s"),
            (59, "59 s"),
            (61, "1 min 1 s"),
            (3_725, "1 h 2 min"),
            (90_000, "1 d 1 h"),
        ] {
            assert_eq!(duration(Duration::from_secs(seconds)), text);
        }
    }

    #[test]
    fn columns_line_up() {
        let mut out = Vec::new();
        let rows = [vec!["a".into(), "x".into()], vec!["ünï".into(), "y".into()]];
        table(&mut out, &["N", "V"], &rows).unwrap();
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "  N    V\n  a    x\n  ünï  y\n"
        );
    }

    #[test]
    fn no_cell_controls_the_terminal() {
        let mut out = Vec::new();
        let rows = [vec!["\u{1b}[31mred\nline".into(), "x".into()]];
        table(&mut out, &["N", "V"], &rows).unwrap();
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "  N              V\n  \u{fffd}[31mred\u{fffd}line  x\n"
        );
    }

    #[test]
    fn one_thing_is_singular() {
        let said = [0_u32, 1, 2].map(|number| count(number, "rule"));
        assert_eq!(said, ["0 rules", "1 rule", "2 rules"]);
    }

    #[test]
    fn times_are_rfc_3339() {
        assert_eq!(json_time(None), Value::Null);
        let time_text = time(Some(&Timestamp {
            seconds: 1_767_225_600,
            nanos: 7,
        }));
        assert_eq!(time_text, "2026-01-01T00:00:00Z");
    }
}
