//! What the lab's hosts do: they ping, serve, call and download, with the kernel's own sockets.

use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener, TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use rustix::net::sockopt::{Ipv4PathMtuDiscovery, set_ip_mtu_discover};
use socket2::{Domain, Protocol, Socket, Type};

use super::topology::Node;
use crate::wire::icmpv4::{self, Icmpv4, kind};
use crate::wire::{checksum, ipv4};

/// The Internet host.
pub const INTERNET: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 1);
/// A port where a caller is told how it is seen.
const MIRROR: u16 = 3478;
/// A port where a caller gets bytes.
const DOWNLOAD: u16 = 80;
/// Longest wait for an answer.
const PATIENCE: Duration = Duration::from_secs(3);

#[expect(clippy::disallowed_methods, reason = "the lab measures real time")]
fn clock() -> Instant {
    Instant::now()
}

/// What answers an echo request, and how fast.
#[derive(Debug, Clone, Copy)]
pub struct Echo {
    /// Who answered.
    pub from: Ipv4Addr,
    /// ICMP type of the answer.
    pub kind: u8,
    /// Round-trip time.
    pub time: Duration,
}

/// Sends one echo request from `host` and waits for the reply, or for an error about it.
///
/// # Errors
/// When nothing comes, or no raw socket is to be had.
pub fn ping(host: &Node, destination: Ipv4Addr, identifier: u16, ttl: u32) -> anyhow::Result<Echo> {
    ping_with(host, destination, identifier, ttl, Size { data: 0, dont_fragment: false })
}

/// Of an echo request.
#[derive(Debug, Clone, Copy)]
pub struct Size {
    /// Bytes behind the ICMP header.
    pub data: usize,
    /// DF.
    pub dont_fragment: bool,
}

/// As [`ping`], with a request of a certain size.
///
/// # Errors
/// As [`ping`]; and when the reply does not say what the request said.
pub fn ping_with(
    host: &Node,
    destination: Ipv4Addr,
    identifier: u16,
    ttl: u32,
    size: Size,
) -> anyhow::Result<Echo> {
    let socket = icmp_socket(host)?;
    socket.set_ttl_v4(ttl)?;
    let discovery = if size.dont_fragment { Ipv4PathMtuDiscovery::DO } else { Ipv4PathMtuDiscovery::DONT };
    set_ip_mtu_discover(&socket, discovery)?;
    let mut request = vec![kind::ECHO, 0, 0, 0, 0, 0, 0, 1];
    request[4..6].copy_from_slice(&identifier.to_be_bytes());
    request.extend((0..size.data).map(pattern));
    let sum = checksum::of(&request);
    request[2..4].copy_from_slice(&sum.to_be_bytes());
    let start = clock();
    socket.send_to(&request, &SocketAddr::new(destination.into(), 0).into())?;
    while start.elapsed() < PATIENCE {
        let Some((from, message)) = receive_icmp(&socket)? else { continue };
        let header = *Icmpv4::view(&message).context("a short message")?;
        // An error quotes our request: IPv4 header, then ours.
        let quoted = message.get(icmpv4::HEADER + ipv4::HEADER..).and_then(Icmpv4::view);
        let ours = match header.kind {
            kind::ECHO_REPLY => header.identifier.get() == identifier,
            kind::TIME_EXCEEDED | kind::UNREACHABLE => {
                quoted.is_some_and(|ours| ours.identifier.get() == identifier)
            }
            _ => false,
        };
        if ours {
            if header.kind == kind::ECHO_REPLY && message[icmpv4::HEADER..] != request[icmpv4::HEADER..] {
                bail!("{from} answers something else than it was asked");
            }
            return Ok(Echo { from, kind: header.kind, time: start.elapsed() });
        }
    }
    bail!("no answer from {destination} in {} s", PATIENCE.as_secs())
}

