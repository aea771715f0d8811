//! TCP through a forwarder, with the kernel's own sockets at both ends.
//!
//! ```text
//!   host ──lan── home ──access── router ──internet── server
//! ```
//!
//! The home is a B4 in user space (`aftr b4`), or routes where the forwarder knows no tunnel. That B4 is one
//! loop and may be what limits; the bare loops stand behind the same.

use std::io::{self, Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::Context as _;

use super::bed::SERVERS;
use super::clock;
use super::forwarders::{AFTR, Forwarder, Kind};
use super::meters::{self, Cpus};
use super::plan::{Access, Plan};
use super::results::TcpRates;
use crate::b4::{B4, Options};
use crate::commands::lab::topology::{Node, link};

const SERVER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
const PORT: u16 = 5201;
/// The first B4 of the bench's prefix, and the router on its link.
const B4_ADDRESS: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0xb4, 0, 0, 0, 0, 2);
const B4_LINK: &str = "2001:db8:b4::1";
/// Octets of one write.
const PIECE: usize = 1 << 17;
/// Before counting begins, windows open.
const RUN_UP: Duration = Duration::from_millis(200);
const PATIENCE: Duration = Duration::from_secs(3);

/// Which way the octets go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Goes {
    Up,
    Down,
}

/// A home and a server with a forwarder in between.
pub(super) struct TcpBed {
    pub(super) kind: Kind,
    host: Node,
    server: Node,
    cpus: Cpus,
    /// Dropped in this order: the tunnel before what it leads through.
    _b4: Option<RunningB4>,
    _home: Node,
    _forwarder: Forwarder,
}

struct RunningB4 {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<io::Result<()>>>,
}

impl TcpBed {
    /// Builds it and starts the forwarder and the B4.
    pub(super) fn build(kind: Kind, workers: u16, cpus: &Cpus) -> anyhow::Result<TcpBed> {
        let (host, home, router, server) =
            (Node::new("host")?, Node::new("home")?, Node::new("router")?, Node::new("server")?);
        for node in [&home, &router] {
            node.run(|| {
                let all = ["all", "default"].map(|name| format!("/proc/sys/net/ipv4/conf/{name}/rp_filter"));
                all.iter().try_for_each(|path| std::fs::write(path, "0"))
            })??;
        }
        link(&host, "eth0", &home, "lan", 1500)?;
        link(&home, "wan", &router, "access", 1540)?;
        link(&router, "internet", &server, "wire", 1500)?;
        let plain = "100.64.0.1";
        let b4_link = format!("{B4_LINK}/64");
        router.configure(
            &[("access", &b4_link), ("access", "100.64.0.1/24"), ("internet", "192.0.2.254/24")],
            &[],
            true,
        )?;
        server.configure(&[("wire", "192.0.2.1/24")], &[("0.0.0.0/0", "wire", "192.0.2.254")], false)?;
        let (wan_v6, default_v6) = (format!("{B4_ADDRESS}/64"), ("::/0", "wan", B4_LINK));
        home.configure(
            &[("lan", "192.168.1.1/24"), ("wan", "100.64.0.2/24"), ("wan", &wan_v6)],
            &[default_v6],
            true,
        )?;
        host.configure(&[("eth0", "192.168.1.10/24")], &[("0.0.0.0/0", "eth0", "192.168.1.1")], false)?;
        let access = kind.access()?;
        if access == Access::Plain {
            home.configure(&[], &[("0.0.0.0/0", "wan", plain)], true)?;
            router.configure(&[], &[("192.168.1.0/24", "access", "100.64.0.2")], true)?;
        }
        let plan = Plan { access, servers: SERVERS, first_b4: 0, b4s: 1, flows: 2048 };
        let forwarder = Forwarder::start(kind, router, &plan, workers, cpus)?;
        let b4 = match access {
            Access::Softwires { .. } => Some(RunningB4::start(&home, cpus.rest)?),
            Access::Plain => None,
        };
        Ok(TcpBed { kind, host, server, cpus: cpus.clone(), _b4: b4, _home: home, _forwarder: forwarder })
    }

