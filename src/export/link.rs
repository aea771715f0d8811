//! The sockets: a stream that never blocks, and datagrams of the path's size. Tests put other links in place of
//! the stream.

use std::io::{self, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpStream, UdpSocket};
use std::time::Duration;

use aftr_config::Target;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use socket2::{Domain, Protocol, Socket, TcpKeepalive, Type};

use super::tls::{self, Credentials};
use crate::io::sys::path_mtu;

/// Makes streams to one target.
pub(super) trait Link: Send {
    type Stream: Stream;

    /// Begins to connect.
    fn connect(&mut self) -> io::Result<Self::Stream>;
}

/// A stream that never blocks.
pub(super) trait Stream {
    /// Whether the connection is there, which it is not at once.
    fn is_connected(&mut self) -> io::Result<bool>;
    /// Writes what fits; `WouldBlock` when nothing does.
    fn write(&mut self, octets: &[u8]) -> io::Result<usize>;
    /// Whether the other end is still there; what it says is thrown away.
    fn is_open(&mut self) -> io::Result<bool>;
    /// Waits until something can be written, or something has happened.
    fn wait_writable(&mut self, time: Duration);
    /// Says that nothing more comes.
    fn finish(&mut self) -> io::Result<()>;
    /// Waits until the other end says something.
    fn wait_readable(&mut self, time: Duration);
}

/// TCP, in clear or with TLS.
pub(super) struct Tcp {
    address: SocketAddr,
    source: Option<SocketAddr>,
    credentials: Option<Credentials>,
}

impl Tcp {
    /// # Errors
    /// Certificates that cannot be read.
    pub(super) fn new(target: &Target) -> io::Result<Tcp> {
        let credentials = target.tls.as_ref().map(|files| Credentials::read(files, target)).transpose()?;
        Ok(Tcp { address: address(target), source: source(target), credentials })
    }
}

/// A stream to one target.
pub(super) struct TcpSession {
    socket: TcpStream,
    tls: Option<tls::Session>,
}

impl Link for Tcp {
    type Stream = TcpSession;

    fn connect(&mut self) -> io::Result<TcpSession> {
        let tls = self.credentials.as_mut().map(Credentials::session).transpose()?;
        let socket = Socket::new(Domain::for_address(self.address), Type::STREAM, Some(Protocol::TCP))?;
        socket.set_nonblocking(true)?;
        let keepalive =
            TcpKeepalive::new().with_time(Duration::from_secs(60)).with_interval(Duration::from_secs(10));
        socket.set_tcp_keepalive(&keepalive)?;
        socket.set_tcp_nodelay(true)?;
        if let Some(source) = self.source {
            socket.bind(&source.into())?;
        }
        match socket.connect(&self.address.into()) {
            Err(error) if error.raw_os_error() != Some(libc::EINPROGRESS) => Err(error),
            _ => Ok(TcpSession { socket: socket.into(), tls }),
        }
    }
}

impl Stream for TcpSession {
    fn is_connected(&mut self) -> io::Result<bool> {
        if let Some(error) = self.socket.take_error()? {
            return Err(error);
        }
        match (self.socket.peer_addr(), &mut self.tls) {
            (Ok(_), None) => Ok(true),
            (Ok(_), Some(tls)) => tls.is_trusted(&mut self.socket),
            (Err(error), _) if error.kind() == io::ErrorKind::NotConnected => Ok(false),
            (Err(error), _) => Err(error),
        }
    }

    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        match &mut self.tls {
            None => self.socket.write(octets),
            Some(tls) => tls.write(&mut self.socket, octets),
        }
    }

    fn is_open(&mut self) -> io::Result<bool> {
        if let Some(tls) = &mut self.tls {
            return tls.is_open(&mut self.socket);
        }
        let mut thrown_away = [0; 1024];
        loop {
            match self.socket.read(&mut thrown_away) {
                Ok(0) => return Ok(false),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(true),
                Err(error) => return Err(error),
            }
        }
    }

    fn wait_writable(&mut self, time: Duration) {
        let is_waiting = self.tls.as_ref().is_some_and(tls::Session::is_waiting);
        wait(&self.socket, if is_waiting { PollFlags::IN } else { PollFlags::OUT }, time);
    }

    fn finish(&mut self) -> io::Result<()> {
        match &mut self.tls {
            None => self.socket.shutdown(Shutdown::Write),
            Some(tls) => tls.finish(&mut self.socket),
        }
    }

    fn wait_readable(&mut self, time: Duration) {
        wait(&self.socket, PollFlags::IN, time);
    }
}

fn wait(stream: &TcpStream, flags: PollFlags, time: Duration) {
    let time = Timespec { tv_sec: time.as_secs() as i64, tv_nsec: i64::from(time.subsec_nanos()) };
    // An interrupted wait is a short one.
    let _ = poll(&mut [PollFd::new(stream, flags)], Some(&time));
}

/// A socket of datagrams to one target, which are never fragmented.
pub(super) fn datagrams(target: &Target) -> io::Result<UdpSocket> {
    let address = address(target);
    let any = if target.address.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
    let socket = match source(target) {
        Some(source) => UdpSocket::bind(source)?,
        None => UdpSocket::bind(any)?,
    };
    path_mtu::discover(&socket, address.is_ipv6())?;
    socket.connect(address)?;
    Ok(socket)
}

/// Octets of a datagram that the path to its target takes, as far as the kernel knows.
pub(super) fn datagram_size(socket: &UdpSocket, is_ipv6: bool) -> Option<usize> {
    let headers = if is_ipv6 { 40 + 8 } else { 20 + 8 };
    path_mtu::of(socket, is_ipv6).ok()?.checked_sub(headers)
}

pub(super) fn address(target: &Target) -> SocketAddr {
    SocketAddr::new(target.address, target.port)
}

fn source(target: &Target) -> Option<SocketAddr> {
    target.source_address.map(|source| SocketAddr::new(source, 0))
}
