//! The lab's small Internet: network namespaces, the links between them and what runs in each.
//!
//! ```text
//!  lan-1 192.168.1.10 ── b4-1 ─┐                        203.0.113.1
//!                              ├─ IPv6 ── aftr ── IPv4 ── internet
//!  lan-2 192.168.1.10 ── b4-2 ─┤          198.51.100.1 outside
//!                    stranger ─┘
//! ```
//!
//! With the device `packet`, which has one interface on each side, a router stands between the AFTR and the
//! B4s.

use std::net::Ipv6Addr;
use std::os::fd::{AsFd, AsRawFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use aftr_config::DeviceKind;
use anyhow::Context as _;
use ipnet::IpNet;

use super::gateway::Gateway;
use crate::b4::{B4, Options};
use crate::daemon::Netlink;
use crate::engine::Config;
use crate::io::sys::namespace::{NetNamespace, enter_new_user_namespace};

/// The configuration that the lab's AFTR runs with.
pub const CONFIGURATION: &str = r#"[softwire]
aftr-ipv6-addr = ["2001:db8:aaaa::1"]
b4-prefixes = ["2001:db8:b4::/48"]
subscriber-mask-v6 = 64
access-mtu = 1540            # a 1500-byte IPv4 packet needs no fragments

[[nat.external-ip-address-pool]]
pool-id = 1
external-ip-pool = ["198.51.100.1"]

[nat.mapping-limits]
limit-subscribers = 16
limit-port-mappings = 16384
limit-sessions = 16384
"#;

/// What the configuration has besides for the device `packet`.
pub const PACKET: &str = r#"
[dataplane]
device = "packet"
interfaces = { b4 = "access", internet = "internet" }
"#;

/// The AFTR's address.
pub const AFTR: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0xaaaa, 0, 0, 0, 0, 1);

/// How a B4 is reached: sizes are those of the largest IPv6 packet.
#[derive(Debug, Clone, Copy)]
pub struct Access {
    /// The link that the AFTR sees.
    pub mtu: u32,
    /// The link behind a router in between, when there is one.
    pub beyond: Option<u32>,
}

impl Access {
    /// Inner packets of 1500 bytes need no fragments.
    pub const WIDE: Access = Access { mtu: 1540, beyond: None };
}

/// One host.
pub struct Node {
    /// What it is called.
    pub name: String,
    namespace: NetNamespace,
}

impl Node {
    /// Makes a host without links.
    ///
    /// # Errors
    /// When no network namespace is to be had.
    pub fn new(name: impl Into<String>) -> anyhow::Result<Node> {
        let name = name.into();
        let namespace =
            NetNamespace::new().with_context(|| format!("cannot make a network namespace for {name}"))?;
        let node = Node { name, namespace };
        node.run(|| Netlink::open()?.set_up("lo"))??;
        Ok(node)
    }

    /// Runs `work` on a thread inside this host. A socket that it opens stays there, wherever it is used.
    ///
    /// # Errors
    /// When the namespace cannot be entered.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> anyhow::Result<T> {
        Ok(self.namespace.run(work)?)
    }

    /// Moves the calling thread into this host.
    ///
    /// # Errors
    /// When the namespace cannot be entered.
    pub fn enter(&self) -> anyhow::Result<()> {
        Ok(self.namespace.enter()?)
    }

    /// The command that opens a shell in it, while this process lives.
    #[must_use]
    pub fn shell(&self) -> String {
        format!(
            "nsenter --preserve-credentials --user=/proc/{}/ns/user --net={}",
            std::process::id(),
            self.path()
        )
    }

    /// The file that stands for it, while this process lives.
    #[must_use]
    pub fn path(&self) -> String {
        format!("/proc/{}/fd/{}", std::process::id(), self.namespace.as_fd().as_raw_fd())
    }

    /// Gives interfaces addresses and brings them up, adds routes (destination, interface, gateway), and
    /// makes it a router.
    ///
    /// # Errors
    /// As the kernel says.
    pub fn configure(
        &self,
        addresses: &[(&str, &str)],
        routes: &[(&str, &str, &str)],
        forward: bool,
    ) -> anyhow::Result<()> {
        self.run(|| {
            let netlink = Netlink::open()?;
            for (interface, address) in addresses {
                netlink.add_address(interface, net(address)?)?;
                netlink.set_up(interface)?;
            }
            if forward {
                std::fs::write("/proc/sys/net/ipv4/ip_forward", "1")?;
                std::fs::write("/proc/sys/net/ipv6/conf/all/forwarding", "1")?;
            }
            for (destination, interface, via) in routes {
                netlink.add_route(net(destination)?, interface, Some(via.parse()?))?;
            }
            anyhow::Ok(())
        })?
        .with_context(|| format!("cannot set {} up", self.name))
    }
}

