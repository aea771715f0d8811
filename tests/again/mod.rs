//! Tests that are run again in another process.

/// Runs the tests of this program whose names begin with `name` again, with two workers and with four.
pub(crate) fn with_workers(name: &str) {
    if std::env::var_os("WORKERS").is_some() {
        return;
    }
    for workers in ["2", "4"] {
        let program = std::env::current_exe().expect("this program");
        let run = std::process::Command::new(program).arg(name).env("WORKERS", workers).output();
        let run = run.expect("this program runs again");
        assert!(run.status.success(), "{workers} workers: {}", String::from_utf8_lossy(&run.stdout));
    }
}
