//! Interfaces, addresses and routes, as blocking calls.
//!
//! The socket belongs to the network namespace of the thread that opens it. `rtnetlink` is asynchronous:
//! a small runtime of its own drives it, for as long as a call takes.

use std::future::Future;
use std::io;
use std::net::IpAddr;
use std::os::fd::{AsRawFd, BorrowedFd};

use futures_util::TryStreamExt;
use ipnet::IpNet;
use netlink_packet_route::address::{AddressAttribute, AddressFlags, AddressHeaderFlags};
use netlink_packet_route::link::{LinkAttribute, LinkFlags, LinkLayerType, LinkMessage};
use netlink_packet_route::route::{RouteAttribute, RouteMessage, RouteProtocol, RouteType};
use rtnetlink::{Error, Handle, LinkUnspec, LinkVeth, RouteMessageBuilder};
use tokio::runtime::Runtime;

use crate::io::packet::Mac;

/// Routes of ours carry this protocol number, so that a routing daemon can pick them up and an operator
/// tell them from others. It is in the range that the kernel leaves to administrators.
const ROUTE_PROTOCOL: u8 = 186;

/// An interface at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// What it is called.
    pub name: String,
    /// Its number.
    pub number: u32,
    /// Its link-layer address, if it is of Ethernet.
    pub mac: Option<Mac>,
    /// The largest packet that it takes, in bytes.
    pub mtu: u32,
    /// Whether somebody brought it up.
    pub is_up: bool,
}

impl Link {
    fn new(name: &str, message: &LinkMessage) -> Link {
        let header = &message.header;
        let mtu = message
            .attributes
            .iter()
            .find_map(|attribute| if let LinkAttribute::Mtu(mtu) = attribute { Some(*mtu) } else { None });
        Link {
            name: name.to_owned(),
            number: header.index,
            mac: mac_of(message).filter(|_| header.link_layer_type == LinkLayerType::Ether),
            mtu: mtu.unwrap_or_default(),
            is_up: header.flags.contains(LinkFlags::Up),
        }
    }
}

/// A netlink socket.
pub struct Netlink {
    runtime: Runtime,
    handle: Handle,
}

