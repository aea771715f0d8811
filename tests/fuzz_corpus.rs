//! What the fuzzer found worth keeping, played on stable through the very functions that it calls
//! (`fuzz/src`). A crash that it finds becomes a named file of the corpus, and so a test.

use std::fs;
use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

mod again;
#[expect(unreachable_pub, reason = "public in the crate of the fuzzer")]
#[path = "../fuzz/src/lib.rs"]
mod targets;

#[test]
fn wire() {
    play("wire", targets::wire::wire);
}

#[test]
fn pcap() {
    play("pcap", targets::pcap::pcap);
}

#[test]
fn config() {
    play("config", targets::config::config);
}

#[test]
fn engine() {
    play("engine", targets::engine::engine);
}

/// Whatever one worker does, two and four do together.
#[test]
fn engine_with_several_workers() {
    again::with_workers("engine");
}

fn play(target: &str, body: fn(&[u8])) {
    let folder = Path::new("fuzz/corpus").join(target);
    let files = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let files: Vec<PathBuf> = files.map(|file| file.expect("an entry of the folder").path()).collect();
    assert!(!files.is_empty(), "{} is empty", folder.display());
    let fails = |path: &&PathBuf| {
        let bytes = fs::read(path).expect("a file of the corpus");
        catch_unwind(AssertUnwindSafe(|| body(&bytes))).is_err()
    };
    // Past the capture of the test's output: a corpus that shrank is to be seen.
    let _ = writeln!(std::io::stderr(), "{target}: {} inputs", files.len());
    let failed: Vec<&PathBuf> = files.iter().filter(fails).collect();
    assert!(failed.is_empty(), "see above for what is wrong with {failed:#?}");
}
