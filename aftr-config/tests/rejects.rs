//! Every rule of the language has a text that breaks it, and the exact words that the operator reads.
//!
//! `UPDATE=1 cargo test -p aftr-config` writes what is said now; the difference is then for the eye.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use aftr_config::{Config, ConfigError};

#[test]
fn every_wrong_text_is_refused_in_the_expected_words() {
    let update = std::env::var_os("UPDATE").is_some();
    let mut differ = Vec::new();
    for file in texts() {
        let expected = file.with_extension("expected");
        let said = said(&file);
        if update {
            fs::write(&expected, &said).expect("a writable file");
        } else if fs::read_to_string(&expected).unwrap_or_default() != said {
            differ.push(format!("{} says now:\n{said}", file.display()));
        }
    }
    assert!(differ.is_empty(), "{}", differ.join("\n"));
}

#[test]
fn every_expectation_has_its_text() {
    let texts: BTreeSet<PathBuf> = texts().into_iter().collect();
    assert!(!texts.is_empty());
    for expected in files("expected") {
        assert!(texts.contains(&expected.with_extension("toml")), "{} stands alone", expected.display());
    }
}

fn said(file: &Path) -> String {
    let text = fs::read_to_string(file).expect("a text");
    match Config::parse(&text) {
        Ok(_) => panic!("{} is accepted", file.display()),
        Err(errors) => errors.iter().map(line).collect(),
    }
}

/// Nothing is reported without a place, and nothing but bad syntax without a cure.
fn line(error: &ConfigError) -> String {
    assert!(error.line > 0 && error.column > 0, "{error:?}");
    assert!(error.key.is_empty() || !error.cure.is_empty(), "{error:?}");
    format!("{error}\n")
}

fn texts() -> Vec<PathBuf> {
    files("toml")
}

fn files(extension: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/rejects");
    let entries = fs::read_dir(folder).expect("the folder of texts").flatten();
    let mut files: Vec<PathBuf> = entries
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|end| end == extension))
        .collect();
    files.sort();
    files
}
