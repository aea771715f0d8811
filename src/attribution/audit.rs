//! The record of queries (PRIV-5): who asked what, when, from where, in which case, and what he was told.

use std::fs;
use std::io;

use serde_json::{Value, json};

use super::digest::Digest;
use super::directory::Directory;
use super::lines::append_lines;
use super::moment::time_text;
use super::query::Answer;
use super::record::Millis;

/// Who asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asker {
    /// When.
    pub at: Millis,
    /// The user, by number and, where known, by name.
    pub who: String,
    /// The terminal or the remote host.
    pub from: String,
    /// The case reference.
    pub case: String,
}

/// Writes one entry for each answer, durably. What is not in the record is not told to anybody.
///
/// # Errors
/// A record that cannot be written.
pub fn note(directory: &Directory, asker: &Asker, answers: &[Answer]) -> io::Result<u64> {
    let entries: Vec<Value> = answers.iter().map(|answer| entry(asker, answer)).collect();
    append_lines(&directory.audit(), &entries)
}

/// As [`note`], of answers that a fleet's tables gave: the entries say which. The directory need not be a journal.
///
/// # Errors
/// A record that cannot be written.
pub fn note_fleet(directory: &Directory, asker: &Asker, fleet: &str, answers: &[Answer]) -> io::Result<u64> {
    fs::create_dir_all(directory.path())?;
    let entries: Vec<Value> = answers
        .iter()
        .map(|answer| {
            let mut entry = entry(asker, answer);
            entry["asked"] = json!(fleet);
            entry
        })
        .collect();
    append_lines(&directory.audit(), &entries)
}

fn entry(asker: &Asker, answer: &Answer) -> Value {
    let question = &answer.question;
    let told = answer.to_json();
    json!({
        "at": time_text(asker.at),
        "who": asker.who,
        "from": asker.from,
        "case": asker.case,
        "address": question.address,
        "port": question.port,
        "time": time_text(question.time),
        "uncertainty-ms": question.uncertainty,
        "protocol": question.protocol,
        "verdict": answer.verdict.name(),
        "answer": Digest::of(&[told.to_string().as_bytes()]).to_string(),
    })
}
