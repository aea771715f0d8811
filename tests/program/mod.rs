//! The program itself, as the tests of its commands run it.

use std::process::{Command, Output};

pub(crate) const AFTR: &str = env!("CARGO_BIN_EXE_aftr");

/// Runs it to its end.
pub(crate) fn aftr(arguments: &[&str]) -> Output {
    Command::new(AFTR).args(arguments).output().unwrap()
}

/// Everything that it said.
pub(crate) fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

pub(crate) fn assert_ends(output: &Output, status: i32, parts: &[&str]) {
    let text = text(output);
    assert_eq!(output.status.code(), Some(status), "{text}");
    for part in parts {
        assert!(text.contains(part), "{part:?} is missing in\n{text}");
    }
}
