//! The page of the counters, as a table: what an operator is told is written once.

use crate::engine::DropReason;

const PAGE: &str = include_str!("../../../docs/counters.md");

/// A row of `docs/counters.md`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CounterRow {
    /// The counter.
    pub name: &'static str,
    /// What it means.
    pub meaning: &'static str,
    /// What to do.
    pub advice: &'static str,
}

/// The row of a drop; none when the page lacks it, which `tests/counters.rs` forbids.
pub(super) fn row_of(reason: DropReason) -> Option<CounterRow> {
    PAGE.lines().find_map(|line| {
        let (name, rest) = line.strip_prefix("| `")?.split_once("` |")?;
        let (meaning, advice) = rest.trim_end_matches('|').split_once(" | ")?;
        (name == reason.name()).then_some(CounterRow { name, meaning: meaning.trim(), advice: advice.trim() })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_drop_reason_has_its_row() {
        for &reason in DropReason::ALL {
            let row = row_of(reason).unwrap_or_else(|| panic!("{} has no row", reason.name()));
            assert_eq!(row.name, reason.name());
            assert!(row.meaning.len() > 10 && row.advice.len() > 7, "{row:?}");
        }
    }
}
