//! `/dev/net/tun`: one ioctl makes an interface, or attaches another queue to it.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;

/// What a queue can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Granted {
    /// One packet at a time, as it is on the wire.
    SinglePackets,
    /// Packets have a header of virtio-net in front, 10 octets, in both directions: the kernel may leave
    /// checksums, and the cutting of TCP and UDP over IPv4, to who reads, and who writes may leave them to
    /// the kernel.
    LargePackets,
    /// The same, and what is written waits for a thread of the kernel (NAPI), if somebody gives it one.
    LargePacketsAndThreads,
}

/// Opens a non-blocking queue of the interface `name` in the network namespace of the calling thread.
///
/// # Errors
/// As the kernel says; `InvalidInput` for a name that does not fit.
pub fn open(name: &str, several_queues: bool, wanted: Granted) -> io::Result<OwnedFd> {
    const HEADER: libc::c_int = 10;
    // Nothing for IPv6: what comes in softwires is always cut before it comes here, and the rest is not ours.
    const OFFLOADS: libc::c_uint = libc::TUN_F_CSUM | libc::TUN_F_TSO4 | libc::TUN_F_TSO_ECN;
    // The kernel takes both of these or none (Linux 6.2).
    const UDP: libc::c_uint = libc::TUN_F_USO4 | libc::TUN_F_USO6;
    // Octets that may wait for NAPI or for a link, with what the kernel keeps for each packet: about 10,000
    // packets. By itself a tun has no bound, because its writer would be the one that is kept waiting.
    const SEND_BUFFER: libc::c_int = 32 << 20;

    let flags = match wanted {
        Granted::SinglePackets => 0,
        Granted::LargePackets => libc::IFF_VNET_HDR,
        Granted::LargePacketsAndThreads => libc::IFF_VNET_HDR | libc::IFF_NAPI,
    };
    let file = attach(name, several_queues, flags)?;
    if wanted != Granted::SinglePackets {
        set_number(&file, libc::TUNSETVNETHDRSZ, HEADER)?;
        set_offloads(&file, OFFLOADS | UDP).or_else(|_| set_offloads(&file, OFFLOADS))?;
    }
    if wanted == Granted::LargePacketsAndThreads {
        set_number(&file, libc::TUNSETSNDBUF, SEND_BUFFER)?;
    }
    Ok(file.into())
}

/// Makes `program`, a socket filter, choose the queue of each packet that the interface of `queue` hands over:
/// its result is the number of the queue, in the order that they were opened, modulo their count. The program
/// sees a packet from its IP header on, whatever the queues have in front of it.
///
/// # Errors
/// `InvalidInput` for a descriptor that is no such program, and before Linux 4.16.
pub fn steer(queue: BorrowedFd<'_>, program: BorrowedFd<'_>) -> io::Result<()> {
    set_number(queue, libc::TUNSETSTEERINGEBPF, program.as_raw_fd())
}

fn attach(name: &str, several_queues: bool, more_flags: libc::c_int) -> io::Result<File> {
    let file =
        OpenOptions::new().read(true).write(true).custom_flags(libc::O_NONBLOCK).open("/dev/net/tun")?;
    let bytes = name.as_bytes();
    if bytes.is_empty() || bytes.len() >= libc::IFNAMSIZ || bytes.contains(&0) {
        let why = format!("`{name}` cannot be an interface's name: it must have 1 to 15 bytes");
        return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
    }
    let mut flags = libc::IFF_TUN | libc::IFF_NO_PI | more_flags;
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
    Ok(file)
}

fn set_number(file: impl AsFd, request: libc::Ioctl, number: libc::c_int) -> io::Result<()> {
    // SAFETY: the requests that this is called with read one `int`, which lives until the call returns.
    let result = unsafe { libc::ioctl(file.as_fd().as_raw_fd(), request, &raw const number) };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

fn set_offloads(file: &File, offloads: libc::c_uint) -> io::Result<()> {
    // SAFETY: TUNSETOFFLOAD takes its argument as a number, not as a pointer.
    let result = unsafe { libc::ioctl(file.as_raw_fd(), libc::TUNSETOFFLOAD, libc::c_ulong::from(offloads)) };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}
