//! Two AFTRs with the same external addresses: the tables say of each what its own journal says.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Output;
use std::time::Instant;

use aftr::attribution::fleet::{Clickhouse, Fleet};
use aftr::attribution::query::{Answer, Archive, LogGap, Place as Found, Question, Reason, Verdict};
use aftr::attribution::time_text;

use crate::folder::Folder;
use crate::place::{Place, python};
use crate::program::{aftr, assert_ends, text};
use crate::world::World;

pub(crate) fn ship(place: &Place, journal: &Path, name: &str, more: &[&str]) -> Output {
    let (url, journal) = (place.url(), journal.to_str().unwrap());
    aftr(&[&["journal", "ship", "--to", &url, "--journal", journal, "--as", name][..], more].concat())
}

fn fleet(place: &Place, only: Option<&str>) -> Fleet {
    Fleet::open(Clickhouse::new(&place.url().parse().unwrap(), None).unwrap(), only).unwrap()
}

/// Everything but where it was found.
fn told(answer: &Answer) -> String {
    let mut json = answer.to_json();
    for evidence in json["evidence"].as_array_mut().unwrap() {
        evidence["found-in"].take();
    }
    json.to_string()
}

#[test]
#[expect(clippy::disallowed_methods, reason = "a look-up is measured")]
fn the_tables_answer_as_the_journals_do() {
    let Some(python) = python("chdb") else { return };
    let folder = Folder::new("answers");
    let place = Place::open(&python, &folder.join("engine"), "");
    let mut asked = BTreeMap::new();
    let (mut compared, mut spent) = (0, Vec::new());
    for (seed, name) in [(1, "aftr-1"), (2, "aftr-2")] {
        let mut world = World::build(&folder.join(name), seed, 8000);
        assert!(world.grants > 1000, "{} grants", world.grants);
        assert_ends(
            &ship(&place, &folder.join(name), name, &["--create", "--retention-days", "730"]),
            0,
            &["each proved"],
        );
        let archive = Archive::open(&world.directory).unwrap();
        let fleet = fleet(&place, Some(name));
        for number in 0..1000 {
            let question = world.question();
            let wanted = archive.ask(&question).unwrap();
            let start = Instant::now();
            let answer = fleet.ask(&question).unwrap();
            spent.push(start.elapsed());
            *asked.entry(answer.verdict.name()).or_insert(0) += 1;
            compare(&question, &wanted, &answer, name, &format!("{name}, question {number}"));
            compared += 1;
        }
    }
    spent.sort();
    let at = |part: usize| spent[spent.len() * part / 100];
    println!("{compared} answers compared, all equal: {asked:?}; p50 {:?}, p99 {:?}", at(50), at(99));
    assert_eq!(asked.len(), 5, "each verdict came up: {asked:?}");
    several(&place, &folder);
    commands(&place, &folder);
    behind_the_newest(&place, &folder);
}

fn compare(question: &Question, wanted: &Answer, answer: &Answer, name: &str, context: &str) {
    let end = Verdict::Unknown(Reason::LogGap(LogGap::End));
    if wanted.verdict == end {
        // The journal ends there: for the tables that is what is not shipped yet.
        assert_eq!(
            answer.verdict,
            Verdict::Unknown(Reason::LogGap(LogGap::NotShipped)),
            "{context} {question:?}"
        );
        return;
    }
    assert_eq!(answer.verdict, wanted.verdict, "{context} {question:?}");
    for (ours, theirs) in answer.evidence.iter().zip(&wanted.evidence) {
        assert_eq!(ours.interval, theirs.interval, "{context} {question:?}");
    }
    assert_eq!(told(answer), told(wanted), "{context} {question:?}");
    for (ours, theirs) in answer.evidence.iter().zip(&wanted.evidence) {
        match (&ours.place, &theirs.place) {
            (
                Found::Partition { name: one, hash, aftr },
                Found::Partition { name: other, hash: other_hash, .. },
            ) => assert_eq!((one, hash, aftr.as_deref()), (other, other_hash, Some(name)), "{context}"),
            (Found::Configuration(one), Found::Configuration(other)) => assert_eq!(one, other),
            // What goes on behind the last partition stands in the journal's state of now as well.
            (Found::Partition { .. }, Found::Log(_)) => assert!(ours.interval.end.is_none(), "{context}"),
            other => panic!("{context}: {other:?}"),
        }
    }
}

