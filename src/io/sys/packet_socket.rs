//! AF_PACKET sockets: the options that the rings, and whoever answers ARP and ND, need (packet(7)).

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// One instruction of a classic BPF program (`linux/filter.h`). The kernel checks a program before it runs
/// one.
pub type Instruction = libc::sock_filter;

/// A classic BPF instruction: its operation, its operand, and how many instructions a jump leaves out when
/// its condition holds, and when it does not.
#[must_use]
pub fn instruction(operation: u32, operand: u32, if_true: u8, if_false: u8) -> Instruction {
    Instruction { code: operation as u16, jt: if_true, jf: if_false, k: operand }
}

/// Opens a socket of whole frames, link-layer header included, that receives nothing until it is bound.
///
/// # Errors
/// `PermissionDenied` without `CAP_NET_RAW`.
pub fn open() -> io::Result<OwnedFd> {
    let kind = libc::SOCK_RAW | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
    // SAFETY: no memory is passed.
    let descriptor = unsafe { libc::socket(libc::AF_PACKET, kind, 0) };
    if descriptor < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the descriptor is new, and nobody else's.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor) })
}

/// Starts reception from an interface: frames of one EtherType, or all by `ETH_P_ALL`. Only the latter come
/// before a filter at the interface's ingress can drop them. Protocol 0 receives nothing and sends there.
///
/// # Errors
/// As the kernel says.
pub fn bind(socket: BorrowedFd<'_>, interface: u32, protocol: u16) -> io::Result<()> {
    let address = libc::sockaddr_ll {
        sll_family: libc::AF_PACKET as u16,
        sll_protocol: protocol.to_be(),
        sll_ifindex: interface.cast_signed(),
        sll_hatype: 0,
        sll_pkttype: 0,
        sll_halen: 0,
        sll_addr: [0; 8],
    };
    let length = size_of_val(&address) as libc::socklen_t;
    // SAFETY: `address` is a whole `sockaddr_ll` of the length given.
    check(unsafe { libc::bind(socket.as_raw_fd(), (&raw const address).cast(), length) })
}

/// Lets through what `program` accepts.
///
/// # Errors
/// `InvalidInput` for a program that the kernel does not take: too long, or one that jumps nowhere.
pub fn set_filter(socket: BorrowedFd<'_>, program: &[Instruction]) -> io::Result<()> {
    set_program(socket, libc::SOL_SOCKET, libc::SO_ATTACH_FILTER, program)
}

/// Makes a group of which the socket is the first member, and says the group's number, which no other group of
/// this network namespace has. `program` gives each frame to the member of the number that it returns, modulo
/// their count.
///
/// # Errors
/// `InvalidInput` for a socket that is not bound, before Linux 6.13 for one whose interface is down, and before
/// Linux 4.12.
pub fn found_fanout(socket: BorrowedFd<'_>, program: &[Instruction]) -> io::Result<u16> {
    let flags = FANOUT | libc::PACKET_FANOUT_FLAG_UNIQUEID;
    set(socket, libc::PACKET_FANOUT, &(flags << 16))?;
    set_program(socket, libc::SOL_PACKET, libc::PACKET_FANOUT_DATA, program)?;
    Ok(get::<u32>(socket, libc::PACKET_FANOUT, 0)? as u16)
}

/// Makes the socket the next member of `group`, whose members must all be bound alike. They are numbered in the
/// order that they joined; after their interface was down, in the order that they were opened.
///
/// # Errors
/// As [`found_fanout`]; `StorageFull` when there are 256.
pub fn join_fanout(socket: BorrowedFd<'_>, group: u16) -> io::Result<()> {
    set(socket, libc::PACKET_FANOUT, &(u32::from(group) | FANOUT << 16))
}

const FANOUT: u32 = libc::PACKET_FANOUT_CBPF | libc::PACKET_FANOUT_FLAG_IGNORE_OUTGOING;

/// Receives frames to a multicast address of the link, for as long as the socket is open.
///
/// # Errors
/// As the kernel says.
pub fn join_multicast(socket: BorrowedFd<'_>, interface: u32, address: [u8; 6]) -> io::Result<()> {
    let mut membership = libc::packet_mreq {
        mr_ifindex: interface.cast_signed(),
        mr_type: libc::PACKET_MR_MULTICAST as u16,
        mr_alen: 6,
        mr_address: [0; 8],
    };
    membership.mr_address[..6].copy_from_slice(&address);
    set(socket, libc::PACKET_ADD_MEMBERSHIP, &membership)
}

/// Frames that found no room since the last call.
///
/// # Errors
/// As the kernel says.
pub fn take_losses(socket: BorrowedFd<'_>) -> io::Result<u64> {
    let nothing = libc::tpacket_stats { tp_packets: 0, tp_drops: 0 };
    Ok(u64::from(get(socket, libc::PACKET_STATISTICS, nothing)?.tp_drops))
}

/// Sets an option of packet sockets.
pub(super) fn set<T: Copy>(socket: BorrowedFd<'_>, name: i32, value: &T) -> io::Result<()> {
    set_option(socket, libc::SOL_PACKET, name, value)
}

/// Reads an option of packet sockets, all of whose bits mean something.
fn get<T: Copy>(socket: BorrowedFd<'_>, name: i32, mut value: T) -> io::Result<T> {
    let mut length = size_of::<T>() as libc::socklen_t;
    let (socket, to) = (socket.as_raw_fd(), (&raw mut value).cast());
    // SAFETY: the kernel writes at most `length` bytes, which is what `value` has, and options are numbers,
    // or are made of them.
    check(unsafe { libc::getsockopt(socket, libc::SOL_PACKET, name, to, &raw mut length) })?;
    Ok(value)
}

fn set_program(socket: BorrowedFd<'_>, level: i32, name: i32, program: &[Instruction]) -> io::Result<()> {
    let length = u16::try_from(program.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
    // The kernel only reads the program, which lives until the call returns.
    set_option(socket, level, name, &libc::sock_fprog { len: length, filter: program.as_ptr().cast_mut() })
}

fn set_option<T: Copy>(socket: BorrowedFd<'_>, level: i32, name: i32, value: &T) -> io::Result<()> {
    let length = size_of::<T>() as libc::socklen_t;
    // SAFETY: the kernel reads `length` bytes, which is what `value` has. Where the value is a program, the
    // instructions that it points to are borrowed by the caller.
    check(unsafe { libc::setsockopt(socket.as_raw_fd(), level, name, (&raw const *value).cast(), length) })
}

fn check(result: i32) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
