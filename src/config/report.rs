//! Collects problems while a configuration is read.
//!
//! Owns the way from a position in the text to a [`Problem`]. Shared by reference between the readers of all sections,
//! which go on after a fault so that every fault is found in one run.

use std::cell::RefCell;
use std::ops::Range;

use crate::config::problems::Problem;

/// Problems reported in one run, so that a file of garbage fills neither memory nor the terminal.
const MOST_PROBLEMS: usize = 200;

/// Names longer than this are not compared with others in search of a suggestion.
const LONGEST_COMPARED: usize = 64;

/// How similar (0 to 1) a name must be to be suggested.
const ALIKE: f64 = 0.8;

/// A place in the file.
#[derive(Clone, Debug)]
pub(super) struct Place {
    /// The key, from the top.
    pub(crate) path: String,
    /// The line, counted from 1.
    pub(crate) line: Option<u32>,
}

/// The problems and warnings found so far.
#[derive(Debug)]
pub(super) struct Report {
    /// The offset of every line's first byte.
    lines: Vec<usize>,
    problems: RefCell<Vec<Problem>>,
    warnings: RefCell<Vec<Problem>>,
}

impl Report {
    /// An empty report about `text`.
    pub(super) fn new(text: &str) -> Self {
        let ends = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n');
        let starts = ends.map(|(offset, _)| offset.saturating_add(1));
        Self {
            lines: std::iter::once(0).chain(starts).collect(),
            problems: RefCell::default(),
            warnings: RefCell::default(),
        }
    }

    /// The line and column, counted from 1, at which `span` begins. Columns count bytes.
    pub(super) fn position(&self, span: &Range<usize>) -> (u32, usize) {
        let line = self.lines.partition_point(|start| *start <= span.start);
        let start = line
            .checked_sub(1)
            .and_then(|index| self.lines.get(index))
            .copied()
            .unwrap_or_default();
        let column = span.start.saturating_sub(start).saturating_add(1);
        (u32::try_from(line).unwrap_or(u32::MAX), column)
    }

    /// The place `path` at `span`.
    pub(super) fn place(&self, path: String, span: &Range<usize>) -> Place {
        Place {
            path,
            line: Some(self.position(span).0),
        }
    }

    /// Whether further faults are dropped, so that readers can stop.
    pub(super) fn is_full(&self) -> bool {
        self.problems.borrow().len() >= MOST_PROBLEMS
    }

    /// Reports a fault.
    pub(super) fn problem(&self, place: &Place, message: impl Into<String>) {
        push(&self.problems, place, message.into(), None);
    }

    /// Reports a fault, with the name that was probably meant.
    pub(super) fn problem_meant(
        &self,
        place: &Place,
        message: impl Into<String>,
        meant: Option<&str>,
    ) {
        push(&self.problems, place, message.into(), meant);
    }

    /// Warns of something that works but is probably not meant.
    pub(super) fn warning(&self, place: &Place, message: impl Into<String>) {
        push(&self.warnings, place, message.into(), None);
    }

    /// The faults and the warnings, each in the order of the file.
    pub(super) fn into_lists(self) -> (Vec<Problem>, Vec<Problem>) {
        let sorted = |list: RefCell<Vec<Problem>>| {
            let mut list = list.into_inner();
            list.sort_by_key(|problem| problem.line);
            list
        };
        (sorted(self.problems), sorted(self.warnings))
    }
}

fn push(list: &RefCell<Vec<Problem>>, place: &Place, message: String, meant: Option<&str>) {
    let mut list = list.borrow_mut();
    if list.len() >= MOST_PROBLEMS {
        return;
    }
    list.push(Problem {
        path: place.path.clone(),
        line: place.line,
        message,
        suggestion: meant.map(str::to_owned),
    });
}

/// The name of `known` that is most similar to `text`, if any is similar enough.
pub(crate) fn nearest<'a>(text: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    if text.len() > LONGEST_COMPARED {
        return None;
    }
    let likeness = |name: &str| {
        if name.eq_ignore_ascii_case(text) {
            1.0
        } else if name.len() > 2 && strsim::osa_distance(name, text) == 1 {
            0.95
        } else {
            strsim::jaro_winkler(name, text)
        }
    };
    known
        .into_iter()
        .map(|name| (likeness(name), name))
        .filter(|(likeness, _)| *likeness >= ALIKE)
        .max_by(|(one, _), (other, _)| one.total_cmp(other))
        .map(|(_, name)| name)
}