fn net(text: &str) -> anyhow::Result<IpNet> {
    Ok(text.parse()?)
}

/// A home: its B4 and one host behind it.
pub struct Home {
    /// The B4.
    pub router: Node,
    /// The host, 192.168.1.10.
    pub host: Node,
    /// The B4's address.
    pub b4: Ipv6Addr,
    /// The router between it and the AFTR, if any.
    pub between: Option<Node>,
    stop: Arc<AtomicBool>,
    tunnel: Option<JoinHandle<std::io::Result<()>>>,
}

impl Home {
    fn start_b4(router: Node, host: Node, between: Option<Node>, b4: Ipv6Addr) -> anyhow::Result<Home> {
        let mut home = Home { router, host, b4, between, stop: Arc::default(), tunnel: None };
        home.open_softwire()?;
        Ok(home)
    }

    fn open_softwire(&mut self) -> anyhow::Result<()> {
        let interface = "dslite".into();
        let options = Options { aftr: AFTR, local: Some(self.b4), interface, mtu: 1500, default_route: true };
        let opened = self.router.run(|| B4::open(&options))??;
        self.stop = Arc::default();
        let stop = Arc::clone(&self.stop);
        self.tunnel = Some(
            std::thread::Builder::new().name(self.router.name.clone()).spawn(move || opened.run(&stop))?,
        );
        Ok(())
    }

    fn close_softwire(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(tunnel) = self.tunnel.take() {
            let _ = tunnel.join();
        }
    }

    /// Gives the B4 another address of its prefix, as a renumbered access network does.
    ///
    /// # Errors
    /// When the address or the softwire cannot be made.
    pub fn renumber(&mut self, b4: Ipv6Addr) -> anyhow::Result<()> {
        self.close_softwire();
        self.router.run(|| {
            Netlink::open()?.add_address("wan", IpNet::new(b4.into(), 64).map_err(std::io::Error::other)?)
        })??;
        self.b4 = b4;
        self.open_softwire()
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        self.close_softwire();
    }
}

/// All of it, running.
pub struct Topology {
    /// A host on the Internet, 203.0.113.1.
    pub internet: Node,
    /// The two homes.
    pub homes: [Home; 2],
    /// A host on the access network that is nobody's subscriber.
    pub stranger: Node,
    /// The AFTR.
    pub gateway: Gateway,
    /// The router between the AFTR and the B4s, with the device `packet`.
    pub access: Option<Node>,
}

impl Topology {
    /// Moves the process into a user namespace of its own, so that nothing of the host can change. Call
    /// it before any thread exists.
    ///
    /// # Errors
    /// When this host does not let everybody make user namespaces, and we are not root either.
    pub fn isolate() -> anyhow::Result<()> {
        match enter_new_user_namespace() {
            Err(error) if !rustix::process::geteuid().is_root() => Err(error).context(
                "cannot make a user namespace: allow it (`sysctl kernel.unprivileged_userns_clone=1`, \
                 `sysctl user.max_user_namespaces=10000`), or run the lab as root",
            ),
            _ => Ok(()),
        }
    }

    /// Builds everything and starts the AFTR and the two B4s.
    ///
    /// # Errors
    /// What this host lacks.
    pub fn build(config: Config) -> anyhow::Result<Topology> {
        Topology::build_over(config, [Access::WIDE; 2])
    }

    /// The same, with access links of one's own.
    ///
    /// # Errors
    /// What this host lacks.
    pub fn build_over(config: Config, accesses: [Access; 2]) -> anyhow::Result<Topology> {
        let aftr = Node::new("aftr")?;
        let internet = Node::new("internet")?;
        link(&internet, "aftr", &aftr, "internet", 1500)?;
        let is_tun = config.dataplane.device == DeviceKind::Tun;
        aftr.configure(&[("internet", "203.0.113.254/24")], &[], is_tun)?;
        internet.configure(
            &[("aftr", "203.0.113.1/24")],
            &[("198.51.100.0/24", "aftr", "203.0.113.254")],
            false,
        )?;

        let between = if is_tun {
            None
        } else {
            Some(access_router(&aftr, config.softwire.access_mtu.max(Access::WIDE.mtu as u16))?)
        };
        let stranger = Node::new("stranger")?;
        let network = between.as_ref().unwrap_or(&aftr);
        access(network, "access0", &stranger, "2001:db8:dead::", Access::WIDE.mtu)?;
        let gateway = Gateway::start(aftr, config)?;
        let [first, second] = accesses;
        let network = between.as_ref().unwrap_or(gateway.node());
        let homes = [home(network, 1, first)?, home(network, 2, second)?];
        Ok(Topology { internet, homes, stranger, gateway, access: between })
    }

