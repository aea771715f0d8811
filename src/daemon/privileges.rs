//! What the process may still do once its devices are open.
//!
//! Capabilities belong to a thread and are inherited by the threads it makes: drop them before the
//! worker is spawned.

use anyhow::Context;
use caps::{CapSet, Capability, CapsHashSet};

/// Reload adds and removes routes; nothing else needs a privilege after the start.
const KEPT: Capability = Capability::CAP_NET_ADMIN;

/// Gives up every capability but `CAP_NET_ADMIN`, in all sets, for good: no program that this process
/// could execute gets one back.
///
/// # Errors
/// When the kernel refuses; the process should not go on then.
pub(super) fn drop_all_but_net_admin() -> anyhow::Result<()> {
    // PR_SET_NO_NEW_PRIVS: neither set-uid nor file capabilities count in an execve from now on.
    rustix::thread::set_no_new_privs(true).context("cannot set no_new_privs")?;
    // Only with CAP_SETPCAP can the bounding set shrink. A service manager that starts the process
    // without it has set the bounding set itself.
    if caps::has_cap(None, CapSet::Effective, Capability::CAP_SETPCAP)? {
        let mut bounding = caps::read(None, CapSet::Bounding)?;
        bounding.remove(&KEPT);
        bounding.into_iter().try_for_each(|capability| caps::drop(None, CapSet::Bounding, capability))?;
    }
    caps::clear(None, CapSet::Ambient)?;
    caps::clear(None, CapSet::Inheritable)?;
    let mut kept = caps::read(None, CapSet::Permitted)?;
    kept.retain(|&capability| capability == KEPT);
    // The effective set first: it may never exceed the permitted one.
    caps::set(None, CapSet::Effective, &kept)?;
    caps::set(None, CapSet::Permitted, &kept)?;
    Ok(())
}

/// Whether this thread may change interfaces and routes of its network namespace.
pub(super) fn can_administrate_network() -> bool {
    caps::has_cap(None, CapSet::Effective, KEPT).unwrap_or(false)
}

/// The capabilities in effect, for the log.
pub(super) fn in_effect() -> String {
    let mut names: Vec<String> = caps::read(None, CapSet::Effective)
        .unwrap_or_else(|_| CapsHashSet::new())
        .into_iter()
        .map(|capability| capability.to_string())
        .collect();
    names.sort_unstable();
    if names.is_empty() { "none".to_owned() } else { names.join(" ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_but_net_admin_is_left_in_any_set() {
        // In a thread of its own: what it gives up, the other tests keep.
        let left = std::thread::spawn(|| {
            let had = caps::read(None, CapSet::Permitted).unwrap();
            drop_all_but_net_admin().unwrap();
            let sets = [CapSet::Effective, CapSet::Permitted, CapSet::Inheritable, CapSet::Ambient];
            let left = sets.map(|set| caps::read(None, set).unwrap());
            let bounding = caps::read(None, CapSet::Bounding).unwrap();
            (had, left, bounding, rustix::thread::no_new_privs().unwrap())
        });
        let (had, [effective, permitted, inheritable, ambient], bounding, no_new_privs) =
            left.join().unwrap();
        let expected: CapsHashSet = had.iter().copied().filter(|&capability| capability == KEPT).collect();
        assert_eq!((&effective, &permitted), (&expected, &expected));
        assert!(inheritable.is_empty() && ambient.is_empty());
        assert!(no_new_privs);
        if had.contains(&Capability::CAP_SETPCAP) {
            assert_eq!(bounding.into_iter().collect::<Vec<_>>(), [KEPT]);
        }
    }
}
