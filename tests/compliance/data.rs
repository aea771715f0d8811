//! The entries in `tests/compliance/`: one file for each RFC, and one for rows of the requirement catalogue.

use std::collections::BTreeSet;
use std::fs;

use serde::Deserialize;
use serde::de::DeserializeOwned;

const RFCS: [&str; 13] =
    ["6333", "4787", "5382", "5508", "5597", "6888", "7857", "2473", "6040", "7785", "7422", "8158", "7011"];

/// Everything that is written down, in the order of the page.
pub(crate) struct Data {
    pub(crate) rfcs: Vec<Rfc>,
    pub(crate) rows: Rows,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Rfc {
    #[serde(skip)]
    pub(crate) number: String,
    pub(crate) title: String,
    /// Said above the table.
    #[serde(default)]
    pub(crate) note: String,
    pub(crate) requirement: Vec<Requirement>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Requirement {
    /// Section, or the number that the RFC gives it: `6.3`, `REQ-5 a`.
    pub(crate) at: String,
    /// The RFC's keyword; `–` where the text says what a node does without one.
    pub(crate) level: String,
    pub(crate) text: String,
    /// Rows that tests name with `covers`.
    #[serde(default)]
    pub(crate) rows: Vec<String>,
    /// Proof of another kind: `tests/file.rs::function`, or a text that the configuration refuses.
    #[serde(default)]
    pub(crate) also: Vec<String>,
    #[serde(default)]
    pub(crate) status: Status,
    /// Why it is not simply met; otherwise a remark.
    #[serde(default)]
    pub(crate) why: String,
}

#[derive(Deserialize, Default, Clone, Copy, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Status {
    #[default]
    Met,
    /// Nothing is there that could break it.
    ByDesign,
    Deviates,
    NotApplicable,
    NotYet,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Rows {
    pub(crate) without_test: Vec<(String, String)>,
    pub(crate) group: Vec<Group>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Group {
    pub(crate) title: String,
    /// Each row, and what it asks.
    pub(crate) rows: Vec<(String, String)>,
}

impl Data {
    pub(crate) fn read() -> Data {
        let rfcs = RFCS.map(|number| Rfc { number: number.to_owned(), ..parse(&format!("rfc{number}")) });
        Data { rfcs: rfcs.into(), rows: parse("rows") }
    }

    pub(crate) fn requirements(&self) -> impl Iterator<Item = (&str, &Requirement)> {
        self.rfcs.iter().flat_map(|rfc| rfc.requirement.iter().map(|entry| (rfc.number.as_str(), entry)))
    }

    /// Every row that a test may name.
    pub(crate) fn known_rows(&self) -> BTreeSet<&str> {
        let own = self.rows.group.iter().flat_map(|group| &group.rows).map(|(row, _)| row.as_str());
        self.requirements().flat_map(|(_, entry)| &entry.rows).map(String::as_str).chain(own).collect()
    }

    /// Rows that have no test.
    pub(crate) fn excuses(&self) -> impl Iterator<Item = &str> {
        self.rows.without_test.iter().map(|(row, _)| row.as_str())
    }

    /// Why a row has no test.
    pub(crate) fn why_without_test(&self, row: &str) -> Option<&str> {
        self.rows.without_test.iter().find(|(named, _)| named == row).map(|(_, why)| why.as_str())
    }
}

fn parse<T: DeserializeOwned>(name: &str) -> T {
    let path = format!("tests/compliance/{name}.toml");
    let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
    toml::from_str(&text).unwrap_or_else(|error| panic!("{path}: {error}"))
}