    /// Makes a host on the Internet, 192.0.2.1, that is reached by way of 203.0.113.1.
    ///
    /// # Errors
    /// What this host lacks.
    pub fn add_far_host(&self) -> anyhow::Result<Node> {
        let far = Node::new("far")?;
        link(&self.internet, "far", &far, "eth0", 1500)?;
        self.internet.configure(&[("far", "192.0.2.254/24")], &[], true)?;
        far.configure(&[("eth0", "192.0.2.1/24")], &[("0.0.0.0/0", "eth0", "192.0.2.254")], false)?;
        self.gateway.node().configure(&[], &[("192.0.2.0/24", "internet", "203.0.113.1")], false)?;
        Ok(far)
    }
}

/// The router between the AFTR and the B4s: towards the AFTR it is 2001:db8:ffff::2.
fn access_router(aftr: &Node, mtu: u16) -> anyhow::Result<Node> {
    let router = Node::new("access")?;
    // The kernel asks for neighbours with its link-local address, which it else tries out for two seconds.
    for node in [&router, aftr] {
        node.run(|| std::fs::write("/proc/sys/net/ipv6/conf/default/accept_dad", "0"))??;
    }
    link(&router, "aftr", aftr, "access", mtu.into())?;
    let to_aftr = (format!("{AFTR}/128"), "aftr", "2001:db8:ffff::1");
    router.configure(&[("aftr", "2001:db8:ffff::2/64")], &[(&to_aftr.0, to_aftr.1, to_aftr.2)], true)?;
    aftr.configure(&[("access", "2001:db8:ffff::1/64")], &[("::/0", "access", "2001:db8:ffff::2")], false)?;
    Ok(router)
}

/// A home whose B4 has the address 2001:db8:b4:NUMBER::2.
fn home(network: &Node, number: usize, way: Access) -> anyhow::Result<Home> {
    let (router_name, host_name) = if number == 1 { ("b4-1", "lan-1") } else { ("b4-2", "lan-2") };
    let (router, host) = (Node::new(router_name)?, Node::new(host_name)?);
    let prefix = format!("2001:db8:b4:{number}::");
    let interface = format!("access{number}");
    let between = match way.beyond {
        None => {
            access(network, &interface, &router, &prefix, way.mtu)?;
            None
        }
        Some(beyond) => {
            let between = Node::new(format!("between-{number}"))?;
            let net = format!("2001:db8:c:{number}::");
            access(network, &interface, &between, &net, way.mtu)?;
            access(&between, "home", &router, &prefix, beyond)?;
            network.configure(&[], &[(&format!("{prefix}/64"), &interface, &format!("{net}2"))], true)?;
            Some(between)
        }
    };
    link(&router, "lan", &host, "eth0", 1500)?;
    router.configure(&[("lan", "192.168.1.1/24")], &[], true)?;
    host.configure(&[("eth0", "192.168.1.10/24")], &[("0.0.0.0/0", "eth0", "192.168.1.1")], false)?;

    Home::start_b4(router, host, between, format!("{prefix}2").parse()?)
}

/// An access link: the network's end is prefix::1, the other prefix::2, which routes all IPv6 to it.
fn access(network: &Node, interface: &str, customer: &Node, prefix: &str, mtu: u32) -> anyhow::Result<()> {
    link(customer, "wan", network, interface, mtu)?;
    network.configure(&[(interface, &format!("{prefix}1/64"))], &[], true)?;
    customer.configure(&[("wan", &format!("{prefix}2/64"))], &[("::/0", "wan", &format!("{prefix}1"))], false)
}

/// Connects two hosts by a pair of interfaces, both up. Both are made where the first is: their names must
/// differ.
///
/// # Errors
/// As the kernel says.
pub fn link(one: &Node, one_end: &str, other: &Node, other_end: &str, mtu: u32) -> anyhow::Result<()> {
    one.run(|| {
        let netlink = Netlink::open()?;
        netlink.add_veth(one_end, other_end, Some(other.namespace.as_fd()))?;
        netlink.set_mtu(one_end, mtu)?;
        netlink.set_up(one_end)
    })??;
    other.run(|| {
        let netlink = Netlink::open()?;
        netlink.set_mtu(other_end, mtu)?;
        netlink.set_up(other_end)
    })??;
    Ok(())
}
