//! Routes, neighbours and link-layer addresses, as the kernel says them by netlink.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use futures_util::TryStreamExt;
use ipnet::IpNet;
use netlink_packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourFlags, NeighbourMessage, NeighbourState,
};
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteNextHop, RouteNextHopFlags, RouteType,
    RouteVia,
};
use rtnetlink::{Error, Handle, RouteMessageBuilder};

use super::netlink::mac_of;
use crate::io::packet::{Mac, Neighbour, NextHops, Routes, Via, Ways};

/// What was read of the kernel's tables, for the interfaces that matter.
#[derive(Debug, Default)]
pub(super) struct Tables {
    pub(super) routes: Arc<Routes>,
    pub(super) neighbours: BTreeMap<Neighbour, KnownNeighbour>,
    pub(super) own: BTreeMap<u32, Mac>,
    /// How often neighbours that are used were asked for.
    pub(super) round: u64,
}

/// An entry of the kernel's neighbour table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct KnownNeighbour {
    pub(super) mac: Mac,
    /// Somebody wrote it there; it is not to be asked for.
    pub(super) is_permanent: bool,
}

impl Tables {
    /// Reads all of them.
    pub(super) async fn read(handle: &Handle, interfaces: &[u32]) -> Result<Tables, Error> {
        let mut tables = Tables::default();
        tables.read_links(handle, interfaces).await?;
        tables.read_routes(handle, interfaces).await?;
        tables.read_neighbours(handle, interfaces).await?;
        Ok(tables)
    }

    pub(super) async fn read_links(&mut self, handle: &Handle, interfaces: &[u32]) -> Result<(), Error> {
        let links: Vec<_> = handle.link().get().execute().try_collect().await?;
        let ours = links.iter().filter(|link| interfaces.contains(&link.header.index));
        self.own = ours.filter_map(|link| Some((link.header.index, mac_of(link)?))).collect();
        Ok(())
    }

    pub(super) async fn read_routes(&mut self, handle: &Handle, interfaces: &[u32]) -> Result<(), Error> {
        let v4 = RouteMessageBuilder::<std::net::Ipv4Addr>::new().build();
        let v6 = RouteMessageBuilder::<std::net::Ipv6Addr>::new().build();
        let mut messages: Vec<RouteMessage> = handle.route().get(v4).execute().try_collect().await?;
        messages.extend(handle.route().get(v6).execute().try_collect::<Vec<_>>().await?);
        let mut routes: Vec<(u32, IpNet, Ways)> =
            messages.iter().filter_map(|message| route(message, interfaces)).collect();
        // The lowest metric comes first, and wins.
        routes.sort_by_key(|&(metric, _, _)| metric);
        let routes: Vec<_> = routes.into_iter().map(|(_, prefix, ways)| (prefix, ways)).collect();
        self.routes = Arc::new(Routes::new(&routes));
        Ok(())
    }

    pub(super) async fn read_neighbours(&mut self, handle: &Handle, interfaces: &[u32]) -> Result<(), Error> {
        let messages: Vec<_> = handle.neighbours().get().execute().try_collect().await?;
        self.neighbours = messages.iter().filter_map(|message| neighbour(message, interfaces)).collect();
        Ok(())
    }

    /// What the workers need of it; nobody was used yet.
    pub(super) fn next_hops(&self) -> NextHops {
        let neighbours =
            self.neighbours.iter().map(|(&whom, known)| (whom, (known.mac, AtomicBool::new(false))));
        NextHops {
            routes: Arc::clone(&self.routes),
            neighbours: neighbours.collect(),
            own: self.own.clone(),
            round: self.round,
        }
    }
}

/// Makes the kernel ask who has an address, if it does not know or was told long ago: it does so when it uses
/// an entry of its table, and we say that we do.
pub(super) async fn ask_for(handle: &Handle, (interface, address): Neighbour) -> Result<(), Error> {
    handle
        .neighbours()
        .add(interface, address)
        .replace()
        .state(NeighbourState::None)
        .flags(NeighbourFlags::Use)
        .execute()
        .await
}

