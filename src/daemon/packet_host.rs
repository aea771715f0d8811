//! What the kernel of this host must know when frames are taken from its interfaces: which packets it is to
//! leave alone.
//!
//! The AFTR's addresses are assigned to nobody. Routes of the kind "blackhole" keep the kernel from routing
//! or refusing their packets, and show a routing daemon what to announce. A filter at the ingress of each
//! interface drops them earlier, which is faster.

use std::collections::BTreeSet;
use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use ipnet::IpNet;
use tokio::sync::mpsc::Receiver;

use super::clock::Clock;
use super::host::{check_local_addresses, refused, routes};
use super::neighbours::{Neighbours, Watch};
use super::netlink::{Link, Netlink};
use super::next_hops::Tables;
use super::proxies::Proxies;
use super::start_error::StartError;
use super::wake::Wake;
use crate::engine::Config;
use crate::io::Steering;
use crate::io::packet::filter::{Ours, Purpose, program};
use crate::io::packet::{Neighbour, PacketDevice, Port, Proxy, Published};
use crate::io::sys::packet_socket;

/// Neighbours that a worker may ask for before the first answer.
const MOST_WANTED: usize = 256;

/// The host's side of the data plane. What it set up goes when it is dropped.
pub(super) struct PacketHost {
    netlink: Netlink,
    /// The interface of the B4s, and that of the Internet when it is another one; each with the sockets of its
    /// rings.
    links: Vec<(Link, Vec<OwnedFd>)>,
    routes: BTreeSet<IpNet>,
    has_filters: bool,
    neighbours: Option<Neighbours>,
    proxies: Option<Proxies>,
    watch: Option<ToWatch>,
}

/// What the thread for the neighbours is made of, once privileges are dropped.
struct ToWatch {
    tables: Tables,
    published: Arc<Published>,
    wanted: Receiver<Neighbour>,
    proxies: Vec<(u32, Proxy)>,
}

impl PacketHost {
    /// Opens the device of `config` in the network namespace of this thread, and sees to it that the kernel
    /// leaves its packets alone.
    pub(super) fn set_up(
        config: &Config,
        steering: Steering,
    ) -> Result<(PacketHost, Vec<PacketDevice>), StartError> {
        let netlink = Netlink::open().map_err(refused("cannot speak to the kernel by netlink"))?;
        let links = find_links(config, &netlink)?;
        check_local_addresses(config, &netlink)?;
        let numbers: Vec<u32> = links.iter().map(|link| link.number).collect();
        let tables = netlink
            .run(|| "read routes and neighbours".into(), async |handle| Tables::read(&handle, &numbers).await)
            .map_err(refused("cannot read routes and neighbours"))?;
        let published = Arc::new(Published::default());
        published.publish(Arc::new(tables.next_hops()));
        let (ask, wanted) = tokio::sync::mpsc::channel(MOST_WANTED);
        let ports = ports(config, &links);
        let (first, last) = (&ports[0], &ports[ports.len() - 1]);
        let count = usize::from(steering.workers);
        let devices = PacketDevice::open_all(first, last, &published, &ask, steering, count);
        let devices = devices.map_err(open_error)?;
        if let Some(error) = devices.iter().find_map(PacketDevice::not_steered) {
            tracing::warn!(%error, "the kernel gives packets to the first worker, which costs time");
        }
        let sockets = sockets(&devices).map_err(refused("cannot keep the sockets"))?;
        let proxies = if config.dataplane.proxy_neighbours {
            open_proxies(&ports).map_err(refused("cannot answer ARP and ND"))?
        } else {
            Vec::new()
        };
        let mut host = PacketHost {
            netlink,
            links: links.into_iter().zip(sockets).collect(),
            routes: BTreeSet::new(),
            has_filters: true,
            neighbours: None,
            proxies: None,
            watch: Some(ToWatch { tables, published, wanted, proxies }),
        };
        host.add_routes(&routes(config))?;
        host.set_filters(config);
        for (link, _) in &host.links {
            tracing::info!(interface = %link.name, mtu = link.mtu, "taking packets from the interface");
        }
        Ok((host, devices))
    }

