//! What the kernel knows of the path of a connected datagram socket (ip(7), ipv6(7)).

use std::io;
use std::mem::size_of;
use std::net::UdpSocket;
use std::os::fd::AsRawFd;

/// Has datagrams refused that are too large for the path, instead of fragmented.
///
/// # Errors
/// As the kernel says.
pub fn discover(socket: &UdpSocket, is_ipv6: bool) -> io::Result<()> {
    let (level, option, value) = if is_ipv6 {
        (libc::IPPROTO_IPV6, libc::IPV6_MTU_DISCOVER, libc::IPV6_PMTUDISC_DO)
    } else {
        (libc::IPPROTO_IP, libc::IP_MTU_DISCOVER, libc::IP_PMTUDISC_DO)
    };
    let length = size_of::<libc::c_int>() as libc::socklen_t;
    // SAFETY: `value` is an int that lives through the call, and `length` is its size.
    let result =
        unsafe { libc::setsockopt(socket.as_raw_fd(), level, option, (&raw const value).cast(), length) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// The path's MTU, IP header included.
///
/// # Errors
/// `NotConnected` before the socket is connected.
pub fn of(socket: &UdpSocket, is_ipv6: bool) -> io::Result<usize> {
    let (level, option) =
        if is_ipv6 { (libc::IPPROTO_IPV6, libc::IPV6_MTU) } else { (libc::IPPROTO_IP, libc::IP_MTU) };
    let mut mtu: libc::c_int = 0;
    let mut length = size_of::<libc::c_int>() as libc::socklen_t;
    // SAFETY: the kernel writes at most `length` octets to `mtu`, which has that size, and the size to `length`.
    let result = unsafe {
        libc::getsockopt(socket.as_raw_fd(), level, option, (&raw mut mtu).cast(), &raw mut length)
    };
    if result == 0 { Ok(mtu.max(0) as usize) } else { Err(io::Error::last_os_error()) }
}
