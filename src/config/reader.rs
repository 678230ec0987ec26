//! Reads one table of the file.
//!
//! Owns [`Section`]: typed access to the keys of a table. It reports a problem for a value of the wrong type or out of
//! bounds, and records which keys were read. [`Section::root`], [`Section::table`], [`Section::tables`] and
//! [`Section::named`] lend a section to a reader; when the reader returns, every key that it did not read is reported as
//! unknown. So no reader can forget to reject unknown keys.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fmt::Display;
use std::ops::RangeInclusive;
use std::path::{Component, PathBuf};
use std::time::Duration;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::config::duration;
use crate::config::report::{Place, Report, nearest};

/// The longest path of a file that Linux takes.
const LONGEST_PATH: usize = 4096;

/// A value and its place.
#[derive(Clone, Debug)]
pub(super) struct Found<T> {
    pub(crate) value: T,
    pub(crate) place: Place,
}

/// One table of the file.
#[derive(Debug)]
pub(super) struct Section<'a> {
    pub(crate) report: &'a Report,
    pub(crate) place: Place,
    table: &'a DeTable<'a>,
    known: RefCell<Vec<&'a str>>,
}

impl<'a> Section<'a> {
    fn new(report: &'a Report, table: &'a DeTable<'a>, place: Place) -> Self {
        Self {
            report,
            place,
            table,
            known: RefCell::default(),
        }
    }

    /// Reads the whole file.
    pub(super) fn root<T>(
        report: &'a Report,
        table: &'a DeTable<'a>,
        read: impl FnOnce(&Self) -> T,
    ) -> T {
        let place = Place {
            path: String::new(),
            line: None,
        };
        Self::new(report, table, place).lend(read)
    }

    fn lend<T>(&self, read: impl FnOnce(&Self) -> T) -> T {
        let value = read(self);
        let known = self.known.borrow();
        for (key, _) in self.table {
            if self.report.is_full() {
                break;
            }
            if known.contains(&&**key.get_ref()) {
                continue;
            }
            let place = self.place_of(key);
            match nearest(key.get_ref(), known.iter().copied()) {
                Some(meant) => self
                    .report
                    .problem_meant(&place, "unknown key", Some(meant)),
                None => self.report.problem(&place, unknown(&known)),
            }
        }
        value
    }

