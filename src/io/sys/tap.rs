//! Frames of an interface as they pass, with the time at which the kernel saw each: an AF_PACKET socket
//! with a filter. For measuring; packets go on their way as if nobody looked.

use std::io;
use std::mem;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::time::Duration;

use socket2::{Domain, SockFilter, Socket, Type};

/// Frames that one system call gives.
const BATCH: usize = 64;
/// Octets of a frame that are looked at.
const SNAP: usize = 256;
/// Octets of control messages for a frame: a time stamp.
const CONTROL: usize = 64;

/// A socket that sees what an interface receives.
pub struct Tap {
    socket: Socket,
    frames: Box<[[u8; SNAP]; BATCH]>,
    control: Box<[Control; BATCH]>,
    lost: u64,
}

/// Control messages start where a `cmsghdr` may.
#[derive(Clone, Copy)]
#[repr(C, align(8))]
struct Control([u8; CONTROL]);

impl Tap {
    /// Opens a tap on the interface with this number, in the network namespace of the calling thread: it
    /// shows the frames that `filter` takes, up to `room` octets of memory before it loses some.
    ///
    /// # Errors
    /// Without `CAP_NET_RAW`, or when there is no such interface.
    pub fn open(interface: u32, filter: &[SockFilter], room: usize) -> io::Result<Tap> {
        // Protocol 0 receives nothing before the filter stands and the interface is chosen.
        let socket = Socket::new(Domain::PACKET, Type::RAW, None)?;
        socket.set_nonblocking(true)?;
        socket.attach_filter(filter)?;
        set_option(&socket, libc::SOL_PACKET, libc::PACKET_IGNORE_OUTGOING, 1)?;
        set_option(&socket, libc::SOL_SOCKET, libc::SO_TIMESTAMPNS, 1)?;
        let room = room.min(1 << 30) as libc::c_int;
        if set_option(&socket, libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, room).is_err() {
            set_option(&socket, libc::SOL_SOCKET, libc::SO_RCVBUF, room)?;
        }
        bind(&socket, interface, libc::ETH_P_ALL as u16)?;
        let control = Box::new([Control([0; CONTROL]); BATCH]);
        Ok(Tap { socket, frames: Box::new([[0; SNAP]; BATCH]), control, lost: 0 })
    }

    /// Shows `each` what is there, without waiting: the front of each frame, and when the kernel saw it
    /// (since 1970). Says how many there were.
    ///
    /// # Errors
    /// When the interface is gone.
    pub fn receive(&mut self, mut each: impl FnMut(&[u8], Duration)) -> io::Result<usize> {
        let mut vectors: [libc::iovec; BATCH] = std::array::from_fn(|at| libc::iovec {
            iov_base: self.frames[at].as_mut_ptr().cast(),
            iov_len: SNAP,
        });
        let mut headers: [libc::mmsghdr; BATCH] = std::array::from_fn(|at| {
            // SAFETY: all bytes zero is a valid `mmsghdr`: null pointers and lengths of none.
            let mut header: libc::mmsghdr = unsafe { mem::zeroed() };
            header.msg_hdr.msg_iov = &raw mut vectors[at];
            header.msg_hdr.msg_iovlen = 1;
            header.msg_hdr.msg_control = self.control[at].0.as_mut_ptr().cast();
            header.msg_hdr.msg_controllen = CONTROL as _;
            header
        });
        // SAFETY: every header points to one vector, its buffer and its control buffer, which live until
        // the call returns; the count is the array's.
        let count = unsafe {
            libc::recvmmsg(
                self.socket.as_raw_fd(),
                headers.as_mut_ptr(),
                BATCH as _,
                libc::MSG_DONTWAIT as _,
                std::ptr::null_mut(),
            )
        };
        if count < 0 {
            let error = io::Error::last_os_error();
            return if error.kind() == io::ErrorKind::WouldBlock { Ok(0) } else { Err(error) };
        }
        let count = count as usize;
        for (header, frame) in headers[..count].iter().zip(self.frames.iter()) {
            each(&frame[..(header.msg_len as usize).min(SNAP)], stamp(&header.msg_hdr));
        }
        Ok(count)
    }

    /// Frames that the filter took and that found no room, since the tap was opened.
    ///
    /// # Errors
    /// As the kernel says.
    pub fn lost(&mut self) -> io::Result<u64> {
        // SAFETY: all bytes zero is a valid `tpacket_stats`: two counters.
        let mut counted: libc::tpacket_stats = unsafe { mem::zeroed() };
        let mut length = mem::size_of::<libc::tpacket_stats>() as libc::socklen_t;
        // SAFETY: the kernel writes at most `length` bytes into `counted`, which is as long.
        let result = unsafe {
            libc::getsockopt(
                self.socket.as_raw_fd(),
                libc::SOL_PACKET,
                libc::PACKET_STATISTICS,
                (&raw mut counted).cast(),
                &raw mut length,
            )
        };
        if result < 0 {
            return Err(io::Error::last_os_error());
        }
        // Reading sets the kernel's counters to zero.
        self.lost += u64::from(counted.tp_drops);
        Ok(self.lost)
    }
}

impl AsFd for Tap {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// The kernel's time stamp; zero when there is none.
fn stamp(header: &libc::msghdr) -> Duration {
    // SAFETY: the kernel has filled the control buffer that `header` points to and set its length, so the
    // macros of cmsg(3) stay inside; a time stamp's data is a `timespec`, which may stand unaligned.
    unsafe {
        let mut message = libc::CMSG_FIRSTHDR(header);
        while !message.is_null() {
            if (*message).cmsg_level == libc::SOL_SOCKET && (*message).cmsg_type == libc::SCM_TIMESTAMPNS {
                let time: libc::timespec = libc::CMSG_DATA(message).cast::<libc::timespec>().read_unaligned();
                return Duration::new(time.tv_sec as u64, time.tv_nsec as u32);
            }
            message = libc::CMSG_NXTHDR(header, message);
        }
    }
    Duration::ZERO
}

/// Binds a packet socket to an interface; protocol 0 is for sending only.
pub(super) fn bind(socket: &Socket, interface: u32, protocol: u16) -> io::Result<()> {
    let address = libc::sockaddr_ll {
        sll_family: libc::AF_PACKET as libc::c_ushort,
        sll_protocol: protocol.to_be(),
        sll_ifindex: interface as libc::c_int,
        sll_hatype: 0,
        sll_pkttype: 0,
        sll_halen: 0,
        sll_addr: [0; 8],
    };
    // SAFETY: the address is a whole `sockaddr_ll`, and the length is its own.
    let result = unsafe {
        libc::bind(
            socket.as_raw_fd(),
            (&raw const address).cast(),
            mem::size_of::<libc::sockaddr_ll>() as libc::socklen_t,
        )
    };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

pub(super) fn set_option(
    socket: &Socket,
    level: libc::c_int,
    name: libc::c_int,
    value: libc::c_int,
) -> io::Result<()> {
    // SAFETY: the value is one `c_int`, and the length says so.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            name,
            (&raw const value).cast(),
            mem::size_of::<libc::c_int>() as libc::socklen_t,
        )
    };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
