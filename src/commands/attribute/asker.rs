//! Who sits in front of the terminal, as far as a program can know.

use crate::attribution::{Asker, Millis};
use crate::commands::refusal::Refusal;
use crate::daemon::Clock;

/// The asker, now; refused without a case reference (PRIV-5).
pub(in crate::commands) fn asker(case: Option<&str>) -> Result<Asker, Refusal> {
    let case = case.map(str::trim).filter(|case| !case.is_empty()).ok_or_else(|| Refusal {
        why: "who held an address is told for a case only, and no case reference was given".to_owned(),
        cure: "add --case REF: it is kept in the record of queries, with the question".to_owned(),
    })?;
    Ok(Asker { at: now(), who: who(), from: from(), case: case.to_owned() })
}

/// The wall clock.
pub(in crate::commands) fn now() -> Millis {
    let clock = Clock::start();
    clock.unix_millis(clock.now())
}

fn who() -> String {
    let name = |key: &str| std::env::var(key).ok().filter(|name| !name.is_empty());
    let uid = rustix::process::getuid().as_raw();
    match name("SUDO_USER").or_else(|| name("USER")) {
        Some(name) => format!("uid {uid} ({name})"),
        None => format!("uid {uid}"),
    }
}

/// `SSH_CONNECTION` begins with the remote address.
fn from() -> String {
    let remote = std::env::var("SSH_CONNECTION").ok();
    match remote.as_deref().and_then(|remote| remote.split(' ').next()) {
        Some(remote) if !remote.is_empty() => format!("ssh from {remote}"),
        _ => "this host".to_owned(),
    }
}
