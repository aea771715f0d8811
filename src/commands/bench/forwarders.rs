//! What is measured, and what it is measured against: an AFTR's figure says little without that of the
//! cheapest thing that could be done on the same device, and without the kernel's own.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::net::Ipv6Addr;
use std::process::{Command, Stdio};

use anyhow::{Context as _, bail};

use super::bare::Bare;
use super::bed::{B4S, SERVERS};
use super::meters::{self, Cpus};
use super::plan::{Access, Plan};
use super::{bare_ring, bare_tun};
use crate::commands::lab::gateway::Gateway;
use crate::commands::lab::topology::Node;
use crate::engine::Config;

/// The AFTR's address, and that of what stands in its place.
pub(super) const AFTR: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0xaaaa, 0, 0, 0, 0, 1);

/// One of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// The daemon on a tun, with offload.
    AftrTun,
    /// The daemon on a tun that moves one packet at a time.
    AftrTunPlain,
    /// A loop that reads from a tun, takes the outer header off or puts one on, and writes.
    BareTun,
    /// The daemon on AF_PACKET rings.
    AftrPacket,
    /// A loop that takes frames from one ring and writes them into another.
    BareRing,
    /// IPv4 routing by the kernel: no tunnel, no translation.
    Routing,
    /// NAT44 by nftables: no tunnel.
    Masquerade,
}

impl Kind {
    /// For tables and documents.
    pub(super) fn name(self) -> &'static str {
        match self {
            Kind::AftrTun => "aftr-tun",
            Kind::AftrTunPlain => "aftr-tun-plain",
            Kind::BareTun => "bare-tun",
            Kind::AftrPacket => "aftr-packet",
            Kind::BareRing => "bare-ring",
            Kind::Routing => "kernel-routing",
            Kind::Masquerade => "nftables-masquerade",
        }
    }

    /// What it does, in one line.
    pub(super) fn describe(self) -> &'static str {
        match self {
            Kind::AftrTun => "the AFTR of `aftr run`, device tun with its default offload",
            Kind::AftrTunPlain => "the same with `offload = false`",
            Kind::BareTun => "read from a plain tun, outer header off or on, write; no table, no check",
            Kind::AftrPacket => "the AFTR of `aftr run`, device packet",
            Kind::BareRing => {
                "from one AF_PACKET ring to another, outer header off or on; no table, no check"
            }
            Kind::Routing => "IPv4 routing by the kernel; no tunnel, no NAT",
            Kind::Masquerade => "`nft … masquerade`: NAT44 by the kernel; no tunnel",
        }
    }

    /// Whether the kernel forwards by itself, on the CPU that the packets arrive on.
    pub(super) fn is_kernel(self) -> bool {
        matches!(self, Kind::Routing | Kind::Masquerade)
    }

    /// How homes reach it.
    pub(super) fn access(self) -> anyhow::Result<Access> {
        Ok(if self.is_kernel() { Access::Plain } else { Access::Softwires { aftr: AFTR, b4s: B4S.parse()? } })
    }

    /// The cheapest thing that can be done on the same device.
    pub(super) fn bare(self) -> Option<Kind> {
        match self {
            Kind::AftrTun | Kind::AftrTunPlain | Kind::BareTun => Some(Kind::BareTun),
            Kind::AftrPacket | Kind::BareRing => Some(Kind::BareRing),
            Kind::Routing | Kind::Masquerade => None,
        }
    }

    /// Why it cannot be on this host, if so.
    pub(super) fn missing(self) -> Option<String> {
        match self {
            Kind::AftrTun | Kind::AftrTunPlain | Kind::BareTun => no_tun(),
            Kind::Masquerade => {
                let mut nft = Command::new("nft");
                let tried = nft.arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
                tried
                    .err()
                    .map(|error| format!("`nft` cannot be run: {error} (Debian: apt install nftables)"))
            }
            Kind::AftrPacket | Kind::BareRing | Kind::Routing => None,
        }
    }

    /// Whether TCP can go through it. What a local stack sends has no checksum yet and up to 64 KiB, which
    /// the bare ring loop would send as it is.
    pub(super) fn carries_tcp(self) -> bool {
        self != Kind::BareRing
    }

    /// Why TCP cannot be measured through it on this host, if so.
    pub(super) fn missing_for_tcp(self) -> Option<String> {
        if self.is_kernel() { None } else { no_tun().map(|why| format!("the B4: {why}")) }
    }
}

fn no_tun() -> Option<String> {
    let opened = OpenOptions::new().read(true).write(true).open("/dev/net/tun");
    opened.err().map(|error| format!("/dev/net/tun: {error}"))
}

/// A running one. It stops when it is dropped.
pub(super) struct Forwarder {
    /// Its threads, and those of the kernel that came with it (NAPI of a tun with offload), for their CPU
    /// time; none when the kernel forwards.
    pub(super) threads: Vec<i32>,
    running: Running,
}

