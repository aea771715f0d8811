//! The page as text.

use std::collections::BTreeSet;
use std::fmt::Write;

use crate::data::{Data, Requirement, Rfc, Status};
use crate::proofs::Proofs;

const HEAD: &str = "# Compliance, requirement by requirement
`cargo test --test compliance` makes this page from `tests/compliance/*.toml`, where every requirement is \
written down, and from the tests, each of which names the rows that it covers; the test fails when the page is \
not what they say (`UPDATE=1` rewrites it).

Every MUST, SHOULD and RECOMMENDED of the thirteen RFCs is here, in our own words and in the order of the RFC; a MAY \
where we use it; \"–\" marks what an RFC says without a keyword, small letters a keyword that it writes small. \
`module::name` is a test in `tests/rfc/module.rs`, and a [sentence](packets.md) a golden case in `tests/packets/`: \
packets that came and packets that left.

* **met**: a test proves it.
* **by design**: nothing is there that could break it.
* **deviates**: in part or by default we do something else; the reason stands beside it.
* **not applicable**: it is another's duty (the B4's, a host's, the operator's), or its subject does not occur.
* **not yet**: it is to be built.

";

const STATUSES: [Status; 5] =
    [Status::Met, Status::ByDesign, Status::Deviates, Status::NotApplicable, Status::NotYet];

pub(crate) fn page(data: &Data, proofs: &Proofs) -> String {
    let mut page = HEAD.to_owned();
    summary(&mut page, data);
    differences(&mut page, data);
    for rfc in &data.rfcs {
        heading(&mut page, &format!("RFC {}: {}", rfc.number, rfc.title));
        if !rfc.note.is_empty() {
            line(&mut page, &format!("{}\n", rfc.note));
        }
        line(&mut page, "| | Level | Requirement | Status | Proof, reason |\n|---|---|---|---|---|");
        for requirement in &rfc.requirement {
            let Requirement { at, level, text, status, .. } = requirement;
            let proof = proof(proofs, requirement);
            line(&mut page, &format!("| {at} | {level} | {text} | {} | {proof} |", word(*status)));
        }
    }
    others(&mut page, data, proofs);
    page
}

fn summary(page: &mut String, data: &Data) {
    heading(page, "Summary");
    line(page, "In parentheses: how many of them are a MUST or MUST NOT.\n");
    line(
        page,
        "| RFC | | met | by design | deviates | not applicable | not yet |\n|---|---|---|---|---|---|---|",
    );
    for rfc in &data.rfcs {
        let counts = STATUSES.map(|status| count(rfc, status)).join(" | ");
        line(page, &format!("| {} | {} | {counts} |", rfc.number, rfc.title));
    }
}

fn count(rfc: &Rfc, status: Status) -> String {
    let such = || rfc.requirement.iter().filter(|requirement| requirement.status == status);
    let musts = such().filter(|requirement| requirement.level.starts_with("MUST")).count();
    match (such().count(), musts) {
        (0, _) => "–".into(),
        (all, 0) => all.to_string(),
        (all, musts) => format!("{all} ({musts})"),
    }
}

fn differences(page: &mut String, data: &Data) {
    heading(page, "Where this AFTR differs, and what is missing");
    line(page, "| RFC | Level | Requirement | Status | Reason |\n|---|---|---|---|---|");
    for (rfc, requirement) in data.requirements() {
        let Requirement { at, level, text, status, why, .. } = requirement;
        if matches!(status, Status::Deviates | Status::NotYet) {
            line(page, &format!("| {rfc} {at} | {level} | {text} | {} | {why} |", word(*status)));
        }
    }
}

/// Rows that belong to none of the thirteen RFCs.
fn others(page: &mut String, data: &Data, proofs: &Proofs) {
    heading(page, "What else the tests hold");
    line(page, "Rows of the requirement catalogue that come from other RFCs, or that no RFC has.");
    for group in &data.rows.group {
        line(page, &format!("\n### {}\n| Row | It says | Proof, reason |\n|---|---|---|", group.title));
        for (row, text) in &group.rows {
            let excuse = data.why_without_test(row).unwrap_or_default();
            let proof = cell(&tests_of(proofs, [row.as_str()]), excuse);
            line(page, &format!("| {row} | {text} | {proof} |"));
        }
    }
}

fn proof(proofs: &Proofs, requirement: &Requirement) -> String {
    let rows = requirement.rows.iter().map(String::as_str);
    let also = requirement.also.iter().map(|test| match test.split_once("::") {
        Some((file, function)) => format!("`{function}` in [{}](../{file})", short(file)),
        None => format!("refused: [{}](../{test})", short(test)),
    });
    let tests: Vec<String> = tests_of(proofs, rows).into_iter().chain(also).collect();
    cell(&tests, &requirement.why)
}

fn tests_of<'r>(proofs: &Proofs, rows: impl IntoIterator<Item = &'r str>) -> Vec<String> {
    let rows: Vec<&str> = rows.into_iter().collect();
    let mut seen = BTreeSet::new();
    let functions = rows.iter().flat_map(|row| proofs.of(row)).map(|test| format!("`{test}`"));
    let stories = rows.iter().flat_map(|row| proofs.stories_of(row));
    let stories = stories.map(|name| format!("[{}](../tests/packets/{name}/story)", name.replace('-', " ")));
    functions.chain(stories).filter(|proof| seen.insert(proof.clone())).collect()
}

fn cell(tests: &[String], why: &str) -> String {
    let parts = [why.to_owned(), tests.join(", ")];
    parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("<br>")
}

fn short(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

fn word(status: Status) -> &'static str {
    match status {
        Status::Met => "met",
        Status::ByDesign => "by design",
        Status::Deviates => "**deviates**",
        Status::NotApplicable => "not applicable",
        Status::NotYet => "**not yet**",
    }
}

fn heading(page: &mut String, text: &str) {
    let gap = if page.ends_with("\n\n") { "" } else { "\n" };
    line(page, &format!("{gap}## {text}"));
}

fn line(page: &mut String, text: &str) {
    writeln!(page, "{text}").expect("a string takes all");
}
