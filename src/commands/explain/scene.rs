//! One packet with its circumstances: what came, what left, and what the engine showed of its state before
//! and after.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddrV4};

use super::admission::untranslated_by;
use super::packet::{Ends, icmp_class, inside};
use super::pieces::Whole;
use crate::engine::{
    Config, Counters, DropReason, Event, Instant, MappingView, Protocol, SubscriberView, Team, TtlBy, Verdict,
};
use crate::wire::Side;
use crate::wire::icmpv4::Class;
use crate::wire::ipv4::Ipv4;
use crate::wire::ipv6::Ipv6;

/// What the engine shows of itself at one moment.
#[derive(Debug)]
pub(super) struct State {
    mappings: Vec<MappingView>,
    subscribers: Vec<SubscriberView>,
    counters: Counters,
}

impl State {
    pub(super) fn of(aftr: &Team, now: Instant) -> State {
        State {
            mappings: aftr.mappings(now).collect(),
            subscribers: aftr.subscribers().collect(),
            counters: aftr.counters(),
        }
    }

    /// The mapping that an external end belongs to.
    pub(super) fn mapping_at(&self, protocol: Protocol, external: SocketAddrV4) -> Option<&MappingView> {
        self.mappings.iter().find(|mapping| (mapping.protocol, mapping.external) == (protocol, external))
    }

    /// The mapping of a host behind a B4.
    pub(super) fn mapping_of(
        &self,
        b4: Ipv6Addr,
        protocol: Protocol,
        at: SocketAddrV4,
    ) -> Option<&MappingView> {
        let key = (b4, protocol, at);
        self.mappings.iter().find(|mapping| (mapping.b4, mapping.protocol, mapping.internal) == key)
    }

    /// The subscriber whose prefix has this B4.
    pub(super) fn subscriber_of(&self, b4: Ipv6Addr) -> Option<&SubscriberView> {
        self.subscribers.iter().find(|subscriber| subscriber.prefix.contains(&b4))
    }

    /// Whether the softwire of this B4 is open.
    pub(super) fn has_softwire(&self, b4: Ipv6Addr) -> bool {
        self.subscriber_of(b4).is_some_and(|subscriber| subscriber.softwires.contains(&b4))
    }

    /// Mappings, sessions: of all subscribers.
    pub(super) fn totals(&self) -> (usize, u32) {
        (self.mappings.len(), self.subscribers.iter().map(|subscriber| subscriber.sessions).sum())
    }
}

/// Why a packet that is not dropped goes no further.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Hold {
    /// An outer fragment waits for the others.
    OuterFragment,
    /// A piece of an IPv4 datagram waits for the first one.
    Piece,
    /// A SYN that nobody expected.
    Syn,
    /// The same, at a mapping that does not let it in.
    FilteredSyn,
    /// An ICMPv6 error about a packet of ours: it is for the AFTR itself.
    TunnelError,
}

impl Hold {
    /// What a fragment is dropped for when the others do not come.
    pub(super) fn otherwise(self) -> Option<DropReason> {
        match self {
            Hold::OuterFragment => Some(DropReason::V6FragTimeout),
            Hold::Piece => Some(DropReason::V4FragNoContext),
            Hold::Syn | Hold::FilteredSyn | Hold::TunnelError => None,
        }
    }
}

/// The scene.
pub(super) struct Scene<'a> {
    pub(super) config: &'a Config,
    pub(super) ttl: TtlBy,
    pub(super) side: Side,
    /// As it came.
    pub(super) bytes: &'a [u8],
    /// From a B4: the outer packet that is decapsulated. None when it never was.
    pub(super) whole: Option<Whole>,
    /// Octets of an outer packet that wait with this fragment.
    pub(super) octets_waiting: usize,
    /// Both ends, those of the datagram's first piece when this is a later one.
    pub(super) ends: Option<Ends>,
    pub(super) verdict: Verdict,
    /// What left.
    pub(super) output: Option<&'a (Side, Vec<u8>)>,
    /// What left behind it.
    pub(super) followers: &'a [(Side, Vec<u8>)],
    pub(super) before: State,
    pub(super) after: State,
    pub(super) events: &'a [Event],
}

