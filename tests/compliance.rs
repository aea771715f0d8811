//! `docs/rfc-compliance.md` says of every requirement of thirteen RFCs whether it is met, and which test proves it.
//! The requirements are in `tests/compliance/`, the proof in the tests' own tags; the page is made from both.
//!
//! `UPDATE=1 cargo test --test compliance` writes it.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

#[path = "compliance/data.rs"]
mod data;
#[path = "compliance/proofs.rs"]
mod proofs;
#[path = "compliance/page.rs"]
mod page;

use data::{Data, Requirement, Status};
use proofs::Proofs;

const PAGE: &str = "docs/rfc-compliance.md";

#[test]
fn the_page_says_what_the_tests_prove() {
    let data = Data::read();
    let made = page::page(&data, &Proofs::read(&data.known_rows()));
    if std::env::var_os("UPDATE").is_some() {
        fs::write(PAGE, &made).expect("the page");
        return;
    }
    let written = fs::read_to_string(PAGE).unwrap_or_default();
    let differs = made.lines().zip(written.lines()).find(|(made, written)| made != written);
    assert!(
        made == written,
        "{PAGE} is not what the tests say now; `UPDATE=1 cargo test --test compliance` writes it. The first \
         line that differs: {differs:#?}"
    );
}

#[test]
fn what_is_met_has_a_test() {
    let data = Data::read();
    let proofs = Proofs::read(&data.known_rows());
    let mut wrong = Vec::new();
    for (rfc, requirement) in data.requirements() {
        let place = format!("RFC {rfc} {} ({})", requirement.at, requirement.text);
        wrong.extend(mistake(&data, &proofs, requirement).map(|mistake| format!("{place}: {mistake}")));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// What is wrong with a requirement's entry.
fn mistake(data: &Data, proofs: &Proofs, requirement: &Requirement) -> Option<String> {
    const LEVELS: [&str; 13] = [
        "MUST",
        "MUST NOT",
        "REQUIRED",
        "SHOULD",
        "SHOULD NOT",
        "RECOMMENDED",
        "NOT RECOMMENDED",
        "MAY",
        "must",
        "should",
        "recommended",
        "required",
        "–",
    ];
    if !LEVELS.contains(&requirement.level.as_str()) {
        return Some(format!("no level is called {}", requirement.level));
    }
    if let Some(missing) = requirement.also.iter().find(|test| !proofs::exists(test)) {
        return Some(format!("there is no test {missing}"));
    }
    if requirement.status != Status::Met {
        return requirement.why.is_empty().then(|| "says not why".into());
    }
    let untested =
        requirement.rows.iter().find(|row| !proofs.prove(row) && data.why_without_test(row).is_none());
    if let Some(row) = untested {
        return Some(format!("is met, but no test covers {row}"));
    }
    let proven = !requirement.also.is_empty() || requirement.rows.iter().any(|row| proofs.prove(row));
    (!proven).then(|| "is met, but nothing proves it".into())
}

#[test]
fn every_row_has_a_test_or_a_reason_why_not() {
    let data = Data::read();
    let proofs = Proofs::read(&data.known_rows());
    let known = data.known_rows();
    let without: Vec<_> =
        known.iter().filter(|row| !proofs.prove(row) && data.why_without_test(row).is_none()).collect();
    assert!(without.is_empty(), "no test covers {without:?}; tests/compliance/rows.toml says not why");
    let unknown: Vec<_> = data.excuses().filter(|row| !known.contains(row)).collect();
    assert!(unknown.is_empty(), "tests/compliance/rows.toml excuses rows that do not exist: {unknown:?}");
    let tested: Vec<_> = data.excuses().filter(|row| proofs.prove(row)).collect();
    assert!(tested.is_empty(), "these rows have a test now, so take them out of rows.toml: {tested:?}");
}

#[test]
fn every_tag_names_a_row_and_stands_in_a_test() {
    let mistakes = Proofs::read(&Data::read().known_rows()).mistakes;
    assert!(mistakes.is_empty(), "{}", mistakes.join("\n"));
}

#[test]
fn a_row_of_the_thirteen_rfcs_has_an_entry_in_the_table_of_its_rfc() {
    let data = Data::read();
    let named: BTreeSet<(&str, &str)> = data
        .requirements()
        .flat_map(|(rfc, requirement)| requirement.rows.iter().map(move |row| (rfc, row.as_str())))
        .collect();
    let rfcs: BTreeSet<&str> = data.rfcs.iter().map(|rfc| rfc.number.as_str()).collect();
    for row in data.known_rows() {
        for rfc in row.split(", ").filter_map(|part| part.split_once('-')).map(|(number, _)| number) {
            assert!(!rfcs.contains(rfc) || named.contains(&(rfc, row)), "RFC {rfc} has no entry with {row}");
        }
    }
}

#[test]
fn a_tag_that_is_wrong_is_found() {
    let rows = BTreeSet::from(["M1", "4787-REQ-9/9a"]);
    let mut proofs = Proofs::default();
    proofs.read_source(
        Path::new("tests/rfc/some.rs"),
        "#[test]\nfn good() {\n    covers(\"M1\");\n}\n\nfn aside() {\n    covers(\"M1\");\n}\n\n\
         #[test]\nfn bad() {\n    covers(\"M99\");\n}\n\n#[test]\n#[ignore = \"slow\"]\nfn idle() {\n    covers(\"M1\");\n}\n\
         \n#[test]\nfn table() {\n    covers(id);\n}\n",
        &rows,
    );
    assert_eq!(proofs.of("M1"), ["some::good"]);
    assert_eq!(
        proofs.mistakes,
        [
            "some::aside is no test that always runs, and names M1",
            "some::bad names M99, which is no row",
            "some::idle is no test that always runs, and names M1",
            "some::table names what is no literal, which is no row",
        ]
    );
    proofs.read_story("homes-call", "# One home calls another. (RFC 1, 4787-REQ-9)\n", &rows);
    proofs.read_story("not-yet", "# A dream. (4787-REQ-9)\nunmet it is not built\n", &rows);
    assert_eq!(proofs.stories_of("4787-REQ-9/9a"), ["homes-call"]);
}

#[test]
fn a_test_in_a_module_is_found() {
    let mut proofs = Proofs::default();
    proofs.read_source(
        Path::new("tests/rfc/some.rs"),
        "fn aside() {}\n\nmod tests {\n    #[test]\n    #[expect(lint)]\n    fn inner() {\n        covers(\"M1\");\n    }\n\n\
             \x20   #[test]\n    #[ignore]\n    fn idle() {\n        covers(\"M1\");\n    }\n}\n",
        &BTreeSet::from(["M1"]),
    );
    assert_eq!(proofs.of("M1"), ["some::inner"]);
    assert_eq!(proofs.mistakes, ["some::idle is no test that always runs, and names M1"]);
    assert!(proofs::exists("src/export/template.rs::every_template_is_found_by_its_number"));
    assert!(!proofs::exists("src/export/template.rs::octets"), "it is no test");
    assert!(!proofs::exists("tests/journal/killed.rs::child_that_grants"), "it is ignored");
}