/// Sends one UDP packet that gets no further than `ttl` hops, and waits for the error about it, as
/// traceroute does.
///
/// # Errors
/// When nothing comes, or no raw socket is to be had.
pub fn trace(host: &Node, destination: Ipv4Addr, port: u16, ttl: u32) -> anyhow::Result<Echo> {
    let errors = icmp_socket(host)?;
    let probe = bind_udp(host, SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0))?;
    probe.set_ttl(ttl)?;
    let start = clock();
    probe.send_to(b"how far?", (destination, port))?;
    while start.elapsed() < PATIENCE {
        let Some((from, message)) = receive_icmp(&errors)? else { continue };
        // The port that we sent to, in the UDP header that the error quotes.
        let quoted = message.get(icmpv4::HEADER + ipv4::HEADER + 2..icmpv4::HEADER + ipv4::HEADER + 4);
        if matches!(message[0], kind::TIME_EXCEEDED | kind::UNREACHABLE)
            && quoted == Some(&port.to_be_bytes())
        {
            return Ok(Echo { from, kind: message[0], time: start.elapsed() });
        }
    }
    bail!("no error from hop {ttl} in {} s", PATIENCE.as_secs())
}

fn icmp_socket(host: &Node) -> anyhow::Result<Socket> {
    let socket = host.run(|| Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::ICMPV4)))??;
    socket.set_read_timeout(Some(Duration::from_millis(100)))?;
    Ok(socket)
}

/// One ICMP message and its sender; none when nothing came within the socket's patience.
fn receive_icmp(mut socket: &Socket) -> anyhow::Result<Option<(Ipv4Addr, Vec<u8>)>> {
    let mut buffer = [0; 16_384];
    let length = match socket.read(&mut buffer) {
        Ok(length) => length,
        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let packet = &buffer[..length];
    let from = ipv4::Ipv4::view(packet).context("a short packet")?.source();
    Ok(Some((from, ipv4::payload(packet).to_vec())))
}

/// The Internet host's services, until it is dropped.
pub struct Services {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
    pings: Socket,
}

impl Services {
    /// Starts mirror and download on `internet`. A download is `bytes` long.
    ///
    /// # Errors
    /// When a port cannot be opened.
    pub fn start(internet: &Node, bytes: usize) -> anyhow::Result<Services> {
        let stop = Arc::new(AtomicBool::new(false));
        let udp = bind_udp(internet, SocketAddrV4::new(INTERNET, MIRROR))?;
        let tcp = internet.run(|| TcpListener::bind((INTERNET, MIRROR)))??;
        let files = internet.run(|| TcpListener::bind((INTERNET, DOWNLOAD)))??;
        let pings = icmp_socket(internet)?;
        let mut threads = vec![std::thread::spawn({
            let stop = Arc::clone(&stop);
            move || mirror_datagrams(&udp, &stop)
        })];
        threads.push(serve(tcp, &stop, |mut stream, peer| stream.write_all(peer.to_string().as_bytes()))?);
        threads.push(serve(files, &stop, move |mut stream, _| send_pattern(&mut stream, bytes))?);
        Ok(Services { stop, threads, pings })
    }

    /// The source that the next echo request shows to the Internet.
    ///
    /// # Errors
    /// When none comes.
    pub fn who_pings(&self) -> anyhow::Result<Ipv4Addr> {
        let start = clock();
        while start.elapsed() < PATIENCE {
            if let Some((from, message)) = receive_icmp(&self.pings)?
                && message.first() == Some(&kind::ECHO)
            {
                return Ok(from);
            }
        }
        bail!("no echo request came")
    }

    /// Forgets the echo requests that came so far.
    ///
    /// # Errors
    /// When the socket fails.
    pub fn forget_pings(&self) -> anyhow::Result<()> {
        self.pings.set_nonblocking(true)?;
        while receive_icmp(&self.pings)?.is_some() {}
        Ok(self.pings.set_nonblocking(false)?)
    }
}

impl Drop for Services {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.threads.drain(..).for_each(|thread| drop(thread.join()));
    }
}

