//! `docs/counters.md` explains every counter, in the order that the engine names them, and none that does
//! not exist.

use std::fs;

use aftr::engine::{Counters, DropReason};

/// A row of a table: the counter, what it means, what to do.
struct Row {
    name: String,
    meaning: String,
    advice: String,
}

fn rows() -> Vec<Row> {
    let text = fs::read_to_string("docs/counters.md").expect("the page of the counters");
    text.lines()
        .filter_map(|line| line.strip_prefix("| `")?.split_once("` |"))
        .map(|(name, rest)| {
            let cells: Vec<&str> = rest.trim_end_matches('|').split(" | ").map(str::trim).collect();
            assert_eq!(cells.len(), 2, "{name} needs a meaning and an advice: {rest}");
            Row { name: name.to_owned(), meaning: cells[0].to_owned(), advice: cells[1].to_owned() }
        })
        .collect()
}

#[test]
fn every_counter_is_explained_and_nothing_else() {
    let documented: Vec<String> = rows().into_iter().map(|row| row.name).collect();
    let counted: Vec<&str> = Counters::default().named().map(|(name, _)| name).collect();
    let missing: Vec<&&str> =
        counted.iter().filter(|&&name| !documented.iter().any(|row| row == name)).collect();
    let unknown: Vec<&String> =
        documented.iter().filter(|&row| !counted.iter().any(|&name| row == name)).collect();
    assert!(missing.is_empty(), "docs/counters.md does not explain {missing:?}");
    assert!(unknown.is_empty(), "docs/counters.md explains what does not exist: {unknown:?}");
    assert_eq!(documented, counted, "docs/counters.md has another order, or one of them twice");
}

#[test]
fn an_explanation_says_something() {
    for Row { name, meaning, advice } in rows() {
        assert!(meaning.len() >= 10, "{name}: {meaning}");
        let is_drop = DropReason::ALL.iter().any(|reason| reason.name() == name);
        assert!(!is_drop || advice.len() >= 8, "{name} says not what to do: {advice}");
    }
}

#[test]
fn an_explanation_stands_alone() {
    for Row { name, meaning, advice } in rows() {
        let text = format!("{meaning} {advice}").to_lowercase();
        let leans = ["as before", "as for", "see above"].into_iter().find(|words| text.contains(words));
        assert_eq!(leans, None, "`aftr explain` prints the row of {name} without the others");
    }
}

#[test]
fn every_counter_that_the_page_names_exists() {
    let text = fs::read_to_string("docs/counters.md").expect("the page of the counters");
    let counters = Counters::default();
    let named = |word: &str| counters.named().any(|(name, _)| name == word);
    let words =
        text.split('`').skip(1).step_by(2).filter(|word| word.starts_with("drop.") && !word.contains('…'));
    for word in words {
        assert!(named(word), "no counter {word}");
    }
}

#[test]
fn every_key_that_is_recommended_exists() {
    let text = fs::read_to_string("docs/counters.md").expect("the page of the counters");
    let reference =
        fs::read_to_string("aftr-config/examples/reference.toml").expect("the reference configuration");
    let keys = text
        .split('`')
        .skip(1)
        .step_by(2)
        .filter(|word| word.contains('-') && !word.contains([' ', '_', '/']));
    for key in keys {
        let leaf = key.rsplit('.').next().unwrap_or(key).trim_matches(|c: char| !c.is_ascii_alphanumeric());
        let is_event = ["refused", "pool-high"].contains(&leaf);
        let is_value = leaf == "endpoint-independent";
        assert!(is_event || is_value || reference.contains(leaf), "no configuration key {key}");
    }
}
