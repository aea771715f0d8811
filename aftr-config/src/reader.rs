//! Reading a table of the document: what is asked for is taken, what is wrong is reported and replaced
//! by the default, and what nobody asked for is unknown.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::ops::RangeInclusive;
use std::str::FromStr;

use ipnet::{Ipv4Net, Ipv6Net};
use toml::de::{DeTable, DeValue};

use crate::report::{Report, join};

const IPV4_PREFIX: &str = "an IPv4 prefix, as \"198.51.100.0/28\"";

/// A table that is being read; a missing one reads as an empty one.
pub(crate) struct Table<'r> {
    path: String,
    entries: Option<&'r DeTable<'r>>,
    asked: Vec<&'static str>,
    report: &'r Report<'r>,
}

/// Why a value is not what it should be, and the cure.
pub(crate) struct Wrong {
    problem: String,
    cure: String,
}

/// What can be read from one value.
pub(crate) trait Value: Sized {
    fn read(value: &DeValue<'_>) -> Result<Self, Wrong>;
}

impl<'r> Table<'r> {
    pub(crate) fn root(document: &'r DeTable<'r>, report: &'r Report<'r>) -> Table<'r> {
        Table { path: String::new(), entries: Some(document), asked: Vec::new(), report }
    }

    /// The path of a key of this table.
    pub(crate) fn key(&self, key: &str) -> String {
        join(&self.path, key)
    }

    pub(crate) fn report(&self) -> &'r Report<'r> {
        self.report
    }

    pub(crate) fn has(&self, key: &str) -> bool {
        self.entries.is_some_and(|entries| entries.contains_key(key))
    }

    pub(crate) fn is_table(&self, key: &str) -> bool {
        let value = self.entries.and_then(|entries| entries.get(key));
        value.is_some_and(|value| value.get_ref().is_table())
    }

