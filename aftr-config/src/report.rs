//! Where every key of a document stands, and all that was found wrong with it so far.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use toml::de::{DeTable, DeValue};

use crate::error::{ConfigError, line_and_column};

/// Collects what is wrong, so that reading never stops at the first error.
pub(crate) struct Report<'t> {
    text: &'t str,
    places: BTreeMap<String, Place>,
    /// Which elements of a list made it into the model, where some did not.
    kept: RefCell<BTreeMap<String, Vec<usize>>>,
    /// Every key that anybody asked for.
    known: RefCell<BTreeSet<String>>,
    /// Path of the table, name of the key.
    unknown: RefCell<Vec<(String, String)>>,
    errors: RefCell<Vec<ConfigError>>,
}

/// Byte offsets: where the key begins (of a list element: the element), and the value.
struct Place {
    start: usize,
    value: Range<usize>,
}

impl<'t> Report<'t> {
    pub(crate) fn new(text: &'t str, document: &DeTable<'_>) -> Report<'t> {
        let mut places = BTreeMap::new();
        note_places("", document, &mut places);
        Report {
            text,
            places,
            kept: RefCell::default(),
            known: RefCell::default(),
            unknown: RefCell::default(),
            errors: RefCell::default(),
        }
    }

    /// Reports `key`: `problem` goes on the sentence that begins with it. One key is reported once.
    pub(crate) fn wrong(&self, key: &str, problem: impl Into<String>, cure: impl Into<String>) {
        if self.is_reported(key) {
            return;
        }
        let (line, column) = line_and_column(self.text, self.offset(key));
        let error =
            ConfigError { key: key.to_owned(), line, column, problem: problem.into(), cure: cure.into() };
        self.errors.borrow_mut().push(error);
    }

    /// Reports the value of `key`, which the message shows as it was written.
    pub(crate) fn wrong_value(&self, key: &str, problem: impl AsRef<str>, cure: impl Into<String>) {
        self.wrong(key, format!("= {} {}", self.source(key), problem.as_ref()), cure);
    }

    /// Whether `key` itself was reported.
    pub(crate) fn is_reported(&self, key: &str) -> bool {
        self.errors.borrow().iter().any(|error| error.key == key)
    }

    /// Whether something at `key`, or below it, was reported.
    pub(crate) fn is_wrong(&self, key: &str) -> bool {
        self.errors.borrow().iter().any(|error| {
            let rest = error.key.strip_prefix(key);
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
        })
    }

    /// The value of `key` as it was written; empty when the key is missing.
    pub(crate) fn source(&self, key: &str) -> &'t str {
        let value = self.places.get(key).map(|place| place.value.clone());
        value.and_then(|value| self.text.get(value)).unwrap_or_default()
    }

    /// Notes that the model's list at `key` holds these elements of the document's.
    pub(crate) fn keep(&self, key: &str, elements: Vec<usize>) {
        self.kept.borrow_mut().insert(key.to_owned(), elements);
    }

    /// The place in the document of what the model has at `position` of the list at `key`.
    pub(crate) fn index(&self, key: &str, position: usize) -> usize {
        self.kept.borrow().get(key).and_then(|kept| kept.get(position)).copied().unwrap_or(position)
    }

    /// The path of what the model has at `position` of the list at `key`.
    pub(crate) fn element(&self, key: &str, position: usize) -> String {
        format!("{key}[{}]", self.index(key, position))
    }

    pub(crate) fn note_known(&self, path: String) {
        self.known.borrow_mut().insert(path);
    }

    pub(crate) fn note_unknown(&self, table: &str, key: &str) {
        self.unknown.borrow_mut().push((table.to_owned(), key.to_owned()));
    }

    /// Everything that is wrong, in the order of the text.
    pub(crate) fn into_errors(self) -> Vec<ConfigError> {
        for (table, key) in self.unknown.take() {
            let cure = self.nearest(&table, &key);
            self.wrong(&join(&table, &key), "is unknown", cure);
        }
        let mut errors = self.errors.into_inner();
        errors.sort_by_key(|error| (error.line, error.column));
        errors
    }

    /// What an unknown key may have been meant to be.
    fn nearest(&self, table: &str, key: &str) -> String {
        let known = self.known.borrow();
        let siblings: Vec<&str> = known
            .iter()
            .map(|path| path.rsplit_once('.').unwrap_or(("", path)))
            .filter_map(|(parent, name)| (parent == table).then_some(name))
            .collect();
        let near = siblings
            .iter()
            .map(|name| (strsim::damerau_levenshtein(name, key), *name))
            .filter(|&(distance, name)| distance <= (name.len() / 3).max(1) || name.starts_with(key))
            .min();
        if let Some((_, name)) = near {
            return format!("did you mean {name}?");
        }
        let elsewhere = known.iter().find_map(|path| path.rsplit_once('.').filter(|&(_, name)| name == key));
        match elsewhere {
            Some((other, _)) => format!("it belongs to {other}"),
            None => format!("known are {}", siblings.join(", ")),
        }
    }

    /// Where `key` begins; where the nearest table around it begins when it is missing.
    fn offset(&self, key: &str) -> usize {
        let mut path = key;
        loop {
            if let Some(place) = self.places.get(path) {
                return place.start;
            }
            let Some(cut) = path.rfind(['.', '[']) else { return 0 };
            path = &path[..cut];
        }
    }

    /// Keys that were asked for and are not in the document.
    #[cfg(test)]
    pub(crate) fn absent(&self) -> Vec<String> {
        self.known.borrow().iter().filter(|path| !self.places.contains_key(*path)).cloned().collect()
    }
}

/// The path of a key in a table.
pub(crate) fn join(table: &str, key: &str) -> String {
    if table.is_empty() { key.to_owned() } else { format!("{table}.{key}") }
}

fn note_places(path: &str, table: &DeTable<'_>, places: &mut BTreeMap<String, Place>) {
    for (key, value) in table {
        let path = join(path, key.get_ref());
        places.insert(path.clone(), Place { start: key.span().start, value: value.span() });
        note_value(&path, value.get_ref(), places);
    }
}

fn note_value(path: &str, value: &DeValue<'_>, places: &mut BTreeMap<String, Place>) {
    if let Some(table) = value.as_table() {
        note_places(path, table, places);
    }
    for (at, element) in value.as_array().into_iter().flat_map(|array| array.iter()).enumerate() {
        let path = format!("{path}[{at}]");
        places.insert(path.clone(), Place { start: element.span().start, value: element.span() });
        note_value(&path, element.get_ref(), places);
    }
}
