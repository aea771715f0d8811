//! Interfaces as the bench needs them: number, Ethernet address, packet counter, neighbours.

use std::fs::File;
use std::io::{self, Read as _, Seek as _};
use std::net::IpAddr;

use anyhow::Context as _;
use futures_util::TryStreamExt as _;
use netlink_packet_route::neighbour::{NeighbourAddress, NeighbourAttribute};

use crate::daemon::Netlink;
use crate::io::packet::Mac;

/// An interface of the network namespace that it was looked up in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Link {
    /// Its number.
    pub(super) index: u32,
    pub(super) mac: Mac,
}

/// A netlink socket of the network namespace of the thread that opened it.
pub(super) struct Links(Netlink);

impl Links {
    /// Opens one.
    pub(super) fn open() -> io::Result<Links> {
        Ok(Links(Netlink::open()?))
    }

    /// Looks an interface up by its name.
    pub(super) fn find(&self, name: &str) -> anyhow::Result<Link> {
        let link = self.0.link(name)?.with_context(|| format!("there is no interface {name}"))?;
        Ok(Link { index: link.number, mac: link.mac.with_context(|| format!("{name} is no Ethernet"))? })
    }

    /// Says for good which Ethernet address a neighbour has.
    pub(super) fn set_neighbour(&self, link: &Link, neighbour: IpAddr, mac: Mac) -> anyhow::Result<()> {
        let index = link.index;
        Ok(self.0.run(
            || format!("make {neighbour} a neighbour"),
            async move |handle| {
                let request = handle.neighbours().add(index, neighbour).link_layer_address(&mac);
                request.replace().execute().await
            },
        )?)
    }

    /// The Ethernet address that the kernel knows for a neighbour.
    pub(super) fn neighbour(&self, link: &Link, neighbour: IpAddr) -> anyhow::Result<Option<Mac>> {
        let entries: Vec<_> = self.0.run(
            || "list the neighbours".into(),
            async |handle| handle.neighbours().get().execute().try_collect().await,
        )?;
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