/// Who does not say which AFTR hears all of them; what one of them does not know, nobody does.
fn several(place: &Place, folder: &Folder) {
    let archives = ["aftr-1", "aftr-2"]
        .map(|name| Archive::open(&aftr::attribution::Directory::new(&folder.join(name))).unwrap());
    let fleet = fleet(place, None);
    let mut world = World::build(&folder.join("other"), 3, 100);
    let mut both = 0;
    for _ in 0..300 {
        let question = world.question();
        let [one, other] = archives.each_ref().map(|archive| archive.ask(&question).unwrap());
        let answer = fleet.ask(&question).unwrap();
        let is_unknown = |answer: &Answer| matches!(answer.verdict, Verdict::Unknown(_));
        assert_eq!(is_unknown(&answer), is_unknown(&one) || is_unknown(&other), "{question:?}");
        if !is_unknown(&answer) {
            let mut all = [one.verdict.subscribers(), other.verdict.subscribers()].concat();
            all.sort();
            assert_eq!(answer.verdict.subscribers(), all, "{question:?}");
            both += usize::from(answer.verdict.name() == "ambiguous");
        }
    }
    assert!(both > 10, "{both} times two AFTRs had the same port");
}

/// What an operator types.
fn commands(place: &Place, folder: &Folder) {
    let mut world = World::build(&folder.join("commands"), 4, 100);
    let latest = world.now - 7_200_000;
    let lines: Vec<String> = (0..50)
        .map(|_| world.question())
        .map(|question| {
            let port = question.port.map_or("-".to_owned(), |port| port.to_string());
            format!("{},{port},{}\n", question.address, time_text(question.time.min(latest)))
        })
        .collect();
    let file = folder.join("questions.csv");
    std::fs::write(&file, lines.concat()).unwrap();
    let (url, file, audits) = (place.url(), file.to_str().unwrap(), folder.join("audits"));
    let journal = folder.join("aftr-1");
    let words = ["attribute", "--batch", file, "--case", "AZ 9", "--journal"];
    let own = aftr(&[&words[..], &[journal.to_str().unwrap()]].concat());
    let from = ["--from", &url, "--aftr", "aftr-1"];
    let fleet = aftr(&[&words[..], &[audits.to_str().unwrap()], &from].concat());
    assert_eq!(text(&fleet), text(&own));
    let audit = std::fs::read_to_string(audits.join("audit")).unwrap();
    let at = format!(r#""asked":"clickhouse://default@127.0.0.1:{}/fleet""#, place.port);
    assert!(audit.lines().count() == 50 && audit.lines().all(|line| line.contains(&at)), "{audit}");
    let unknown = [&words[..], &[audits.to_str().unwrap(), "--from", &url, "--aftr", "aftr-9"]].concat();
    assert_ends(&aftr(&unknown), 1, &["no aftr-9 has shipped anything", "there are aftr-1, aftr-2"]);
}

/// The AFTR goes on and seals; until that is shipped nothing is said about it.
fn behind_the_newest(place: &Place, folder: &Folder) {
    let mut world = World::build(&folder.join("going-on"), 5, 500);
    assert_ends(&ship(place, &folder.join("going-on"), "going-on", &[]), 0, &["each proved"]);
    world.go_on();
    let archive = Archive::open(&world.directory).unwrap();
    let late = world.now - 600_000;
    let questions: Vec<Question> = (0..126)
        .map(|block| Question {
            address: "198.51.100.0".parse().unwrap(),
            port: Some(1024 + block * 512),
            time: late,
            uncertainty: 1000,
            protocol: None,
        })
        .collect();
    let known = |answer: &Answer| answer.verdict.name() == "unique";
    assert!(questions.iter().any(|question| known(&archive.ask(question).unwrap())));
    let before = fleet(place, Some("going-on"));
    for question in &questions {
        let answer = before.ask(question).unwrap();
        assert_eq!(answer.verdict, Verdict::Unknown(Reason::LogGap(LogGap::NotShipped)));
        assert!(answer.to_json()["why"].as_str().unwrap().contains("not shipped"));
    }
    assert_ends(&ship(place, &folder.join("going-on"), "going-on", &["--verify"]), 0, &["not shipped yet"]);
    assert_ends(&ship(place, &folder.join("going-on"), "going-on", &[]), 0, &["each proved"]);
    let after = fleet(place, Some("going-on"));
    for question in &questions {
        assert_eq!(told(&after.ask(question).unwrap()), told(&archive.ask(question).unwrap()));
    }
}
