//! Why the daemon does not start on this host, and what to do about it.

use std::fmt;
use std::io;
use std::net::IpAddr;

use ipnet::IpNet;

use super::sysctl::Sysctl;

/// One reason, with its cure in the text.
#[derive(Debug)]
pub enum StartError {
    /// `CAP_NET_ADMIN` is missing.
    NoPermission,
    /// There is no `/dev/net/tun`, or no driver behind it.
    NoTun(io::Error),
    /// `/dev/net/tun` is there and may not be opened.
    TunForbidden(io::Error),
    /// Another process has the interface, or it is no tun.
    InterfaceTaken {
        /// `interface`
        interface: String,
        /// What the kernel said.
        error: io::Error,
    },
    /// `CAP_NET_RAW` is missing, for sockets of frames.
    NoRawSockets,
    /// There is no such interface.
    NoInterface(String),
    /// An interface whose frames are not those of Ethernet.
    NotEthernet(String),
    /// An interface takes less than what may have to be sent there.
    InterfaceMtu {
        /// Its name.
        interface: String,
        /// Bytes that it takes.
        has: u32,
        /// What asks for more.
        key: &'static str,
        /// Bytes that may have to be sent.
        needed: u32,
    },
    /// Addresses that must be the AFTR's alone belong to the host.
    LocalAddresses(Vec<(IpAddr, String)>),
    /// The kernel would not forward.
    Sysctls(Vec<Sysctl>),
    /// Something else has a route of the same prefix.
    RouteExists(IpNet),
    /// What was tried and how it ended.
    Refused(String, io::Error),
}

impl std::error::Error for StartError {}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StartError::NoPermission => f.write_str(
                "no permission to make a network interface: CAP_NET_ADMIN is missing\n\
                 \x20 as a service:    systemctl start aftr  (systemd/aftr.service grants it)\n\
                 \x20 by hand:         sudo aftr run --config FILE\n\
                 \x20 in a container:  add --cap-add NET_ADMIN\n\
                 \x20 just to see it:  aftr lab  (needs no permission)",
            ),
            StartError::NoRawSockets => f.write_str(
                "no permission to take packets from interfaces: CAP_NET_RAW is missing\n\
                 \x20 as a service:    systemctl start aftr  (systemd/aftr.service grants it)\n\
                 \x20 by hand:         sudo aftr run --config FILE\n\
                 \x20 in a container:  add --cap-add NET_RAW\n\
                 \x20 just to see it:  aftr lab --device packet  (needs no permission)",
            ),
            StartError::NoInterface(name) => write!(
                f,
                "there is no interface `{name}`\n\
                 \x20 look:  ip link\n\
                 \x20 name another one:  [dataplane] interfaces = {{ b4 = \"…\", internet = \"…\" }}",
            ),
            StartError::NotEthernet(name) => write!(
                f,
                "the interface `{name}` is not of Ethernet, and device = \"packet\" knows no other link\n\
                 \x20 use the tun, which works with every link:  [dataplane] device = \"tun\"",
            ),
            StartError::InterfaceMtu { interface, has, key, needed } => write!(
                f,
                "the interface `{interface}` takes packets of {has} bytes, and {key} is {needed}\n\
                 \x20 raise it:  ip link set {interface} mtu {needed}\n\
                 \x20 or write:  {key} = {has}",
            ),
            StartError::NoTun(error) => write!(
                f,
                "there is no tun device: /dev/net/tun: {error}\n\
                 \x20 on a host:       sudo modprobe tun\n\
                 \x20 in a container:  add --device /dev/net/tun",
            ),
            StartError::TunForbidden(error) => write!(
                f,
                "/dev/net/tun may not be opened: {error}\n\
                 \x20 as a service:    DeviceAllow=/dev/net/tun rw  (as in systemd/aftr.service)\n\
                 \x20 by hand:         sudo aftr run --config FILE\n\
                 \x20 in a container:  add --device /dev/net/tun",
            ),
            StartError::InterfaceTaken { interface, error } => write!(
                f,
                "the interface {interface} cannot be had: {error}\n\
                 \x20 is another aftr running?  ip -details link show {interface}\n\
                 \x20 or choose another name:   [dataplane] interface = \"…\"",
            ),
            StartError::LocalAddresses(taken) => {
                f.write_str(
                    "addresses of the AFTR are assigned to this host, so the kernel keeps their packets",
                )?;
                for (address, owner) in taken {
                    write!(f, "\n  {address} is an address of this host: {owner}")?;
                }
                f.write_str("\n  remove them there, or take them out of the configuration; aftr routes them to itself")
            }
            StartError::Sysctls(sysctls) => {
                f.write_str("this host does not forward packets")?;
                for sysctl in sysctls {
                    write!(f, "\n  {sysctl}")?;
                }
                f.write_str("\n  or let aftr set them: [dataplane] manage-host = true")
            }
            StartError::RouteExists(prefix) => {
                let family = if prefix.addr().is_ipv6() { "-6 " } else { "" };
                write!(
                    f,
                    "this host has a route to {prefix} already, which is the AFTR's\n\
                     \x20 look:    ip {family}route show {prefix}\n\
                     \x20 remove:  ip {family}route del {prefix}",
                )
            }
            StartError::Refused(what, error) => write!(f, "{what}: {error}"),
        }
    }
}
