//! Style as a test: layers, sizes, and the places where something is allowed.

use std::fs;
use std::path::{Path, PathBuf};

/// What a layer must not name, and why.
const LAYERS: &[(&str, &[&str])] = &[
    ("src/wire", &["crate::engine", "crate::io", "crate::daemon", "crate::commands", "aftr_config"]),
    (
        "src/engine",
        &[
            "crate::io",
            "crate::daemon",
            "crate::commands",
            "std::fs",
            "std::net::UdpSocket",
            "std::net::TcpStream",
            "std::time::Instant",
            "SystemTime",
            "std::thread",
            "std::env",
            "HashMap",
        ],
    ),
    ("src/export", &["crate::daemon", "crate::commands", "std::time::Instant", "SystemTime"]),
    (
        "src/attribution",
        &["crate::io", "crate::daemon", "crate::commands", "crate::wire", "SystemTime", "Instant::now"],
    ),
    ("src/io", &["crate::engine", "crate::daemon", "crate::commands", "aftr_config"]),
    ("aftr-config/src", &["aftr::"]),
];

/// Lines of a file, and of a function's longest body (clippy holds the latter).
const MOST_LINES: usize = 500;

#[test]
fn layers_point_one_way() {
    for (layer, forbidden) in LAYERS {
        for file in rust_files(layer) {
            for (number, line) in code_lines(&file) {
                for name in *forbidden {
                    assert!(!line.contains(name), "{}:{number} names {name}: {line}", file.display());
                }
            }
        }
    }
}

#[test]
fn unsafe_code_is_under_io_sys_only() {
    for file in rust_files("src").into_iter().chain(rust_files("aftr-config/src")) {
        let text = fs::read_to_string(&file).expect("a source file");
        let has_unsafe =
            text.contains("unsafe {") || text.contains("unsafe fn") || text.contains("unsafe impl");
        assert!(!has_unsafe || file.starts_with("src/io/sys"), "{} has unsafe code", file.display());
    }
}

#[test]
fn the_clock_is_read_in_one_place() {
    for file in rust_files("src") {
        let text = fs::read_to_string(&file).expect("a source file");
        let reads = text.contains("Instant::now()") || text.contains("SystemTime::now()");
        let allowed = [
            "src/daemon/clock.rs",
            "src/commands/lab",
            "src/commands/bench/clock.rs",
            "src/commands/b4.rs",
            "src/b4",
        ];
        assert!(
            !reads || allowed.iter().any(|place| file.starts_with(place)),
            "{} reads the clock",
            file.display()
        );
    }
}

#[test]
fn files_are_short_enough_to_be_read() {
    for file in rust_files("src").into_iter().chain(rust_files("aftr-config/src")) {
        let lines = code_lines(&file).len();
        assert!(lines <= MOST_LINES, "{} has {lines} lines before its tests", file.display());
    }
}

#[test]
fn a_mod_file_holds_docs_and_modules_only() {
    for file in rust_files("src").into_iter().filter(|file| file.ends_with("mod.rs")) {
        for (number, line) in code_lines(&file) {
            assert!(!line.contains("fn "), "{}:{number} has code: {line}", file.display());
        }
    }
}

#[test]
fn nothing_is_called_by_a_word_that_says_nothing() {
    for file in rust_files("src") {
        let name = file.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
        for word in ["util", "utils", "helper", "helpers", "common", "manager", "misc"] {
            assert_ne!(name, word, "{}", file.display());
        }
    }
}

/// Lines before the tests of a file, with their numbers.
fn code_lines(file: &Path) -> Vec<(usize, String)> {
    let text = fs::read_to_string(file).expect("a source file");
    let code = text.lines().take_while(|line| !line.contains("#[cfg(test)]"));
    (1..).zip(code.map(str::to_owned)).collect()
}

fn rust_files(below: &str) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut folders = vec![PathBuf::from(below)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|ending| ending == "rs") {
                files.push(path);
            }
        }
    }
    files.sort();
    files
}