    fn join(&self, key: &str) -> String {
        // Only a plain word is shown: anything else may be a misplaced secret.
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte);
        let key = if (1..=63).contains(&key.len()) && key.bytes().all(plain) {
            key
        } else {
            "(unusual key)"
        };
        match self.place.path.as_str() {
            "" => key.to_owned(),
            path => format!("{path}.{key}"),
        }
    }

    fn place_of(&self, key: &Spanned<std::borrow::Cow<'_, str>>) -> Place {
        self.report.place(self.join(key.get_ref()), &key.span())
    }

    /// The place of `key`, present or not.
    pub(super) fn place_at(&self, key: &str) -> Place {
        match self.table.get_key_value(key) {
            Some((key, _)) => self.place_of(key),
            None => Place {
                path: self.join(key),
                line: self.place.line,
            },
        }
    }

    fn get(&self, key: &'static str) -> Option<Found<&'a DeValue<'a>>> {
        self.known.borrow_mut().push(key);
        let (name, value) = self.table.get_key_value(key)?;
        Some(Found {
            value: value.get_ref(),
            place: self.place_of(name),
        })
    }

    /// Rejects keys that are specified but not supported by this build.
    pub(super) fn unsupported(&self, keys: &[&'static str]) {
        for key in keys {
            if let Some((name, _)) = self.table.get_key_value(*key) {
                self.known.borrow_mut().push(key);
                self.report
                    .problem(&self.place_of(name), "not supported by this build yet");
            }
        }
    }

    /// Reports no unknown keys.
    pub(super) fn ignore_rest(&self) {
        let names = self.table.keys().map(|name| &**name.get_ref());
        self.known.borrow_mut().extend(names);
    }

    /// Whether `key` is present, whatever its value.
    pub(super) fn has(&self, key: &str) -> bool {
        self.table.contains_key(key)
    }

    /// Reports that `key` is missing.
    pub(super) fn missing(&self, key: &str, expected: &str) {
        let message = format!("missing: {expected}");
        self.report.problem(&self.place_at(key), message);
    }

    fn mistyped<T>(&self, found: &Found<&DeValue<'_>>, expected: &str) -> Option<T> {
        let message = format!("expected {expected}, found {}", article(found.value));
        self.report.problem(&found.place, message);
        None
    }

    /// The text of `key`.
    pub(super) fn text(&self, key: &'static str) -> Option<Found<&'a str>> {
        let found = self.get(key)?;
        match found.value.as_str() {
            Some(value) => Some(Found {
                value,
                place: found.place,
            }),
            None => self.mistyped(&found, "a string"),
        }
    }

    /// The text of `key`, which is required.
    pub(super) fn required_text(
        &self,
        key: &'static str,
        expected: &str,
    ) -> Option<Found<&'a str>> {
        if !self.has(key) {
            self.known.borrow_mut().push(key);
            self.missing(key, expected);
            return None;
        }
        self.text(key)
    }

    /// The texts of `key`, an array.
    pub(super) fn texts(&self, key: &'static str) -> Option<Vec<Found<&'a str>>> {
        let found = self.get(key)?;
        let Some(array) = found.value.as_array() else {
            return self.mistyped(&found, "an array of strings");
        };
        let mut texts = Some(Vec::new());
        for (index, item) in array.iter().enumerate() {
            let path = format!("{}[{}]", found.place.path, index.saturating_add(1));
            let item_found = Found {
                value: item.get_ref(),
                place: self.report.place(path, &item.span()),
            };
            match (item.get_ref().as_str(), &mut texts) {
                (Some(value), Some(texts)) => texts.push(Found {
                    value,
                    place: item_found.place,
                }),
                (Some(_), None) => {}
                (None, _) => texts = self.mistyped(&item_found, "a string"),
            }
        }
        texts
    }

    /// The text or the texts of `key`.
    pub(super) fn text_or_texts(&self, key: &'static str) -> Option<Vec<Found<&'a str>>> {
        match self.table.get(key).map(Spanned::get_ref) {
            Some(DeValue::String(_)) => self.text(key).map(|text| vec![text]),
            _ => self.texts(key),
        }
    }

    /// The boolean of `key`, or `default`.
    pub(super) fn flag(&self, key: &'static str, default: bool) -> bool {
        let Some(found) = self.get(key) else {
            return default;
        };
        found
            .value
            .as_bool()
            .or_else(|| self.mistyped(&found, "true or false"))
            .unwrap_or(default)
    }

    /// The whole number of `key` within `range`, or `None` if it is absent or rejected.
    pub(super) fn number<T>(&self, key: &'static str, range: RangeInclusive<T>) -> Option<T>
    where
        T: TryFrom<i64> + PartialOrd + Display,
    {
        let found = self.get(key)?;
        let Some(integer) = found.value.as_integer() else {
            return self.mistyped(&found, "a whole number");
        };
        let number = i64::from_str_radix(integer.as_str(), integer.radix())
            .ok()
            .and_then(|number| T::try_from(number).ok())
            .filter(|number| range.contains(number));
        if number.is_none() {
            let message = format!("must be between {} and {}", range.start(), range.end());
            self.report.problem(&found.place, message);
        }
        number
    }

    /// The duration of `key` within `range`, or `None` if it is absent or rejected.
    pub(super) fn duration(
        &self,
        key: &'static str,
        range: RangeInclusive<Duration>,
    ) -> Option<Duration> {
        let found = self.get(key)?;
        let Some(text) = found.value.as_str() else {
            return self.mistyped(&found, "a duration such as \"30s\"");
        };
        match duration::parse(text, &range) {
            Ok(duration) => Some(duration),
            Err(error) => {
                self.report.problem(&found.place, error.to_string());
                None
            }
        }
    }

    /// The value that `key` chooses by its word.
    pub(super) fn choice<T: Copy>(
        &self,
        key: &'static str,
        choices: &[(&'static str, T)],
    ) -> Option<T> {
        let found = self.text(key)?;
        let chosen = choices.iter().find(|(word, _)| *word == found.value);
        if chosen.is_none() {
            let words: Vec<&str> = choices.iter().map(|(word, _)| *word).collect();
            let message = format!("expected one of: {}", words.join(", "));
            let meant = nearest(found.value, words);
            self.report.problem_meant(&found.place, message, meant);
        }
        chosen.map(|(_, value)| *value)
    }

    /// The absolute path of `key`.
    pub(super) fn path(&self, key: &'static str) -> Option<Found<PathBuf>> {
        let found = self.text(key)?;
        let path = PathBuf::from(found.value);
        let message = if !path.is_absolute() {
            "expected an absolute path, beginning with /"
        } else if path.components().any(|part| part == Component::ParentDir) {
            "a path must not contain .."
        } else if found.value.len() > LONGEST_PATH || found.value.contains(char::is_control) {
            "a path must be at most 4096 bytes, without control characters"
        } else {
            return Some(Found {
                value: path,
                place: found.place,
            });
        };
        self.report.problem(&found.place, message);
        None
    }

    /// The untyped value of `key`, for those that take more than one type.
    pub(super) fn any(&self, key: &'static str) -> Option<Found<&'a DeValue<'a>>> {
        self.get(key)
    }

    /// Reads the table of `key`.
    pub(super) fn table<T>(
        &self,
        key: &'static str,
        read: impl FnOnce(&Section<'a>) -> T,
    ) -> Option<T> {
        let found = self.get(key)?;
        self.lend_table(found, read)
    }

    fn lend_table<T>(
        &self,
        found: Found<&'a DeValue<'a>>,
        read: impl FnOnce(&Section<'a>) -> T,
    ) -> Option<T> {
        let Some(table) = found.value.as_table() else {
            return self.mistyped(&found, "a table");
        };
        Some(Section::new(self.report, table, found.place).lend(read))
    }

    /// Reads each table of `key`, an array of tables. Their places are counted from 1.
    pub(super) fn tables<T>(
        &self,
        key: &'static str,
        mut read: impl FnMut(&Section<'a>) -> T,
    ) -> Vec<T> {
        let Some(found) = self.get(key) else {
            return Vec::new();
        };
        let Some(array) = found.value.as_array() else {
            self.mistyped::<()>(&found, "an array of tables");
            return Vec::new();
        };
        let mut values = Vec::new();
        for (index, item) in array.iter().enumerate() {
            let path = format!("{}[{}]", found.place.path, index.saturating_add(1));
            let place = self.report.place(path, &item.span());
            let found = Found {
                value: item.get_ref(),
                place,
            };
            values.extend(self.lend_table(found, &mut read));
        }
        values
    }

    /// Reads each table below `key` with its name, as in `[clients.NAME]`.
    pub(super) fn named<T>(
        &self,
        key: &'static str,
        mut read: impl FnMut(&str, &Section<'a>) -> Option<T>,
    ) -> Vec<T> {
        let mut values = Vec::new();
        self.table(key, |all| {
            for (name, value) in all.table {
                let place = all.place_of(name);
                let found = Found {
                    value: value.get_ref(),
                    place,
                };
                let value = all.lend_table(found, |section| read(name.get_ref(), section));
                values.extend(value.flatten());
            }
            all.ignore_rest();
        });
        values
    }

    /// The names of the tables below `key`, with their places, without reading them.
    pub(super) fn names(&self, key: &str) -> Vec<Found<&'a str>> {
        let Some(found) = self.table.get_key_value(key) else {
            return Vec::new();
        };
        let (outer, value) = found;
        let names = value.get_ref().as_table().into_iter().flatten();
        names
            .map(|(name, _)| Found {
                value: &**name.get_ref(),
                place: Section::new(self.report, self.table, self.place_of(outer)).place_of(name),
            })
            .collect()
    }
}

/// The message about an unknown key that resembles none of the known ones.
fn unknown(known: &[&str]) -> String {
    let names: BTreeSet<_> = known.iter().copied().collect();
    let names: Vec<_> = names.into_iter().collect();
    format!("unknown key; this table takes: {}", names.join(", "))
}

/// The type of a value with its article.
fn article(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) => "an integer",
        DeValue::Float(_) => "a float",
        DeValue::Boolean(_) => "a boolean",
        DeValue::Datetime(_) => "a date or time",
        DeValue::Array(_) => "an array",
        DeValue::Table(_) => "a table",
    }
}