    /// One stream and `many`, both ways, each for `time`.
    pub(super) fn measure(&self, many: usize, time: Duration) -> anyhow::Result<TcpRates> {
        let rate = |streams, goes| {
            self.rate(streams, goes, time)
                .with_context(|| format!("{}: TCP, {streams} streams", self.kind.name()))
        };
        Ok(TcpRates {
            one_up: rate(1, Goes::Up)?,
            one_down: rate(1, Goes::Down)?,
            many_up: rate(many, Goes::Up)?,
            many_down: rate(many, Goes::Down)?,
        })
    }

    fn rate(&self, streams: usize, goes: Goes, time: Duration) -> anyhow::Result<f64> {
        let pairs = self.connect(streams)?;
        let (stop, octets) = (AtomicBool::new(false), AtomicU64::new(0));
        let (before, after, seconds) = std::thread::scope(|scope| {
            for (client, server) in &pairs {
                let (from, to) = if goes == Goes::Up { (client, server) } else { (server, client) };
                scope.spawn(|| self.end(|| send(from, &stop)));
                scope.spawn(|| self.end(|| receive(to, &octets)));
            }
            std::thread::sleep(RUN_UP.min(time));
            let (start, before) = (clock::now(), octets.load(Ordering::Relaxed));
            std::thread::sleep(time);
            let (after, seconds) = (octets.load(Ordering::Relaxed), start.elapsed().as_secs_f64());
            stop.store(true, Ordering::Relaxed);
            for (client, server) in &pairs {
                // Whoever waits in a call wakes up.
                let _ = (client.shutdown(Shutdown::Both), server.shutdown(Shutdown::Both));
            }
            (before, after, seconds)
        });
        anyhow::ensure!(after > before, "nothing came in {seconds:.1} s");
        Ok((after - before) as f64 * 8.0 / seconds)
    }

    fn end(&self, work: impl FnOnce() -> io::Result<()>) {
        meters::pin(&self.cpus.senders[..1]);
        // A stream that is cut off is how it ends.
        let _ = work();
    }

    /// Connections of the host to the server: both ends of each.
    fn connect(&self, streams: usize) -> anyhow::Result<Vec<(TcpStream, TcpStream)>> {
        let listener = self.server.run(|| TcpListener::bind((SERVER, PORT)))??;
        let to = SocketAddr::new(IpAddr::from(SERVER), PORT);
        let one = || {
            let client =
                self.host.run(|| TcpStream::connect_timeout(&to, PATIENCE))?.context("no connection")?;
            anyhow::Ok((client, listener.accept()?.0))
        };
        (0..streams).map(|_| one()).collect()
    }
}

impl RunningB4 {
    fn start(home: &Node, cpu: usize) -> anyhow::Result<RunningB4> {
        let options = Options {
            aftr: AFTR,
            local: Some(B4_ADDRESS),
            interface: "dslite".into(),
            mtu: 1500,
            default_route: true,
        };
        let b4 = home.run(|| B4::open(&options))??;
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::Builder::new().name("b4".into()).spawn(move || {
            meters::pin(&[cpu]);
            b4.run(&stopped)
        })?;
        Ok(RunningB4 { stop, thread: Some(thread) })
    }
}

impl Drop for RunningB4 {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn send(mut stream: &TcpStream, stop: &AtomicBool) -> io::Result<()> {
    let piece = vec![0x5a; PIECE];
    while !stop.load(Ordering::Relaxed) {
        stream.write_all(&piece)?;
    }
    Ok(())
}

fn receive(mut stream: &TcpStream, octets: &AtomicU64) -> io::Result<()> {
    let mut piece = vec![0; 2 * PIECE];
    loop {
        match stream.read(&mut piece)? {
            0 => return Ok(()),
            length => octets.fetch_add(length as u64, Ordering::Relaxed),
        };
    }
}
