//! NAPI: who does the kernel's part of the work on what is written to a tun.
//!
//! By itself it is the writer, inside each write: routing, and on a link of this machine even the receiver's
//! TCP. With NAPI the packet is queued, and its threads (`napi/…` in `ps`) do the rest: on another core, for
//! many packets at a time, and so that GRO puts the packets of a TCP flow together, those in softwires, too.
//! Without threads each write would still do it all, one packet at a time, and NAPI is only a detour.

use std::io;

use rustix::fs::{Mode, OFlags, openat};
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsmount, fsopen};

/// Gives the queues of an interface of the calling thread's network namespace threads (Linux 5.12).
///
/// The setting is in sysfs, and `/sys` may be that of another namespace, read-only or not there: a sysfs
/// is made for this alone, which no other process sees.
///
/// # Errors
/// As the kernel says: without `CAP_SYS_ADMIN` it is `PermissionDenied`.
pub(super) fn give_threads(interface: &str) -> io::Result<()> {
    let filesystem = fsopen("sysfs", FsOpenFlags::FSOPEN_CLOEXEC)?;
    fsconfig_create(&filesystem)?;
    let private = MountAttrFlags::MOUNT_ATTR_NOEXEC | MountAttrFlags::MOUNT_ATTR_NOSUID;
    let sysfs = fsmount(&filesystem, FsMountFlags::FSMOUNT_CLOEXEC, private)?;
    let path = format!("class/net/{interface}/threaded");
    let setting = openat(&sysfs, path, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())?;
    rustix::io::write(&setting, b"1")?;
    Ok(())
}