/// Metric, prefix and ways of a route of the main table. Ways over other interfaces are kept as none: what
/// goes there does not go through us.
fn route(message: &RouteMessage, interfaces: &[u32]) -> Option<(u32, IpNet, Ways)> {
    let (mut table, mut metric) = (u32::from(message.header.table), 0);
    let (mut destination, mut interface, mut gateway) = (None, None, None);
    let mut several = &[][..];
    for attribute in &message.attributes {
        #[expect(clippy::wildcard_enum_match_arm, reason = "most attributes do not matter here")]
        match attribute {
            RouteAttribute::Table(number) => table = *number,
            RouteAttribute::Priority(number) => metric = *number,
            RouteAttribute::Destination(address) => destination = ip(address),
            RouteAttribute::Oif(number) => interface = Some(*number),
            RouteAttribute::MultiPath(ways) => several = ways,
            other => gateway = gateway.or_else(|| gateway_of(other)),
        }
    }
    let is_ipv4 = message.header.address_family == netlink_packet_route::AddressFamily::Inet;
    let any = if is_ipv4 { IpAddr::from([0; 4]) } else { IpAddr::from([0; 16]) };
    let prefix = IpNet::new(destination.unwrap_or(any), message.header.destination_prefix_length).ok()?;
    if table != u32::from(RouteHeader::RT_TABLE_MAIN) {
        return None;
    }
    let single = interface.map(|interface| Via { interface, gateway });
    let mut ways: Ways = single.into_iter().chain(several.iter().filter_map(way)).collect();
    // Others throw packets away, or lead where we cannot send.
    let is_unicast = message.header.kind == RouteType::Unicast;
    ways.retain(|via| is_unicast && interfaces.contains(&via.interface));
    Some((metric, prefix, ways))
}

fn way(hop: &RouteNextHop) -> Option<Via> {
    let is_alive = !hop.flags.intersects(RouteNextHopFlags::Dead | RouteNextHopFlags::Linkdown);
    let gateway = hop.attributes.iter().find_map(gateway_of);
    is_alive.then_some(Via { interface: hop.interface_index, gateway })
}

fn gateway_of(attribute: &RouteAttribute) -> Option<IpAddr> {
    #[expect(clippy::wildcard_enum_match_arm, reason = "these two name a gateway")]
    match attribute {
        RouteAttribute::Gateway(address) => ip(address),
        RouteAttribute::Via(RouteVia::Inet(address)) => Some(IpAddr::V4(*address)),
        RouteAttribute::Via(RouteVia::Inet6(address)) => Some(IpAddr::V6(*address)),
        _ => None,
    }
}

fn ip(address: &RouteAddress) -> Option<IpAddr> {
    #[expect(clippy::wildcard_enum_match_arm, reason = "the rest are no addresses of IP")]
    match address {
        RouteAddress::Inet(address) => Some(IpAddr::V4(*address)),
        RouteAddress::Inet6(address) => Some(IpAddr::V6(*address)),
        _ => None,
    }
}

fn neighbour(message: &NeighbourMessage, interfaces: &[u32]) -> Option<(Neighbour, KnownNeighbour)> {
    let interface = message.header.ifindex;
    let is_permanent = matches!(message.header.state, NeighbourState::Permanent | NeighbourState::Noarp);
    let is_known = is_permanent
        || matches!(
            message.header.state,
            NeighbourState::Reachable | NeighbourState::Stale | NeighbourState::Delay | NeighbourState::Probe
        );
    if !is_known || !interfaces.contains(&interface) {
        return None;
    }
    let (mut address, mut known) = (None, None);
    for attribute in &message.attributes {
        #[expect(clippy::wildcard_enum_match_arm, reason = "most attributes do not matter here")]
        match attribute {
            NeighbourAttribute::Destination(NeighbourAddress::Inet(it)) => address = Some(IpAddr::V4(*it)),
            NeighbourAttribute::Destination(NeighbourAddress::Inet6(it)) => address = Some(IpAddr::V6(*it)),
            NeighbourAttribute::LinkLayerAddress(octets) => known = octets.as_slice().try_into().ok(),
            _ => {}
        }
    }
    Some(((interface, address?), KnownNeighbour { mac: known?, is_permanent }))
}
