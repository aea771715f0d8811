//! Interfaces as the bench needs them: number, Ethernet address, packet counter, neighbours.

use std::fs::File;
use std::io::{self, Read as _, Seek as _};
use std::net::IpAddr;

use anyhow::Context as _;
use futures_util::TryStreamExt as _;
use netlink_packet_route::link::LinkAttribute;
use netlink_packet_route::neighbour::{NeighbourAddress, NeighbourAttribute};
use tokio::runtime::Runtime;

use super::frames::Mac;

/// An interface of the network namespace that it was looked up in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Link {
    /// Its number.
    pub(super) index: u32,
    pub(super) mac: Mac,
}

/// A netlink socket of the network namespace of the thread that opened it.
pub(super) struct Links {
    runtime: Runtime,
    handle: rtnetlink::Handle,
}

impl Links {
    /// Opens one.
    pub(super) fn open() -> io::Result<Links> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
        let handle = {
            let _guard = runtime.enter();
            let (connection, handle, _) = rtnetlink::new_connection()?;
            runtime.spawn(connection);
            handle
        };
        Ok(Links { runtime, handle })
    }

    /// Looks an interface up by its name.
    pub(super) fn find(&self, name: &str) -> anyhow::Result<Link> {
        let request = self.handle.link().get().match_name(name.to_owned()).execute();
        let found = self.runtime.block_on(request.try_collect::<Vec<_>>());
        let links = found.with_context(|| format!("there is no interface {name}"))?;
        let link = links.first().with_context(|| format!("there is no interface {name}"))?;
        let mac = link.attributes.iter().find_map(|attribute| {
            if let LinkAttribute::Address(octets) = attribute {
                octets.as_slice().try_into().ok()
            } else {
                None
            }
        });
        Ok(Link { index: link.header.index, mac: mac.with_context(|| format!("{name} is no Ethernet"))? })
    }

    /// Says for good which Ethernet address a neighbour has.
    pub(super) fn set_neighbour(&self, link: &Link, neighbour: IpAddr, mac: Mac) -> anyhow::Result<()> {
        let request = self.handle.neighbours().add(link.index, neighbour).link_layer_address(&mac).replace();
        self.runtime
            .block_on(request.execute())
            .with_context(|| format!("cannot make {neighbour} a neighbour"))
    }

    /// The Ethernet address that the kernel knows for a neighbour.
    pub(super) fn neighbour(&self, link: &Link, neighbour: IpAddr) -> anyhow::Result<Option<Mac>> {
        let request = self.handle.neighbours().get().execute();
        let entries = self.runtime.block_on(request.try_collect::<Vec<_>>())?;
        let wanted = match neighbour {
            IpAddr::V4(address) => NeighbourAddress::Inet(address),
            IpAddr::V6(address) => NeighbourAddress::Inet6(address),
        };
        Ok(entries.iter().filter(|entry| entry.header.ifindex == link.index).find_map(|entry| {
            let is_it = entry
                .attributes
                .iter()
                .any(|attribute| matches!(attribute, NeighbourAttribute::Destination(to) if *to == wanted));
            entry.attributes.iter().filter(|_| is_it).find_map(|attribute| {
                if let NeighbourAttribute::LinkLayerAddress(octets) = attribute {
                    octets.as_slice().try_into().ok()
                } else {
                    None
                }
            })
        }))
    }
}

/// How many packets an interface has received: the kernel counts for us, which costs nothing per packet.
pub(super) struct Received {
    table: File,
    prefix: String,
}

impl Received {
    /// Opens the counter of an interface in the network namespace of the calling thread.
    pub(super) fn open(name: &str) -> anyhow::Result<Received> {
        let table = File::open("/proc/thread-self/net/dev").context("/proc/net/dev")?;
        Ok(Received { table, prefix: format!("{name}:") })
    }

    /// Packets so far.
    pub(super) fn count(&mut self) -> anyhow::Result<u64> {
        self.table.rewind()?;
        let mut text = String::new();
        self.table.read_to_string(&mut text)?;
        let line = text.lines().find_map(|line| line.trim_start().strip_prefix(self.prefix.as_str()));
        let packets = line.and_then(|line| line.split_whitespace().nth(1)?.parse().ok());
        packets.with_context(|| format!("{} is gone", self.prefix))
    }
}
