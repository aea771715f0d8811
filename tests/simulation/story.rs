//! What happens: steps as data, so that a failing story can be told, cut down and told again. Every step
//! stands for itself: a piece of a datagram says which datagram it is of.

use std::fmt;

/// Homes, each a /56; hosts behind each; ports of each host; remote hosts.
pub(crate) const HOMES: u8 = 6;
pub(crate) const HOSTS: u8 = 2;
pub(crate) const PORTS: u8 = 12;
pub(crate) const REMOTES: u8 = 3;

/// Which transport.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Kind {
    Tcp,
    Udp,
    Icmp,
}

/// Who sends to whom. `b4` picks one of the home's addresses; `nth` picks among what lives.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Way {
    /// A host to a remote host.
    Up { home: u8, b4: u8, host: u8, port: u8, remote: u8, remote_port: u8 },
    /// A host to the external address of the nth mapping.
    Call { home: u8, b4: u8, host: u8, port: u8, nth: u8 },
    /// A remote host to the nth mapping.
    Down { nth: u8, remote: u8, remote_port: u8 },
    /// A remote host to a pool address where maybe nothing is.
    Blind { address: u8, port: u16 },
}

/// An IPv4 datagram.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Datagram {
    /// Its own.
    pub(crate) number: u32,
    pub(crate) way: Way,
    /// That of the mapping, where it goes to one.
    pub(crate) kind: Kind,
    pub(crate) flags: u8,
    pub(crate) ttl: u8,
    pub(crate) tos: u8,
    /// Octets behind the transport header.
    pub(crate) length: u16,
    /// Reserved 4, DF 2.
    pub(crate) ip_flags: u8,
    pub(crate) id: u16,
    /// Which IPv4 options it has.
    pub(crate) options: u8,
    /// Its transport checksum is wrong.
    pub(crate) is_damaged: bool,
}

/// From and to, in octets; an end beyond the end is the end.
pub(crate) type Part = (u16, u16);

/// How an inner packet enters its softwire.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Outer {
    pub(crate) class: u8,
    /// To the AFTR's second address.
    pub(crate) to_second: bool,
    /// With a Tunnel Encapsulation Limit: in front of the fragment header 1, behind it 2.
    pub(crate) limit: u8,
    /// Only a fragment of it.
    pub(crate) fragment: Option<Fragment>,
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Fragment {
    pub(crate) id: u32,
    pub(crate) part: Part,
    /// With other content than the others of its packet.
    pub(crate) is_forged: bool,
}

/// One thing that happens.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Step {
    /// A datagram is sent, or a piece of it.
    Send { datagram: Datagram, piece: Option<Part>, outer: Outer },
    /// A host sends where no packet may go, or from where none may come.
    UpWrong { home: u8, what: u8 },
    /// A router on the Internet sends an error about a packet of the nth mapping; `wrong` says what is not
    /// right about it.
    ErrorDown { nth: u8, code: u8, wrong: u8 },
    /// A host behind the nth mapping's B4 sends an error about a packet that it got.
    ErrorUp { nth: u8, code: u8, wrong: u8 },
    /// An error about the nth of the packets that left lately: quoted so far, by who got it.
    ErrorAbout { nth: u8, kind: u8, code: u8, quoted: u16 },
    /// A router in the access network about the nth of the packets that left to a B4 lately.
    TunnelError { nth: u8, kind: u8, code: u8, parameter: u32, quoted: u16, forged: u8 },
    /// A B4 sends something else than IPv4, or puts headers in front of it.
    Chain { home: u8, what: u8, length: u16 },
    /// A host pings 192.0.0.1.
    Local { home: u8, length: u16 },
    /// Bytes from somewhere.
    Garbage { seed: u64, from_b4: bool },
    /// A packet that is cut short, or has a bit of its header turned.
    Mangled { datagram: Datagram, outer: Outer, seed: u64 },
    /// The operator clears a home.
    Purge { home: u8 },
    /// Time passes.
    Wait { millis: u32 },
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?}")
    }
}
