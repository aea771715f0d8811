//! NAPI: who does the kernel's part of the work on what is written to a tun.
//!
//! By itself it is the writer, inside each write: routing, and on a link of this machine even the receiver's
//! TCP. With NAPI the packet is queued, and its threads (`napi/…` in `ps`) do the rest: on another core, for
//! many packets at a time, and so that GRO puts the packets of a TCP flow together, those in softwires, too.
//! Without threads each write would still do it all, one packet at a time, and NAPI is only a detour.

use std::fs;
use std::io;
use std::time::Duration;

use rustix::fs::{Mode, OFlags, openat};
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsmount, fsopen};

/// How long udev has to do it for us, and how often we look.
const PATIENCE: u32 = 30;
const INTERVAL: Duration = Duration::from_millis(10);

/// Gives the queues of an interface of the calling thread's network namespace threads (Linux 5.12), or waits
/// until udev has, by the rule that comes with the service.
///
/// Only sysfs has this setting: the queues of a tun have no number that netlink could name them by.
///
/// # Errors
/// As the kernel says: root of the user namespace may, and whoever has `CAP_SYS_ADMIN` and `CAP_DAC_OVERRIDE`.
pub(super) fn give_threads(interface: &str) -> io::Result<()> {
    set_threaded(interface).or_else(|error| if is_given_by_udev(interface) { Ok(()) } else { Err(error) })
}

/// `/sys` may be that of another namespace, read-only or not there: a sysfs is made for this alone, which no
/// other process sees.
fn set_threaded(interface: &str) -> io::Result<()> {
    let filesystem = fsopen("sysfs", FsOpenFlags::FSOPEN_CLOEXEC)?;
    fsconfig_create(&filesystem)?;
    let private = MountAttrFlags::MOUNT_ATTR_NOEXEC | MountAttrFlags::MOUNT_ATTR_NOSUID;
    let sysfs = fsmount(&filesystem, FsMountFlags::FSMOUNT_CLOEXEC, private)?;
    let path = format!("class/net/{interface}/threaded");
    let setting = openat(&sysfs, path, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())?;
    rustix::io::write(&setting, b"1")?;
    Ok(())
}

/// There is nothing to wait for where udev is not, or where `/sys` shows another namespace.
fn is_given_by_udev(interface: &str) -> bool {
    let setting = format!("/sys/class/net/{interface}/threaded");
    let mut looks = (0..PATIENCE).map_while(|_| {
        std::thread::sleep(INTERVAL);
        fs::read_to_string(&setting).ok()
    });
    fs::exists("/run/udev/control").unwrap_or(false) && looks.any(|value| value.trim() == "1")
}
