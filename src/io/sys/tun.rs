//! `/dev/net/tun`: one ioctl makes an interface, or attaches another queue to it.

use std::fs::OpenOptions;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;

/// Opens a non-blocking queue of the interface `name` in the network namespace of the calling thread.
///
/// # Errors
/// As the kernel says; `InvalidInput` for a name that does not fit.
pub fn open(name: &str, several_queues: bool) -> io::Result<OwnedFd> {
    let file =
        OpenOptions::new().read(true).write(true).custom_flags(libc::O_NONBLOCK).open("/dev/net/tun")?;
    let bytes = name.as_bytes();
    if bytes.is_empty() || bytes.len() >= libc::IFNAMSIZ || bytes.contains(&0) {
        let why = format!("`{name}` cannot be an interface's name: it must have 1 to 15 bytes");
        return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
    }
    let mut flags = libc::IFF_TUN | libc::IFF_NO_PI;
    if several_queues {
        flags |= libc::IFF_MULTI_QUEUE;
    }
    let mut request = libc::ifreq {
        ifr_name: [0; libc::IFNAMSIZ],
        ifr_ifru: libc::__c_anonymous_ifr_ifru { ifru_flags: flags as libc::c_short },
    };
    for (to, from) in request.ifr_name.iter_mut().zip(bytes) {
        *to = *from as libc::c_char;
    }
    // SAFETY: TUNSETIFF reads and writes one `ifreq`, which lives until the call returns.
    let result = unsafe { libc::ioctl(file.as_raw_fd(), libc::TUNSETIFF, &raw mut request) };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(file.into())
}
