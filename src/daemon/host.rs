//! What the kernel of this host must know: the tun, and which addresses lie behind it.
//!
//! The AFTR's own addresses and the pools are routed to the tun and assigned to nobody. An address that
//! the host itself owns would never reach the tun: the kernel would keep its packets, and would drop
//! what comes out of the tun with that source.

use std::collections::BTreeSet;
use std::fs::OpenOptions;
use std::io::{self, ErrorKind};

use aftr_config::DeviceKind;
use ipnet::{IpNet, Ipv6Net};

use super::netlink::Netlink;
use super::privileges;
use super::start_error::StartError;
use super::sysctl;
use crate::engine::Config;
use crate::io::{Queues, Steering, Tun};

/// Packets that may wait for the worker. A tun loses what comes on top, and its 500 are less than a
/// millisecond of small packets; these are 4 ms of them, and 20 ms of large ones at 1.2 Gbit/s.
const QUEUE_LENGTH: u32 = 2048;

/// The host's side of the data plane. What it set up goes when the tun is closed.
pub(super) struct Host {
    netlink: Netlink,
    interface: String,
    mtu: u32,
    routes: BTreeSet<IpNet>,
}

impl Host {
    /// Makes the tun of `config` in the network namespace of this thread, with a queue for each worker,
    /// brings it up and routes the AFTR's addresses to it.
    pub(super) fn set_up(config: &Config, steering: Steering) -> Result<(Host, Vec<Tun>), StartError> {
        let Queues { queues, not_steered } =
            open_tun(&config.dataplane.interface, config.dataplane.offload, steering)?;
        if let Some(error) = not_steered {
            tracing::warn!(
                %error,
                "the kernel gives packets to any worker, which costs time: it lacks TUNSETSTEERINGEBPF, or this \
                 process the right to load a program (CAP_BPF)"
            );
        }
        let netlink = Netlink::open().map_err(refused("cannot speak to the kernel by netlink"))?;
        check_local_addresses(config, &netlink)?;
        let mut host = Host {
            netlink,
            interface: config.dataplane.interface.clone(),
            mtu: mtu(config),
            routes: BTreeSet::new(),
        };
        sysctl::quieten(&host.interface);
        host.netlink.set_mtu(&host.interface, host.mtu).map_err(refused("cannot set the MTU"))?;
        host.netlink
            .set_queue_length(&host.interface, QUEUE_LENGTH)
            .map_err(refused("cannot set the queue length"))?;
        host.netlink.set_up(&host.interface).map_err(refused("cannot bring the interface up"))?;
        let wrong = sysctl::wrong(sysctl::needed(config), config.dataplane.manage_host);
        if !wrong.is_empty() {
            return Err(StartError::Sysctls(wrong));
        }
        host.add_routes(&routes(config))?;
        tracing::info!(
            interface = %host.interface,
            mtu = host.mtu,
            tun = ?queues.first().map(Tun::granted),
            queues = queues.len(),
            routes = %host.routes.iter().map(IpNet::to_string).collect::<Vec<_>>().join(" "),
            "tun is up"
        );
        Ok((host, queues))
    }

    /// Adds what a changed configuration needs more; all of it or nothing.
    pub(super) fn extend(&mut self, config: &Config) -> Result<(), StartError> {
        check_local_addresses(config, &self.netlink)?;
        let wrong = sysctl::wrong(sysctl::needed(config), config.dataplane.manage_host);
        if !wrong.is_empty() {
            return Err(StartError::Sysctls(wrong));
        }
        let before = self.routes.clone();
        self.set_mtu(self.mtu.max(mtu(config)))?;
        self.add_routes(&routes(config)).inspect_err(|_| self.remove_routes_except(&before))
    }

    /// Removes what `config` no longer needs.
    pub(super) fn shrink(&mut self, config: &Config) {
        self.remove_routes_except(&routes(config));
        if let Err(error) = self.set_mtu(mtu(config)) {
            tracing::warn!(%error, "the interface keeps its MTU");
        }
    }

    fn set_mtu(&mut self, mtu: u32) -> Result<(), StartError> {
        if mtu != self.mtu {
            self.netlink.set_mtu(&self.interface, mtu).map_err(refused("cannot set the MTU"))?;
            self.mtu = mtu;
        }
        Ok(())
    }

