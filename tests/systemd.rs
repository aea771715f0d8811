//! The unit file, judged by systemd itself. Where `systemd-analyze` is missing, this says so and passes.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// What `systemd-analyze security` may find at most, in tenths: an unprotected service has 9.6 of 10.
const MOST_EXPOSURE: &str = "20";

#[test]
fn the_unit_has_no_mistake() {
    let unit = unit_of_this_build("verify");
    let Some(output) = systemd_analyze(&["verify", "--man=no", path(&unit)]) else { return };
    assert!(output.status.success() && output.stderr.is_empty(), "{}", text(&output));
}

#[test]
fn the_sandbox_leaves_little_exposed() {
    let unit = unit_of_this_build("security");
    let threshold = format!("--threshold={MOST_EXPOSURE}");
    let Some(output) = systemd_analyze(&["security", "--offline=true", &threshold, path(&unit)]) else {
        return;
    };
    assert!(output.status.success(), "{}", text(&output));
}

#[test]
fn every_setting_of_the_sandbox_has_its_reason() {
    let unit = std::fs::read_to_string(unit_path()).unwrap();
    let (_, service) = unit.split_once("[Service]").unwrap();
    let mut explained = false;
    for line in service.lines().take_while(|line| *line != "[Install]") {
        match line {
            "" => explained = false,
            comment if comment.starts_with('#') => explained = true,
            setting => assert!(explained, "{setting} has no reason above it"),
        }
    }
}

/// A copy whose program is the one just built: the installed one need not exist.
fn unit_of_this_build(test: &str) -> PathBuf {
    let unit = std::fs::read_to_string(unit_path()).unwrap();
    assert!(unit.contains("ExecStart=/usr/bin/aftr "));
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(test);
    std::fs::create_dir_all(&folder).unwrap();
    let copy = folder.join("aftr.service");
    std::fs::write(&copy, unit.replace("/usr/bin/aftr", env!("CARGO_BIN_EXE_aftr"))).unwrap();
    copy
}

fn unit_path() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("systemd/aftr.service")
}

fn systemd_analyze(arguments: &[&str]) -> Option<Output> {
    match Command::new("systemd-analyze").args(arguments).output() {
        Ok(output) => Some(output),
        Err(error) => {
            assert!(std::env::var_os("AFTR_NOTHING_SKIPPED").is_none(), "nothing may be skipped here");
            eprintln!("SKIPPED: the unit is not judged: systemd-analyze: {error}");
            None
        }
    }
}

fn path(unit: &Path) -> &str {
    unit.to_str().unwrap()
}

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}