impl Netlink {
    /// Opens a socket in the network namespace of the calling thread.
    ///
    /// # Errors
    /// When the kernel refuses a socket.
    pub fn open() -> io::Result<Netlink> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
        let handle = {
            let _guard = runtime.enter();
            let (connection, handle, _) = rtnetlink::new_connection()?;
            runtime.spawn(connection);
            handle
        };
        Ok(Netlink { runtime, handle })
    }

    /// The number of the interface called `name`.
    ///
    /// # Errors
    /// When there is none.
    pub fn link_index(&self, name: &str) -> io::Result<u32> {
        let links = self.handle.link().get().match_name(name.to_owned()).execute();
        let what = || format!("find interface {name}");
        let link = self.call(what, async { links.try_collect::<Vec<_>>().await })?;
        link.first()
            .map(|link| link.header.index)
            .ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, what()))
    }

    /// An interface; none when there is none of that name.
    ///
    /// # Errors
    /// As the kernel says.
    pub fn link(&self, name: &str) -> io::Result<Option<Link>> {
        let links = self.handle.link().get().execute();
        let links =
            self.call(|| "list the interfaces".into(), async { links.try_collect::<Vec<_>>().await })?;
        let is_called = |message: &&LinkMessage| {
            message
                .attributes
                .iter()
                .any(|attribute| matches!(attribute, LinkAttribute::IfName(it) if it == name))
        };
        Ok(links.iter().find(is_called).map(|message| Link::new(name, message)))
    }

    /// Brings an interface up.
    ///
    /// # Errors
    /// As the kernel says.
    pub fn set_up(&self, name: &str) -> io::Result<()> {
        let link = LinkUnspec::new_with_index(self.link_index(name)?).up().build();
        self.call(|| format!("bring {name} up"), self.handle.link().set(link).execute())
    }

    /// Sets an interface's MTU, in bytes.
    ///
    /// # Errors
    /// As the kernel says.
    pub fn set_mtu(&self, name: &str, mtu: u32) -> io::Result<()> {
        let link = LinkUnspec::new_with_index(self.link_index(name)?).mtu(mtu).build();
        self.call(|| format!("set the MTU of {name} to {mtu}"), self.handle.link().set(link).execute())
    }

    /// Sets how many packets an interface's transmit queue takes: for a tun, those that wait to be read.
    ///
    /// # Errors
    /// As the kernel says.
    pub fn set_queue_length(&self, name: &str, packets: u32) -> io::Result<()> {
        let link = LinkUnspec::new_with_index(self.link_index(name)?)
            .append_extra_attribute(LinkAttribute::TxQueueLen(packets))
            .build();
        let what = || format!("let {packets} packets wait at {name}");
        self.call(what, self.handle.link().set(link).execute())
    }

    /// Makes a pair of interfaces, `peer` in another namespace when one is given.
    ///
    /// # Errors
    /// As the kernel says.
    pub fn add_veth(&self, name: &str, peer: &str, peer_namespace: Option<BorrowedFd<'_>>) -> io::Result<()> {
        let pair = LinkVeth::new(name, peer).build();
        self.call(|| format!("make the pair {name} and {peer}"), self.handle.link().add(pair).execute())?;
        let Some(namespace) = peer_namespace else { return Ok(()) };
        let moved =
            LinkUnspec::new_with_index(self.link_index(peer)?).setns_by_fd(namespace.as_raw_fd()).build();
        self.call(|| format!("move {peer} to its namespace"), self.handle.link().set(moved).execute())
    }

    /// Removes an interface.
    ///
    /// # Errors
    /// As the kernel says.
    pub fn delete_link(&self, name: &str) -> io::Result<()> {
        let index = self.link_index(name)?;
        self.call(|| format!("remove {name}"), self.handle.link().del(index).execute())
    }

    /// Gives an interface an address. An IPv6 address is usable at once, without duplicate address
    /// detection.
    ///
    /// # Errors
    /// As the kernel says.
    pub fn add_address(&self, name: &str, address: IpNet) -> io::Result<()> {
        let index = self.link_index(name)?;
        let mut request = self.handle.address().add(index, address.addr(), address.prefix_len());
        if address.addr().is_ipv6() {
            let message = request.message_mut();
            message.header.flags |= AddressHeaderFlags::Nodad;
            message.attributes.push(AddressAttribute::Flags(AddressFlags::Nodad));
        }
        self.call(|| format!("give {name} the address {address}"), request.execute())
    }

    /// Every address of this namespace, with the interface that has it.
    ///
    /// # Errors
    /// As the kernel says.
    pub fn addresses(&self) -> io::Result<Vec<(IpNet, String)>> {
        let what = || "list the addresses".to_owned();
        let links = self.handle.link().get().execute();
        let links = self.call(what, async { links.try_collect::<Vec<_>>().await })?;
        let name_of = |index: u32| {
            let link = links.iter().find(|link| link.header.index == index)?;
            link.attributes.iter().find_map(|attribute| {
                if let LinkAttribute::IfName(name) = attribute { Some(name.clone()) } else { None }
            })
        };
        let addresses = self.handle.address().get().execute();
        let addresses = self.call(what, async { addresses.try_collect::<Vec<_>>().await })?;
        let entries = addresses.iter().filter_map(|message| {
            // On a point-to-point interface `Address` is the other end's, and ours is `Local`.
            let ours = message.attributes.iter().find_map(|attribute| {
                if let AddressAttribute::Local(address) = attribute { Some(*address) } else { None }
            });
            let address = ours.or_else(|| {
                message.attributes.iter().find_map(|attribute| {
                    if let AddressAttribute::Address(address) = attribute { Some(*address) } else { None }
                })
            })?;
            let net = IpNet::new(address, message.header.prefix_len).ok()?;
            Some((net, name_of(message.header.index).unwrap_or_default()))
        });
        Ok(entries.collect())
    }

    /// Routes a destination to an interface, by a gateway when one is given.
    ///
    /// # Errors
    /// As the kernel says; `AlreadyExists` when the destination has a route.
    pub fn add_route(&self, destination: IpNet, interface: &str, via: Option<IpAddr>) -> io::Result<()> {
        let route = self.route(destination, interface, via)?;
        let what = || format!("route {destination} to {interface}");
        self.call(what, self.handle.route().add(route).execute())
    }

    /// Removes a route.
    ///
    /// # Errors
    /// As the kernel says.
    pub fn delete_route(&self, destination: IpNet, interface: &str) -> io::Result<()> {
        let route = self.route(destination, interface, None)?;
        let what = || format!("remove the route of {destination} to {interface}");
        self.call(what, self.handle.route().del(route).execute())
    }

    /// Lets the kernel throw away, in silence, what it would route to `destination`.
    ///
    /// # Errors
    /// As the kernel says; `AlreadyExists` when the destination has a route.
    pub fn add_blackhole(&self, destination: IpNet) -> io::Result<()> {
        let route = blackhole(destination)?;
        self.call(|| format!("add a blackhole for {destination}"), self.handle.route().add(route).execute())
    }

    /// Removes what [`Netlink::add_blackhole`] added.
    ///
    /// # Errors
    /// As the kernel says.
    pub fn delete_blackhole(&self, destination: IpNet) -> io::Result<()> {
        let route = blackhole(destination)?;
        let what = || format!("remove the blackhole for {destination}");
        self.call(what, self.handle.route().del(route).execute())
    }

    /// Whether `destination` has a route that [`Netlink::add_blackhole`] added.
    ///
    /// # Errors
    /// As the kernel says.
    pub fn has_blackhole(&self, destination: IpNet) -> io::Result<bool> {
        let ours = blackhole(destination)?;
        // Of the family; the kernel refuses a list that is to be of one prefix (EINVAL).
        let mut all = RouteMessage::default();
        all.header.address_family = ours.header.address_family;
        let routes = self.handle.route().get(all).execute();
        let routes =
            self.call(|| "list the routes".into(), async { routes.try_collect::<Vec<_>>().await })?;
        let prefix = |route: &RouteMessage| {
            let destination = route.attributes.iter().find_map(|attribute| {
                if let RouteAttribute::Destination(address) = attribute {
                    Some(address.clone())
                } else {
                    None
                }
            });
            (destination, route.header.destination_prefix_length)
        };
        Ok(routes.iter().any(|route| {
            prefix(route) == prefix(&ours)
                && route.header.kind == RouteType::BlackHole
                && route.header.protocol == ours.header.protocol
        }))
    }

    /// Runs `request` with a handle of the socket.
    pub(crate) fn run<T>(
        &self,
        what: impl Fn() -> String,
        request: impl AsyncFnOnce(Handle) -> Result<T, Error>,
    ) -> io::Result<T> {
        self.call(what, request(self.handle.clone()))
    }

    fn route(&self, destination: IpNet, interface: &str, via: Option<IpAddr>) -> io::Result<RouteMessage> {
        let index = self.link_index(interface)?;
        let builder = RouteMessageBuilder::<IpAddr>::new()
            .destination_prefix(destination.addr(), destination.prefix_len())
            .and_then(|builder| match via {
                Some(gateway) => builder.gateway(gateway),
                None => Ok(builder),
            })
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error.to_string()))?;
        Ok(builder.output_interface(index).protocol(RouteProtocol::from(ROUTE_PROTOCOL)).build())
    }

    fn call<T>(
        &self,
        what: impl Fn() -> String,
        request: impl Future<Output = Result<T, Error>>,
    ) -> io::Result<T> {
        self.runtime.block_on(request).map_err(|error| {
            let cause = if let Error::NetlinkError(message) = &error {
                message.to_io()
            } else {
                io::Error::other(error.to_string())
            };
            io::Error::new(cause.kind(), format!("cannot {}: {cause}", what()))
        })
    }
}

/// A link-layer address of six octets.
pub(super) fn mac_of(message: &LinkMessage) -> Option<Mac> {
    message.attributes.iter().find_map(|attribute| {
        if let LinkAttribute::Address(octets) = attribute { octets.as_slice().try_into().ok() } else { None }
    })
}

fn blackhole(destination: IpNet) -> io::Result<RouteMessage> {
    let route = RouteMessageBuilder::<IpAddr>::new()
        .destination_prefix(destination.addr(), destination.prefix_len())
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error.to_string()))?;
    Ok(route.kind(RouteType::BlackHole).protocol(RouteProtocol::from(ROUTE_PROTOCOL)).build())
}