    /// Starts what runs beside the workers, in the network namespace and with the capabilities of this thread.
    pub(super) fn start(&mut self, wakes: &[Wake], clock: Clock) -> Result<(), StartError> {
        let Some(ToWatch { tables, published, wanted, proxies }) = self.watch.take() else { return Ok(()) };
        let interfaces = self.links.iter().map(|(link, _)| link.number).collect();
        let wakes = wakes.to_vec();
        if !proxies.is_empty() {
            let started = Proxies::start(proxies, Arc::clone(&published));
            self.proxies = Some(started.map_err(refused("cannot answer ARP and ND"))?);
        }
        let watch = Watch { interfaces, tables, published, wanted, wakes, clock };
        self.neighbours =
            Some(Neighbours::start(watch).map_err(refused("cannot watch routes and neighbours"))?);
        Ok(())
    }

    /// Adds what a changed configuration needs more; all of it or nothing.
    pub(super) fn extend(&mut self, config: &Config) -> Result<(), StartError> {
        check_local_addresses(config, &self.netlink)?;
        for (link, _) in &self.links {
            check_mtu(link, config)?;
        }
        let before = self.routes.clone();
        self.add_routes(&routes(config)).inspect_err(|_| self.remove_routes_except(&before))?;
        // Packets to new addresses come before the engine knows them, and are counted as drops.
        self.set_filters(config);
        Ok(())
    }

    /// Removes what `config` no longer needs.
    pub(super) fn shrink(&mut self, config: &Config) {
        self.set_filters(config);
        self.remove_routes_except(&routes(config));
    }

    /// Makes the rings take, and the kernel leave, the packets of `config`. Without the filter the kernel
    /// still has the routes.
    fn set_filters(&mut self, config: &Config) {
        let links: Vec<Link> = self.links.iter().map(|(link, _)| link.clone()).collect();
        for ((link, sockets), port) in self.links.iter().zip(ports(config, &links)) {
            let taken = program(&port.ours, Purpose::Take).ok_or(ErrorKind::InvalidInput.into());
            let taken = taken.and_then(|program| {
                sockets.iter().try_for_each(|socket| packet_socket::set_filter(socket.as_fd(), &program))
            });
            if let Err(error) = taken {
                tracing::error!(interface = %link.name, %error, "the ring keeps its old filter");
            }
            if let Some(proxies) = &self.proxies {
                proxies.set_ours(link.number, port.ours.clone());
            }
            let Some(left) = program(&port.ours, Purpose::Drop).filter(|_| self.has_filters) else {
                continue;
            };
            if let Err(error) = self.netlink.set_ingress(link.number, &left) {
                tracing::warn!(
                    interface = %link.name,
                    %error,
                    "the kernel drops our packets only when it routes them, which costs time: it lacks \
                     clsact or the bpf classifier (modules sch_ingress, cls_bpf)"
                );
                self.has_filters = false;
            }
        }
    }

    fn add_routes(&mut self, wanted: &BTreeSet<IpNet>) -> Result<(), StartError> {
        for &prefix in wanted {
            if self.routes.contains(&prefix) {
                continue;
            }
            match self.netlink.add_blackhole(prefix) {
                Ok(()) => {}
                // Left behind by a daemon that had no time to remove it.
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                    let is_ours =
                        self.netlink.has_blackhole(prefix).map_err(refused("cannot list routes"))?;
                    if !is_ours {
                        return Err(StartError::RouteExists(prefix));
                    }
                }
                Err(error) => return Err(refused("cannot keep our addresses from the kernel")(error)),
            }
            self.routes.insert(prefix);
        }
        Ok(())
    }

    fn remove_routes_except(&mut self, kept: &BTreeSet<IpNet>) {
        for prefix in self.routes.difference(kept).copied().collect::<Vec<_>>() {
            match self.netlink.delete_blackhole(prefix) {
                Ok(()) => tracing::info!(%prefix, "route removed"),
                Err(error) => tracing::warn!(%prefix, %error, "route cannot be removed"),
            }
            self.routes.remove(&prefix);
        }
    }
}