enum Running {
    Aftr(Gateway),
    /// Kept until the end, as is the kernel's host.
    Bare(#[expect(dead_code, reason = "dropping it stops it")] Bare),
    Kernel(#[expect(dead_code, reason = "dropping it removes the namespace")] Node),
}

impl Forwarder {
    /// Starts one on `router`, large enough for `plan`; an AFTR has `workers`.
    pub(super) fn start(
        kind: Kind,
        router: Node,
        plan: &Plan,
        workers: u16,
        cpus: &Cpus,
    ) -> anyhow::Result<Forwarder> {
        let before = meters::threads();
        let running = meters::on_cpus(&cpus.forwarders, || {
            anyhow::Ok(match kind {
                Kind::AftrTun | Kind::AftrTunPlain | Kind::AftrPacket => {
                    Running::Aftr(Gateway::start(router, configuration(kind, plan, workers)?)?)
                }
                Kind::BareTun => Running::Bare(bare_tun::start(router)?),
                Kind::BareRing => Running::Bare(bare_ring::start(router)?),
                Kind::Routing => Running::Kernel(router),
                Kind::Masquerade => {
                    masquerade(&router)?;
                    Running::Kernel(router)
                }
            })
        })
        .with_context(|| kind.name())?;
        let threads = if kind.is_kernel() { Vec::new() } else { meters::threads() };
        let threads = threads.into_iter().filter(|thread| !before.contains(thread)).collect();
        Ok(Forwarder { threads, running })
    }

    /// What it says about packets that it dropped, if it can say something.
    pub(super) fn complaint(&self) -> String {
        let Running::Aftr(gateway) = &self.running else { return String::new() };
        let Ok(snapshot) = gateway.snapshot() else { return "; the AFTR gives no answer".into() };
        let counters: Vec<String> = snapshot
            .counters
            .named()
            .filter(|&(_, count)| count > 0)
            .map(|(name, count)| format!("{name} {count}"))
            .collect();
        format!("; the AFTR counted: {}; could not send {}", counters.join(", "), snapshot.losses.unsent)
    }
}

/// The B4 that the bare loops send everything to.
pub(super) fn first_b4() -> anyhow::Result<Ipv6Addr> {
    let access = Access::Softwires { aftr: AFTR, b4s: B4S.parse()? };
    let plan = Plan { access, servers: SERVERS, first_b4: 0, b4s: 1, flows: 1 };
    plan.flow(0).b4.context("no B4")
}

/// Four port sets for each B4, and tables with room for every flow.
fn configuration(kind: Kind, plan: &Plan, workers: u16) -> anyhow::Result<Config> {
    const B4S_PER_ADDRESS: u32 = 31;
    // Each worker has addresses of its own, and rarely its even part of the B4s.
    let spread = if workers > 1 { 2 } else { 1 };
    let addresses = (spread * plan.b4s).div_ceil(B4S_PER_ADDRESS).max(workers.into()).next_power_of_two();
    let prefix = 32 - addresses.trailing_zeros();
    // Workers are never given quite as many flows as each other.
    let (b4s, entries) = (plan.b4s, plan.flows.max(1024) * 2);
    let device = match kind {
        Kind::AftrPacket => "device = \"packet\"\ninterfaces = { b4 = \"access\", internet = \"internet\" }",
        Kind::AftrTunPlain => "device = \"tun\"\noffload = false",
        Kind::AftrTun | Kind::BareTun | Kind::BareRing | Kind::Routing | Kind::Masquerade => {
            "device = \"tun\""
        }
    };
    let text = format!(
        r#"
        [softwire]
        aftr-ipv6-addr = ["{AFTR}"]
        b4-prefixes = ["{B4S}"]
        subscriber-mask-v6 = 64
        access-mtu = 1540
        [nat]
        port-quota = {{ new-mappings-per-second = 1000000, new-mappings-burst = 1000000 }}
        [[nat.external-ip-address-pool]]
        pool-id = 1
        external-ip-pool = ["198.18.0.0/{prefix}"]
        [nat.mapping-limits]
        limit-subscribers = {b4s}
        limit-port-mappings = {entries}
        limit-sessions = {entries}
        [dataplane]
        {device}
        workers = {workers}
        manage-host = true
        "#
    );
    Config::parse(&text).map_err(|errors| {
        let errors: Vec<String> = errors.iter().map(ToString::to_string).collect();
        anyhow::anyhow!("the bench's configuration: {}", errors.join("; "))
    })
}

fn masquerade(router: &Node) -> anyhow::Result<()> {
    const RULES: &str = "table ip bench {\n chain leave {\n  type nat hook postrouting priority 100;\n  \
                         oifname \"internet\" masquerade\n }\n}\n";
    router.run(|| {
        let mut nft =
            Command::new("nft").args(["-f", "-"]).stdin(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        nft.stdin.take().context("no pipe")?.write_all(RULES.as_bytes())?;
        let ended = nft.wait_with_output()?;
        if !ended.status.success() {
            bail!("nft: {}", String::from_utf8_lossy(&ended.stderr).trim());
        }
        Ok(())
    })?
}