    fn add_routes(&mut self, wanted: &BTreeSet<IpNet>) -> Result<(), StartError> {
        for &prefix in wanted {
            if self.routes.contains(&prefix) {
                continue;
            }
            self.netlink.add_route(prefix, &self.interface, None).map_err(|error| {
                if error.kind() == ErrorKind::AlreadyExists {
                    StartError::RouteExists(prefix)
                } else {
                    StartError::Refused(format!("cannot route {prefix} to {}", self.interface), error)
                }
            })?;
            self.routes.insert(prefix);
        }
        Ok(())
    }

    fn remove_routes_except(&mut self, kept: &BTreeSet<IpNet>) {
        for prefix in self.routes.difference(kept).copied().collect::<Vec<_>>() {
            match self.netlink.delete_route(prefix, &self.interface) {
                Ok(()) => tracing::info!(%prefix, "route removed"),
                Err(error) => tracing::warn!(%prefix, %error, "route cannot be removed"),
            }
            self.routes.remove(&prefix);
        }
    }
}

/// What is the AFTR's alone: every AFTR address and every pool.
pub(super) fn routes(config: &Config) -> BTreeSet<IpNet> {
    let aftr = config.softwire.aftr_ipv6_addr.iter().map(|&address| IpNet::V6(Ipv6Net::from(address)));
    let pools = config.nat.external_ip_address_pool.iter();
    aftr.chain(pools.flat_map(|pool| pool.external_ip_pool.iter().copied().map(IpNet::V4))).collect()
}

/// The kernel hands the tun nothing larger than its MTU: neither an IPv6 packet of the access network
/// nor an IPv4 packet of the Internet may be.
fn mtu(config: &Config) -> u32 {
    u32::from(config.softwire.access_mtu.max(config.nat.external_mtu))
}

fn open_tun(interface: &str, offload: bool, steering: Steering) -> Result<Queues, StartError> {
    match OpenOptions::new().read(true).write(true).open("/dev/net/tun") {
        Ok(_) => {}
        Err(error) if error.kind() == ErrorKind::PermissionDenied => {
            return Err(if privileges::can_administrate_network() {
                StartError::TunForbidden(error)
            } else {
                StartError::NoPermission
            });
        }
        Err(error) => return Err(StartError::NoTun(error)),
    }
    Tun::open_queues(interface, steering.workers.into(), offload, Some(steering)).map_err(|error| {
        if error.kind() == ErrorKind::PermissionDenied {
            StartError::NoPermission
        } else {
            StartError::InterfaceTaken { interface: interface.to_owned(), error }
        }
    })
}

pub(super) fn check_local_addresses(config: &Config, netlink: &Netlink) -> Result<(), StartError> {
    let ours = routes(config);
    let local = netlink.addresses().map_err(refused("cannot list the addresses of this host"))?;
    let taken: Vec<_> = local
        .iter()
        .filter(|(address, _)| ours.iter().any(|prefix| prefix.contains(&address.addr())))
        .map(|(address, interface)| (address.addr(), interface.clone()))
        .collect();
    if !taken.is_empty() {
        return Err(StartError::LocalAddresses(taken));
    }
    if config.dataplane.proxy_neighbours {
        return Ok(());
    }
    let cure = match config.dataplane.device {
        DeviceKind::Tun => "let the kernel answer (proxy_arp, proxy_ndp)",
        DeviceKind::Packet => "let aftr answer ([dataplane] proxy-neighbours = true)",
    };
    for (address, interface) in &local {
        for prefix in ours.iter().filter(|prefix| address.trunc().contains(*prefix)) {
            tracing::warn!(
                %prefix,
                %interface,
                "neighbours on this interface take the prefix for theirs and ask for it by ARP or ND: \
                 route it to this host there, or {cure}"
            );
        }
    }
    Ok(())
}

pub(super) fn refused(what: &str) -> impl FnOnce(io::Error) -> StartError {
    let what = what.to_owned();
    move |error| {
        if error.kind() == ErrorKind::PermissionDenied {
            StartError::NoPermission
        } else {
            StartError::Refused(what, error)
        }
    }
}