impl Drop for PacketHost {
    fn drop(&mut self) {
        self.neighbours = None;
        for (link, _) in &self.links {
            // It may be gone with its interface.
            let _ = self.netlink.clear_ingress(link.number);
        }
        self.remove_routes_except(&BTreeSet::new());
    }
}

fn find_links(config: &Config, netlink: &Netlink) -> Result<Vec<Link>, StartError> {
    let Some(interfaces) = &config.dataplane.interfaces else {
        return Err(StartError::NoInterface("interfaces".into()));
    };
    let mut names = vec![&interfaces.b4];
    if interfaces.internet != interfaces.b4 {
        names.push(&interfaces.internet);
    }
    let mut links = Vec::new();
    for name in names {
        let link = netlink
            .link(name)
            .map_err(refused("cannot look at the interfaces"))?
            .ok_or_else(|| StartError::NoInterface(name.clone()))?;
        if link.mac.is_none() {
            return Err(StartError::NotEthernet(name.clone()));
        }
        check_mtu(&link, config)?;
        if !link.is_up {
            tracing::warn!(interface = %name, "the interface is down: ip link set {name} up");
        }
        links.push(link);
    }
    Ok(links)
}

/// An interface must take the largest packet that we may send there.
fn check_mtu(link: &Link, config: &Config) -> Result<(), StartError> {
    let Some(interfaces) = &config.dataplane.interfaces else { return Ok(()) };
    let (access, external) = (config.softwire.access_mtu, config.nat.external_mtu);
    let sides = [
        (&interfaces.b4, "softwire.access-mtu", access),
        (&interfaces.internet, "nat.external-mtu", external),
    ];
    for (name, key, mtu) in sides {
        if *name == link.name && link.mtu < u32::from(mtu) {
            let (interface, needed) = (link.name.clone(), u32::from(mtu));
            return Err(StartError::InterfaceMtu { interface, has: link.mtu, key, needed });
        }
    }
    Ok(())
}

/// What each interface takes.
fn ports(config: &Config, links: &[Link]) -> Vec<Port> {
    let pools = config.nat.external_ip_address_pool.iter();
    let remote = config.nat.nat_pass_through.iter().map(|rule| rule.prefix);
    let internal = &config.softwire.internal_prefixes;
    let from_b4 = Ours { aftr: config.softwire.aftr_ipv6_addr.clone(), ..Ours::default() };
    let from_internet = Ours {
        pools: pools.flat_map(|pool| pool.external_ip_pool.iter().copied()).collect(),
        pass_through: remote
            .flat_map(|remote| internal.iter().map(move |&internal| (remote, internal)))
            .collect(),
        ..Ours::default()
    };
    let port = |link: &Link, ours| Port { interface: link.number, mtu: link.mtu, ours };
    match links {
        [both] => vec![port(both, Ours { aftr: from_b4.aftr, ..from_internet })],
        [b4, internet, ..] => vec![port(b4, from_b4), port(internet, from_internet)],
        [] => Vec::new(),
    }
}

fn open_proxies(ports: &[Port]) -> io::Result<Vec<(u32, Proxy)>> {
    ports.iter().map(|port| Ok((port.interface, Proxy::open(port.interface, port.ours.clone())?))).collect()
}

/// The sockets of each interface, of all devices.
fn sockets(devices: &[PacketDevice]) -> io::Result<Vec<Vec<OwnedFd>>> {
    let mut all: Vec<Vec<OwnedFd>> = Vec::new();
    for device in devices {
        for (at, socket) in device.sockets()?.into_iter().enumerate() {
            match all.get_mut(at) {
                Some(sockets) => sockets.push(socket),
                None => all.push(vec![socket]),
            }
        }
    }
    Ok(all)
}

fn open_error(error: io::Error) -> StartError {
    let kind = error.kind();
    if kind == ErrorKind::PermissionDenied {
        StartError::NoRawSockets
    } else {
        refused("cannot take packets from the interfaces")(error)
    }
}
