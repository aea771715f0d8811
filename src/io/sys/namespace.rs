//! Linux namespaces: what the lab and the tests build their small Internet from, without touching the
//! host's.

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space, unshare_unsafe};

/// Puts the whole process into a user namespace of its own in which it is root, with network and mount
/// namespaces of its own.
///
/// # Errors
/// When the process has other threads, or this host does not let everybody make user namespaces.
pub fn enter_new_user_namespace() -> io::Result<()> {
    let (user, group) = (rustix::process::getuid().as_raw(), rustix::process::getgid().as_raw());
    // SAFETY: no file descriptor table or memory is unshared; the kernel refuses when there are threads.
    unsafe { unshare_unsafe(UnshareFlags::NEWUSER | UnshareFlags::NEWNET | UnshareFlags::NEWNS) }?;
    fs::write("/proc/self/setgroups", "deny")?;
    fs::write("/proc/self/uid_map", format!("0 {user} 1"))?;
    fs::write("/proc/self/gid_map", format!("0 {group} 1"))
}

/// A network namespace that lives as long as this handle, or a thread or process inside.
pub struct NetNamespace(OwnedFd);

impl NetNamespace {
    /// Makes one.
    ///
    /// # Errors
    /// Without `CAP_SYS_ADMIN` in the current user namespace.
    pub fn new() -> io::Result<NetNamespace> {
        let made = std::thread::spawn(|| {
            // SAFETY: neither file descriptors nor memory are unshared, and only this short-lived thread
            // moves.
            unsafe { unshare_unsafe(UnshareFlags::NEWNET) }?;
            File::open("/proc/thread-self/ns/net")
        });
        let file = made.join().map_err(|_| io::Error::other("the thread ended"))??;
        Ok(NetNamespace(file.into()))
    }

    /// Moves the calling thread, and threads that it makes later, into this namespace.
    ///
    /// # Errors
    /// Without `CAP_SYS_ADMIN`.
    pub fn enter(&self) -> io::Result<()> {
        Ok(move_into_link_name_space(self.0.as_fd(), Some(LinkNameSpaceType::Network))?)
    }

    /// Runs `work` on a fresh thread inside this namespace and waits for it.
    ///
    /// # Errors
    /// When the namespace cannot be entered, or `work` panics.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> io::Result<T> {
        std::thread::scope(|scope| {
            let thread = scope.spawn(|| self.enter().map(|()| work()));
            thread.join().map_err(|_| io::Error::other("the thread in the namespace panicked"))?
        })
    }
}

impl AsFd for NetNamespace {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