    /// The table at `key`.
    pub(crate) fn table(&mut self, key: &'static str) -> Table<'r> {
        let cure = format!("make it a table: [{}]", self.key(key));
        self.table_or(key, cure)
    }

    /// The table at `key`; the cure is for something else there. Below an element of a list it has no header.
    pub(crate) fn table_or(&mut self, key: &'static str, cure: impl Into<String>) -> Table<'r> {
        let path = self.key(key);
        let entries = self.read_with(key, |value| {
            value.as_table().ok_or_else(|| Wrong::new(format!("is {}", kind(value)), cure))
        });
        Table { path, entries, asked: Vec::new(), report: self.report }
    }

    /// Each table of the list at `key`, as far as `read` makes something of it.
    pub(crate) fn tables<T>(&mut self, key: &'static str, read: impl Fn(Table<'r>) -> Option<T>) -> Vec<T> {
        let (list, report) = (self.key(key), self.report);
        self.elements(key, |path, value| {
            let Some(table) = value.as_table() else {
                let cure = format!("write each element under [[{list}]]");
                report.wrong(path, format!("is {}", kind(value)), cure);
                return None;
            };
            read(Table { path: path.to_owned(), entries: Some(table), asked: Vec::new(), report })
        })
    }

    /// The list at `key`, if there is one.
    pub(crate) fn list<T: Value>(&mut self, key: &'static str) -> Option<Vec<T>> {
        let report = self.report;
        let elements = self.elements(key, |path, value| checked(report, path, T::read(value)));
        self.has(key).then_some(elements)
    }

    /// The value at `key`, if there is one.
    pub(crate) fn optional<T: Value>(&mut self, key: &'static str) -> Option<T> {
        self.read_with(key, T::read)
    }

    /// The value at `key`, or the default.
    pub(crate) fn value<T: Value>(&mut self, key: &'static str, default: T) -> T {
        self.optional(key).unwrap_or(default)
    }

    /// The value at `key`; a missing one is reported with the cure.
    pub(crate) fn required<T: Value>(&mut self, key: &'static str, cure: &str) -> Option<T> {
        self.require(key, cure);
        self.optional(key)
    }

    /// Reports `key` when it is missing.
    pub(crate) fn require(&mut self, key: &'static str, cure: &str) {
        if !self.has(key) && !self.report.is_reported(&self.path) {
            self.report.wrong(&self.key(key), "is missing", cure);
        }
    }

    /// The whole number at `key`, if there is one.
    pub(crate) fn optional_number<N: TryFrom<u32>>(
        &mut self,
        key: &'static str,
        range: RangeInclusive<u32>,
    ) -> Option<N> {
        let number = self.read_with(key, |value| number(value, &range))?;
        N::try_from(number).ok()
    }

    /// The whole number at `key`, or the default.
    pub(crate) fn number<N: TryFrom<u32>>(
        &mut self,
        key: &'static str,
        range: RangeInclusive<u32>,
        default: N,
    ) -> N {
        self.optional_number(key, range).unwrap_or(default)
    }

    /// One of the named values at `key`, if there is one.
    pub(crate) fn choice<T: Copy>(&mut self, key: &'static str, names: &[(&str, T)]) -> Option<T> {
        self.read_with(key, |value| choose(value, names))
    }

    /// Every key that nobody asked for is unknown.
    pub(crate) fn finish(self) {
        for key in self.entries.into_iter().flat_map(|entries| entries.keys()) {
            if !self.asked.contains(&&**key.get_ref()) {
                self.report.note_unknown(&self.path, key.get_ref());
            }
        }
    }

    /// The value at `key` as `read` understands it.
    pub(crate) fn read_with<T>(
        &mut self,
        key: &'static str,
        read: impl FnOnce(&'r DeValue<'r>) -> Result<T, Wrong>,
    ) -> Option<T> {
        let value = self.ask(key)?;
        checked(self.report, &self.key(key), read(value))
    }

    fn elements<T>(
        &mut self,
        key: &'static str,
        read: impl Fn(&str, &'r DeValue<'r>) -> Option<T>,
    ) -> Vec<T> {
        let path = self.key(key);
        let Some(value) = self.ask(key) else { return Vec::new() };
        let DeValue::Array(array) = value else {
            let cure = if value.is_table() {
                format!("write each element under [[{path}]]")
            } else {
                format!("it is a list: [{}]", self.report.source(&path))
            };
            self.report.wrong(&path, format!("is {}", kind(value)), cure);
            return Vec::new();
        };
        let read = array.iter().enumerate().filter_map(|(at, value)| {
            let element = read(&format!("{path}[{at}]"), value.get_ref())?;
            Some((at, element))
        });
        let (kept, elements) = read.unzip();
        self.report.keep(&path, kept);
        elements
    }

    fn ask(&mut self, key: &'static str) -> Option<&'r DeValue<'r>> {
        self.asked.push(key);
        self.report.note_known(self.key(key));
        self.entries?.get(key).map(|value| value.get_ref())
    }
}

/// What was read, or nothing and a report. A list or a table is too long to be shown.
fn checked<T>(report: &Report<'_>, path: &str, read: Result<T, Wrong>) -> Option<T> {
    match read {
        Ok(read) => Some(read),
        Err(Wrong { problem, cure }) => {
            if report.source(path).starts_with(['[', '{']) {
                report.wrong(path, problem, cure);
            } else {
                report.wrong_value(path, problem, cure);
            }
            None
        }
    }
}

impl Wrong {
    pub(crate) fn new(problem: impl Into<String>, cure: impl Into<String>) -> Wrong {
        Wrong { problem: problem.into(), cure: cure.into() }
    }

    /// The same, with more of a cure.
    pub(crate) fn add(self, cure: &str) -> Wrong {
        Wrong { cure: format!("{}{cure}", self.cure), ..self }
    }

    /// The same, of a part of the value.
    pub(crate) fn of(self, part: &str) -> Wrong {
        Wrong { problem: format!("is wrong: {part} {}", self.problem), ..self }
    }
}

impl std::fmt::Display for Wrong {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}; {}", self.problem, self.cure)
    }
}

