//! Parses a `.env` file.
//!
//! Owns claviger's interpretation of a format without a specification: quotes, `export`, blanks around `=`, comments,
//! values over several lines, CRLF, a byte order mark. Nothing is expanded. Programs differ in details; a token that the
//! issuer grants for the values proves that they were parsed as intended. A fault has the number of its line and repeats
//! nothing of it: a secret may have been pasted in place of a name. Pure and total; keeps no buffer.

use std::collections::HashMap;
use std::fmt;
use std::ops::Range;

use claviger_backend::Secret;
use zeroize::Zeroizing;

/// A variable that a file sets.
pub struct Variable {
    /// Its name. It may be a misplaced secret, so it is shown only if it looks like the name of a credential.
    pub name: String,
    /// Its value, without quotes and escapes.
    pub value: Secret,
    /// The line on which it begins, counted from 1.
    pub line: usize,
    /// The bytes of the file that set it, line end included.
    pub span: Range<usize>,
}

/// Prints its line and the length of its value.
impl fmt::Debug for Variable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Variable")
            .field("line", &self.line)
            .field("value", &self.value)
            .finish_non_exhaustive()
    }
}

/// A line that cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line} {kind}")]
pub struct Fault {
    /// Counted from 1.
    pub line: usize,
    /// What is wrong with it.
    pub kind: FaultKind,
}

/// What is wrong with a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FaultKind {
    /// Not UTF-8, or a control character.
    #[error("is not UTF-8 text, or holds a control character")]
    NotText,
    /// No assignment, no comment and not empty.
    #[error("is neither NAME=value nor a comment")]
    NotAssignment,
    /// The text before `=` is no name.
    #[error("has no name before `=`: letters, digits and `_`, not beginning with a digit")]
    NotName,
    /// A value begins with a quote, and the file ends before the other.
    #[error("opens a quote that is not closed")]
    Unclosed,
    /// Text follows the closing quote.
    #[error("has text after the closing quote of its value")]
    AfterQuote,
    /// Two lines set the same variable.
    #[error("sets the same variable as line {first}; remove one of them")]
    Twice {
        /// The other line.
        first: usize,
    },
}

/// Reads a whole file.
///
/// # Errors
/// The first [`Fault`].
pub fn parse(bytes: &[u8]) -> Result<Vec<Variable>, Fault> {
    let text = text(bytes)?;
    let mut rest = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut variables = Vec::new();
    let mut lines = HashMap::new();
    let mut line = 1_usize;
    while !rest.is_empty() {
        if let Some(next) = skipped(rest) {
            line = line.saturating_add(1);
            rest = next;
            continue;
        }
        let assignment = assignment(rest).map_err(|kind| Fault { line, kind })?;
        if let Some(first) = lines.insert(assignment.name, line) {
            let kind = FaultKind::Twice { first };
            return Err(Fault { line, kind });
        }
        let next = assignment.rest;
        let at = |left: &str| text.len().saturating_sub(left.len());
        let span = at(rest)..at(next);
        let ends = line_ends(text.get(span.clone()).unwrap_or_default());
        variables.push(Variable {
            name: assignment.name.to_owned(),
            value: assignment.value,
            line,
            span,
        });
        line = line.saturating_add(ends);
        rest = next;
    }
    Ok(variables)
}

/// The bytes as text in which nothing is a control character but blanks and line ends.
fn text(bytes: &[u8]) -> Result<&str, Fault> {
    let fault = |before: &str| Fault {
        line: line_ends(before).saturating_add(1),
        kind: FaultKind::NotText,
    };
    let text = std::str::from_utf8(bytes).map_err(|error| {
        let valid = bytes.get(..error.valid_up_to()).unwrap_or_default();
        fault(std::str::from_utf8(valid).unwrap_or_default())
    })?;
    let mut characters = text.char_indices().peekable();
    while let Some((at, character)) = characters.next() {
        let ends_line =
            character == '\r' && characters.peek().is_some_and(|(_, next)| *next == '\n');
        if character.is_control() && !ends_line && !matches!(character, '\n' | '\t') {
            return Err(fault(text.get(..at).unwrap_or_default()));
        }
    }
    Ok(text)
}

fn line_ends(text: &str) -> usize {
    text.bytes().filter(|byte| *byte == b'\n').count()
}