impl Scene<'_> {
    pub(super) fn outer(&self) -> Option<&Ipv6> {
        (self.side == Side::B4).then(|| Ipv6::view(self.bytes))?
    }

    /// The B4 that it came from.
    pub(super) fn b4(&self) -> Option<Ipv6Addr> {
        self.outer().map(Ipv6::source)
    }

    /// The IPv4 packet as it came.
    pub(super) fn inner(&self) -> Option<&[u8]> {
        match self.side {
            Side::B4 => inside(&self.whole.as_ref()?.packet),
            Side::Internet => Some(self.bytes),
        }
    }

    pub(super) fn inner_header(&self) -> Option<&Ipv4> {
        Ipv4::view(self.inner()?)
    }

    /// The IPv4 packet that leaves, or its front, when one does.
    pub(super) fn leaving(&self) -> Option<&[u8]> {
        match self.output? {
            (Side::Internet, bytes) => Some(bytes),
            (Side::B4, bytes) => inside(bytes),
        }
    }

    /// The same, when the packet that came goes on as it.
    pub(super) fn forwarded(&self) -> Option<&[u8]> {
        matches!(self.verdict, Verdict::ToInternet | Verdict::ToB4).then(|| self.leaving())?
    }

    /// Whether it was an ICMP error.
    pub(super) fn is_icmp_error(&self) -> bool {
        self.inner().and_then(icmp_class) == Some(Class::Error)
    }

    /// Both ends of a packet that has its ports itself, and is no ICMP error.
    pub(super) fn flow(&self) -> Option<Ends> {
        self.ends.filter(|_| !self.is_later_piece())
    }

    /// Both ends of the packet that an ICMP error quotes.
    pub(super) fn quoted(&self) -> Option<Ends> {
        self.inner().and_then(Ends::quoted)
    }

    /// A piece of a datagram that is not the first.
    pub(super) fn is_later_piece(&self) -> bool {
        self.inner_header().is_some_and(|header| header.fragment_offset() != 0)
    }

    /// From a B4: whether its way leads into a softwire, that of another home or, of an answer, its own.
    pub(super) fn turns_around(&self) -> bool {
        let calls = |ends: &Ends| self.in_pool(*ends.destination.ip()) && untranslated_by(self).is_none();
        matches!(self.verdict, Verdict::ToB4 | Verdict::Reply) || self.ends.as_ref().is_some_and(calls)
    }

    /// How much this packet added to a counter.
    pub(super) fn counted(&self, counter: fn(&Counters) -> u64) -> u64 {
        counter(&self.after.counters) - counter(&self.before.counters)
    }

    /// Whether an address is in a pool.
    pub(super) fn in_pool(&self, address: Ipv4Addr) -> bool {
        let pools = &self.config.nat.external_ip_address_pool;
        pools.iter().flat_map(|pool| &pool.external_ip_pool).any(|net| net.contains(&address))
    }

    pub(super) fn reason(&self) -> Option<DropReason> {
        self.verdict.drop_reason()
    }

    /// Why it goes no further although nothing is wrong with it.
    pub(super) fn hold(&self) -> Option<Hold> {
        if self.verdict != Verdict::Hold {
            None
        } else if self.counted(|counters| counters.tunnel_errors) > 0 {
            Some(Hold::TunnelError)
        } else if self.counted(|counters| counters.held) == 0 {
            let is_piece = self.inner_header().is_some_and(Ipv4::is_fragment);
            Some(if is_piece { Hold::Piece } else { Hold::OuterFragment })
        } else {
            let called = self.flow().map(|flow| (flow.protocol, flow.destination));
            let is_mapped =
                called.is_some_and(|(protocol, at)| self.before.mapping_at(protocol, at).is_some());
            Some(if is_mapped { Hold::FilteredSyn } else { Hold::Syn })
        }
    }
}