/// A whole number of the range.
pub(crate) fn number(value: &DeValue<'_>, range: &RangeInclusive<u32>) -> Result<u32, Wrong> {
    let (least, most) = (*range.start(), *range.end());
    let cure = if least == most {
        format!("write {least}")
    } else {
        format!("write a whole number from {least} to {most}")
    };
    let DeValue::Integer(integer) = value else {
        let quotes = if value.is_str() { ", without quotes" } else { "" };
        return Err(Wrong::new(format!("is {}", kind(value)), format!("{cure}{quotes}")));
    };
    let number = i128::from_str_radix(integer.as_str(), integer.radix()).unwrap_or(i128::MAX);
    if number < i128::from(least) {
        return Err(Wrong::new(format!("is below {least}"), cure));
    }
    match u32::try_from(number) {
        Ok(number) if number <= most => Ok(number),
        _ => Err(Wrong::new(format!("is above {most}"), cure)),
    }
}

/// One of the named values.
pub(crate) fn choose<T: Copy>(value: &DeValue<'_>, names: &[(&str, T)]) -> Result<T, Wrong> {
    let quoted: Vec<String> = names.iter().map(|(name, _)| format!("\"{name}\"")).collect();
    let cure = || format!("write {}", quoted.join(" or "));
    let text = value.as_str().ok_or_else(|| Wrong::new(format!("is {}", kind(value)), cure()))?;
    let chosen = names.iter().find(|(name, _)| *name == text);
    chosen.map(|&(_, chosen)| chosen).ok_or_else(|| Wrong::new("is not known", cure()))
}

/// The text of a string.
pub(crate) fn string<'v>(value: &'v DeValue<'_>, what: &str) -> Result<&'v str, Wrong> {
    value.as_str().ok_or_else(|| Wrong::new(format!("is {}", kind(value)), format!("write {what}")))
}

/// The prefix, unless bits are set behind it.
pub(crate) fn ipv4_net(text: &str) -> Result<Ipv4Net, Wrong> {
    let net: Ipv4Net = parsed(text, IPV4_PREFIX)?;
    if net == net.trunc() { Ok(net) } else { Err(host_bits(net.trunc())) }
}

fn parsed<T: FromStr>(text: &str, what: &str) -> Result<T, Wrong> {
    text.parse().map_err(|_| Wrong::new("cannot be read", format!("write {what}")))
}

fn host_bits(network: impl std::fmt::Display) -> Wrong {
    Wrong::new("has bits set behind the prefix", format!("write \"{network}\""))
}

impl Value for bool {
    fn read(value: &DeValue<'_>) -> Result<bool, Wrong> {
        value.as_bool().ok_or_else(|| Wrong::new(format!("is {}", kind(value)), "write true or false"))
    }
}

impl Value for String {
    fn read(value: &DeValue<'_>) -> Result<String, Wrong> {
        string(value, "a text in quotes").map(str::to_owned)
    }
}

impl Value for Ipv4Addr {
    fn read(value: &DeValue<'_>) -> Result<Ipv4Addr, Wrong> {
        const WHAT: &str = "an IPv4 address, as \"198.51.100.1\"";
        parsed(string(value, WHAT)?, WHAT)
    }
}

impl Value for Ipv6Addr {
    fn read(value: &DeValue<'_>) -> Result<Ipv6Addr, Wrong> {
        const WHAT: &str = "an IPv6 address, as \"2001:db8::1\"";
        parsed(string(value, WHAT)?, WHAT)
    }
}

impl Value for Ipv4Net {
    fn read(value: &DeValue<'_>) -> Result<Ipv4Net, Wrong> {
        ipv4_net(string(value, IPV4_PREFIX)?)
    }
}

impl Value for Ipv6Net {
    fn read(value: &DeValue<'_>) -> Result<Ipv6Net, Wrong> {
        const WHAT: &str = "an IPv6 prefix, as \"2001:db8:b4::/48\"";
        let net: Ipv6Net = parsed(string(value, WHAT)?, WHAT)?;
        if net == net.trunc() { Ok(net) } else { Err(host_bits(net.trunc())) }
    }
}

/// What a value is, in words.
pub(crate) fn kind(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) => "a whole number",
        DeValue::Float(_) => "a fraction",
        DeValue::Boolean(_) => "a boolean",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}