/// What follows a line that sets nothing; `None` if this one should set something.
fn skipped(rest: &str) -> Option<&str> {
    let (line, next) = first_line(rest);
    let line = line.trim_start_matches(BLANKS);
    (line.is_empty() || line.starts_with('#')).then_some(next)
}

/// What separates words on a line.
const BLANKS: [char; 2] = [' ', '\t'];

/// The first line without its end, and what follows it.
fn first_line(text: &str) -> (&str, &str) {
    let (line, rest) = text.split_once('\n').unwrap_or((text, ""));
    (line.strip_suffix('\r').unwrap_or(line), rest)
}

/// `NAME=value`, taken apart.
struct Assignment<'a> {
    name: &'a str,
    value: Secret,
    /// What follows in the file.
    rest: &'a str,
}

/// Reads the assignment that `rest` begins with.
fn assignment(rest: &str) -> Result<Assignment<'_>, FaultKind> {
    let (line, _) = first_line(rest);
    if !line.contains('=') {
        return Err(FaultKind::NotAssignment);
    }
    let (head, tail) = rest.split_once('=').ok_or(FaultKind::NotAssignment)?;
    let name = without_export(head.trim_matches(BLANKS));
    if !is_name(name) {
        return Err(FaultKind::NotName);
    }
    let quoted = tail.trim_start_matches(BLANKS);
    let (value, rest) = if let Some(inside) = quoted.strip_prefix('\'') {
        let (value, behind) = inside.split_once('\'').ok_or(FaultKind::Unclosed)?;
        (boxed(value), behind_quote(behind)?)
    } else if let Some(inside) = quoted.strip_prefix('"') {
        let (value, behind) = double_quoted(inside)?;
        (value, behind_quote(behind)?)
    } else {
        let (line, rest) = first_line(tail);
        (boxed(unquoted(line)), rest)
    };
    Ok(Assignment { name, value, rest })
}

fn without_export(head: &str) -> &str {
    match head.strip_prefix("export") {
        Some(name) if name.starts_with(BLANKS) => name.trim_start_matches(BLANKS),
        _ => head,
    }
}

fn is_name(name: &str) -> bool {
    let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    name.bytes().all(word) && !name.is_empty() && !name.starts_with(|c: char| c.is_ascii_digit())
}

fn boxed(value: &str) -> Secret {
    Secret::new(value.as_bytes().to_vec())
}

/// Checks that nothing but a comment follows a value in quotes, and returns what follows the line.
fn behind_quote(behind: &str) -> Result<&str, FaultKind> {
    let (line, rest) = first_line(behind);
    let words = line.trim_start_matches(BLANKS);
    let is_comment = words.starts_with('#') && words.len() < line.len();
    if words.is_empty() || is_comment {
        Ok(rest)
    } else {
        Err(FaultKind::AfterQuote)
    }
}

/// Up to the end of the line, or to a `#` behind a blank.
fn unquoted(line: &str) -> &str {
    let comment = line.match_indices('#').find(|(at, _)| {
        line.get(..*at)
            .is_some_and(|before| before.ends_with(BLANKS))
    });
    let value = comment.and_then(|(at, _)| line.get(..at)).unwrap_or(line);
    value.trim_matches(BLANKS)
}

/// Up to the closing quote: the value, and what follows. A backslash takes the meaning from `"`, `\`, `$` and a backtick, and
/// makes control characters of `n`, `r` and `t`; before anything else it stands for itself.
fn double_quoted(inside: &str) -> Result<(Secret, &str), FaultKind> {
    // With the full capacity, because a buffer that grows leaves copies of the secret behind.
    let mut text = Zeroizing::new(String::with_capacity(inside.len()));
    let mut characters = inside.chars();
    while let Some(character) = characters.next() {
        match character {
            '"' => return Ok((boxed(&text), characters.as_str())),
            '\\' => match characters.next().ok_or(FaultKind::Unclosed)? {
                escaped @ ('"' | '\\' | '$' | '`') => text.push(escaped),
                'n' => text.push('\n'),
                'r' => text.push('\r'),
                't' => text.push('\t'),
                other => text.extend(['\\', other]),
            },
            other => text.push(other),
        }
    }
    Err(FaultKind::Unclosed)
}

#[cfg(test)]
mod tests;
