//! Sends Ethernet frames straight to an interface's driver, many with one system call.

use std::io;
use std::os::fd::AsRawFd;

use socket2::{Domain, Socket, Type};

use super::tap::{bind, set_option};

/// Frames that one system call takes.
pub const BATCH: usize = 64;

/// An AF_PACKET socket that only sends.
pub struct Injector {
    socket: Socket,
    frames: Box<[u8]>,
    room: usize,
    lengths: [usize; BATCH],
    waiting: usize,
}

impl Injector {
    /// Opens one for frames of up to `room` octets on the interface with this number, in the network
    /// namespace of the calling thread.
    ///
    /// # Errors
    /// Without `CAP_NET_RAW`, or when there is no such interface.
    pub fn open(interface: u32, room: usize) -> io::Result<Injector> {
        let socket = Socket::new(Domain::PACKET, Type::RAW, None)?;
        set_option(&socket, libc::SOL_PACKET, libc::PACKET_QDISC_BYPASS, 1)?;
        bind(&socket, interface, 0)?;
        let frames = vec![0; room * BATCH].into_boxed_slice();
        Ok(Injector { socket, frames, room, lengths: [0; BATCH], waiting: 0 })
    }

    /// Adds a frame of `length` octets, which `write` fills; sends first when there is no room for it.
    /// Gives what that sending lost.
    ///
    /// # Errors
    /// As [`Injector::flush`].
    ///
    /// # Panics
    /// When the frame is larger than the room.
    pub fn push(&mut self, length: usize, write: impl FnOnce(&mut [u8])) -> io::Result<usize> {
        assert!(length <= self.room);
        let lost = if self.waiting == BATCH { self.flush()? } else { 0 };
        let start = self.waiting * self.room;
        write(&mut self.frames[start..start + length]);
        self.lengths[self.waiting] = length;
        self.waiting += 1;
        Ok(lost)
    }

    /// Sends what waits. Gives how many frames the driver did not take.
    ///
    /// # Errors
    /// When the interface is gone or down.
    pub fn flush(&mut self) -> io::Result<usize> {
        let mut vectors: [libc::iovec; BATCH] = std::array::from_fn(|at| libc::iovec {
            iov_base: self.frames[at * self.room..].as_mut_ptr().cast(),
            iov_len: self.lengths[at],
        });
        let mut headers: [libc::mmsghdr; BATCH] = std::array::from_fn(|at| {
            // SAFETY: all bytes zero is a valid `mmsghdr`: null pointers and lengths of none.
            let mut header: libc::mmsghdr = unsafe { std::mem::zeroed() };
            header.msg_hdr.msg_iov = &raw mut vectors[at];
            header.msg_hdr.msg_iovlen = 1;
            header
        });
        let (mut sent, mut lost) = (0, 0);
        while sent < self.waiting {
            let rest = &mut headers[sent..self.waiting];
            // SAFETY: every header points to one vector and its buffer, which live until the call returns.
            let count =
                unsafe { libc::sendmmsg(self.socket.as_raw_fd(), rest.as_mut_ptr(), rest.len() as _, 0) };
            if count > 0 {
                sent += count as usize;
                continue;
            }
            let error = io::Error::last_os_error();
            match error.raw_os_error() {
                Some(libc::ENOBUFS | libc::EAGAIN) => {
                    sent += 1;
                    lost += 1;
                }
                Some(libc::EINTR) => {}
                _ => return Err(error),
            }
        }
        self.waiting = 0;
        Ok(lost)
    }
}