/// A UDP socket of a host, which gives up waiting after a while.
///
/// # Errors
/// When the port cannot be opened.
pub fn bind_udp(host: &Node, address: SocketAddrV4) -> anyhow::Result<UdpSocket> {
    let socket = host.run(|| UdpSocket::bind(address))??;
    socket.set_read_timeout(Some(PATIENCE))?;
    Ok(socket)
}

/// How a socket's datagrams are seen from the Internet.
///
/// # Errors
/// When the mirror does not answer.
pub fn seen_by_mirror(socket: &UdpSocket) -> anyhow::Result<SocketAddrV4> {
    socket.send_to(b"?", (INTERNET, MIRROR))?;
    let mut buffer = [0; 64];
    let (length, _) = socket.recv_from(&mut buffer).context("the mirror does not answer")?;
    Ok(std::str::from_utf8(&buffer[..length])?.parse()?)
}

/// How a TCP connection from `host` is seen from the Internet.
///
/// # Errors
/// When it does not come about.
pub fn tcp_seen_by_mirror(host: &Node) -> anyhow::Result<SocketAddrV4> {
    let mut stream = connect(host, MIRROR)?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    Ok(text.parse()?)
}

/// Downloads to `host` and checks every byte; gives how many there were, and how long it took.
///
/// # Errors
/// When a byte is wrong, or the connection ends early.
pub fn download(host: &Node) -> anyhow::Result<(usize, Duration)> {
    let start = clock();
    let mut stream = connect(host, DOWNLOAD)?;
    let mut buffer = vec![0; 1 << 16];
    let mut total = 0;
    loop {
        let length = stream.read(&mut buffer)?;
        if length == 0 {
            return Ok((total, start.elapsed()));
        }
        let wrong = buffer[..length].iter().zip(total..).position(|(&byte, at)| byte != pattern(at));
        if let Some(at) = wrong {
            bail!("byte {} of the download is wrong", total + at);
        }
        total += length;
    }
}

fn connect(host: &Node, port: u16) -> anyhow::Result<TcpStream> {
    let address = SocketAddr::new(IpAddr::V4(INTERNET), port);
    let stream = host.run(|| TcpStream::connect_timeout(&address, PATIENCE))?.context("no connection")?;
    stream.set_read_timeout(Some(PATIENCE))?;
    Ok(stream)
}

/// Byte `at` of a download: changes so that a lost, doubled or moved piece shows.
fn pattern(at: usize) -> u8 {
    (at ^ (at >> 8) ^ (at >> 16)) as u8
}

fn send_pattern(stream: &mut TcpStream, bytes: usize) -> std::io::Result<()> {
    const PIECE: usize = 1 << 16;
    for start in (0..bytes).step_by(PIECE) {
        let piece: Vec<u8> = (start..bytes.min(start + PIECE)).map(pattern).collect();
        stream.write_all(&piece)?;
    }
    Ok(())
}

fn mirror_datagrams(socket: &UdpSocket, stop: &AtomicBool) {
    let _ = socket.set_read_timeout(Some(Duration::from_millis(100)));
    let mut buffer = [0; 64];
    while !stop.load(Ordering::Relaxed) {
        if let Ok((_, from)) = socket.recv_from(&mut buffer) {
            let _ = socket.send_to(from.to_string().as_bytes(), from);
        }
    }
}

fn serve(
    listener: TcpListener,
    stop: &Arc<AtomicBool>,
    answer: impl Fn(TcpStream, SocketAddr) -> std::io::Result<()> + Send + 'static,
) -> anyhow::Result<JoinHandle<()>> {
    listener.set_nonblocking(true)?;
    let stop = Arc::clone(stop);
    Ok(std::thread::spawn(move || {
        while !stop.load(Ordering::Relaxed) {
            match listener.accept() {
                Ok((stream, peer)) => {
                    let _ = stream.set_nonblocking(false);
                    let _ = answer(stream, peer);
                }
                Err(_) => std::thread::sleep(Duration::from_millis(5)),
            }
        }
    }))
}
