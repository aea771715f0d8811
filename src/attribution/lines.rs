//! Text files of hash-chained lines: the catalogue of partitions and the record of queries.
//!
//! ```text
//! <SHA-256 of the line before, a line feed and the rest of this line> <number> <JSON>
//! ```
//! A line that is changed, left out or put in breaks the chain at its place. Any expert can follow it with
//! `sha256sum`.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;

use serde_json::Value;

use super::digest::Digest;

/// A line that does not follow the one before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadLine {
    /// Its place in the file, from 1.
    pub number: u64,
    /// Why.
    pub why: &'static str,
}

impl fmt::Display for BadLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "record {}: {}", self.number, self.why)
    }
}

/// The lines of a file up to the first bad one, and that.
#[derive(Debug, Default)]
pub struct Lines {
    /// In their order.
    pub lines: Vec<Value>,
    /// Hash of the last good line.
    pub last: Digest,
    /// The first bad one.
    pub bad: Option<BadLine>,
    /// Behind the last line is a piece of one: its writer ended, or its end was changed.
    pub is_unfinished: bool,
}

/// Reads and checks a file; none has no lines. An unfinished line at the end was never acknowledged and is left
/// out.
///
/// # Errors
/// A file that cannot be read.
pub fn read_lines(path: &Path) -> io::Result<Lines> {
    let text = match std::fs::read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Lines::default()),
        text => text?,
    };
    let mut read = Lines::default();
    for (number, line) in (1..).zip(text.split_inclusive(|&octet| octet == b'\n')) {
        let Some(line) = line.strip_suffix(b"\n") else {
            read.is_unfinished = true;
            break;
        };
        match check(read.last, number, line) {
            Ok((hash, value)) => {
                read.last = hash;
                read.lines.push(value);
            }
            Err(why) => {
                read.bad = Some(BadLine { number, why });
                break;
            }
        }
    }
    Ok(read)
}

fn check(before: Digest, number: u64, line: &[u8]) -> Result<(Digest, Value), &'static str> {
    let text = std::str::from_utf8(line).map_err(|_| "is no text")?;
    let (hash, rest) = text.split_once(' ').ok_or("has no hash")?;
    let hash = Digest::parse(hash).ok_or("has no hash")?;
    let (said, json) = rest.split_once(' ').ok_or("has no number")?;
    if said.parse() != Ok(number) {
        return Err("has another number: lines are missing, or were put in");
    }
    if hash_of(before, rest) != hash {
        return Err("does not fit its hash: it, or the line before, was changed");
    }
    Ok((hash, serde_json::from_str(json).map_err(|_| "is no JSON")?))
}

fn hash_of(before: Digest, rest: &str) -> Digest {
    Digest::of(&[before.to_string().as_bytes(), b"\n", rest.as_bytes()])
}

/// Appends lines, durably; several processes may do so at once. Gives the number of the last.
///
/// # Errors
/// A file that cannot be written, or whose end is no line of ours.
pub fn append_lines(path: &Path, values: &[Value]) -> io::Result<u64> {
    let mut file = OpenOptions::new().read(true).append(true).create(true).open(path)?;
    file.lock()?;
    let (mut number, mut last) = end_of(&mut file)?;
    let mut text = String::new();
    for value in values {
        number += 1;
        let rest = format!("{number} {value}");
        last = hash_of(last, &rest);
        text += &format!("{last} {rest}\n");
    }
    file.write_all(text.as_bytes())?;
    file.sync_data()?;
    Ok(number)
}

/// Number and hash of the last line. What is unfinished behind it is cut off.
fn end_of(file: &mut File) -> io::Result<(u64, Digest)> {
    /// Longer than any line.
    const TAIL: u64 = 1 << 20;
    let length = file.seek(SeekFrom::End(0))?;
    let start = length.saturating_sub(TAIL);
    file.seek(SeekFrom::Start(start))?;
    let mut tail = Vec::new();
    file.read_to_end(&mut tail)?;
    let whole = tail.iter().rposition(|&octet| octet == b'\n').map_or(0, |at| at + 1);
    if whole < tail.len() {
        file.set_len(start + whole as u64)?;
    }
    let Some(line) = tail[..whole].strip_suffix(b"\n") else {
        return if start == 0 { Ok((0, Digest::default())) } else { Err(io::ErrorKind::InvalidData.into()) };
    };
    let line = &line[line.iter().rposition(|&octet| octet == b'\n').map_or(0, |at| at + 1)..];
    let mut words = line.splitn(3, |&octet| octet == b' ');
    let mut word = || words.next().and_then(|word| std::str::from_utf8(word).ok());
    let (hash, number) = (word().and_then(Digest::parse), word().and_then(|word| word.parse().ok()));
    match (hash, number) {
        (Some(hash), Some(number)) => Ok((number, hash)),
        _ => Err(io::Error::new(io::ErrorKind::InvalidData, "its last line is not ours")),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::attribution::testing::Folder;

    fn written(folder: &Path) -> std::path::PathBuf {
        let path = folder.join("lines");
        append_lines(&path, &[json!({"a": 1}), json!({"a": 2})]).unwrap();
        assert_eq!(append_lines(&path, &[json!({"a": 3})]).unwrap(), 3);
        path
    }

    #[test]
    fn lines_are_read_as_they_were_appended() {
        let folder = Folder::new("lines");
        let read = read_lines(&written(&folder)).unwrap();
        assert_eq!(read.lines, [json!({"a": 1}), json!({"a": 2}), json!({"a": 3})]);
        assert_eq!(read.bad, None);
    }

    #[test]
    fn each_changed_octet_is_found_in_its_line_or_the_next() {
        let folder = Folder::new("lines-changed");
        let path = written(&folder);
        let good = std::fs::read(&path).unwrap();
        let second = good.iter().position(|&octet| octet == b'\n').unwrap() + 1;
        for at in second..good.len() - 1 {
            let mut changed = good.clone();
            changed[at] ^= 1;
            std::fs::write(&path, &changed).unwrap();
            let line = 1 + good[..at].iter().filter(|&&octet| octet == b'\n').count() as u64;
            let bad = read_lines(&path).unwrap().bad.map(|bad| bad.number);
            assert_eq!(bad, Some(line), "octet {at}");
        }
        let rest: Vec<u8> = good[second..].to_vec();
        std::fs::write(&path, rest).unwrap();
        assert_eq!(read_lines(&path).unwrap().bad.map(|bad| bad.number), Some(1));
    }

    #[test]
    fn an_unfinished_line_is_cut_off() {
        let folder = Folder::new("lines-torn");
        let path = written(&folder);
        let whole = std::fs::read(&path).unwrap();
        std::fs::write(&path, &whole[..whole.len() - 5]).unwrap();
        assert_eq!(read_lines(&path).unwrap().lines.len(), 2);
        assert_eq!(append_lines(&path, &[json!({"a": 4})]).unwrap(), 3);
        assert_eq!(read_lines(&path).unwrap().lines[2], json!({"a": 4}));
    }
}
