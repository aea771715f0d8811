//! What becomes of a packet. A drop is a value that counts itself: one enum, one counter per reason,
//! exactly one count per dropped packet.

use super::owners::WorkerNumber;
use crate::wire::Side;

/// What the caller does with the packet's buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It now holds an IPv4 packet: send it to the Internet.
    ToInternet,
    /// It now holds an IPv6 packet: send it to a B4.
    ToB4,
    /// It now holds the AFTR's own answer: send it to the side that it came from.
    Reply,
    /// It now holds a packet that another worker takes the rest of the way.
    ToWorker(WorkerNumber),
    /// The engine keeps what it needs; nothing to send.
    Hold,
    /// Nothing to send.
    Drop(DropReason),
    /// The packet is dropped, and the buffer now holds the error that tells its sender: send it to the
    /// side that it came from.
    Reject(DropReason),
}

impl Verdict {
    /// The side that the buffer leaves to, when it leaves the AFTR, for a packet that came from `side`.
    #[must_use]
    pub fn leaves_to(self, side: Side) -> Option<Side> {
        match self {
            Verdict::ToInternet => Some(Side::Internet),
            Verdict::ToB4 => Some(Side::B4),
            Verdict::Reply | Verdict::Reject(_) => Some(side),
            Verdict::ToWorker(_) | Verdict::Hold | Verdict::Drop(_) => None,
        }
    }

    /// Why it was dropped, when it was.
    #[must_use]
    pub fn drop_reason(self) -> Option<DropReason> {
        match self {
            Verdict::Drop(reason) | Verdict::Reject(reason) => Some(reason),
            Verdict::ToInternet | Verdict::ToB4 | Verdict::Reply | Verdict::ToWorker(_) | Verdict::Hold => {
                None
            }
        }
    }
}

macro_rules! drop_reasons {
    ($($(#[$doc:meta])* $variant:ident = $name:literal,)*) => {
        /// Why a packet was dropped. `docs/counters.md` explains each in an operator's words.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u8)]
        pub enum DropReason { $($(#[$doc])* $variant,)* }

        impl DropReason {
            /// Every reason, in the order that a packet meets them.
            pub const ALL: &'static [DropReason] = &[$(DropReason::$variant,)*];

            /// The counter's name.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(DropReason::$variant => $name,)* }
            }
        }
    };
}

drop_reasons! {
    // The outer IPv6 packet
    /// Shorter than an IPv6 header, or not version 6.
    V6Short = "drop.v6.short",
    /// Payload length 0 or more than there is.
    V6Len = "drop.v6.len",
    /// Not sent to an AFTR address.
    V6Dst = "drop.v6.dst",
    /// A source that cannot be answered: unspecified, loopback, multicast, link-local, IPv4-mapped, our own.
    V6Src = "drop.v6.src",
    /// The source is in no `b4-prefixes`.
    V6Acl = "drop.v6.acl",
    /// An option that says: discard.
    V6Opt = "drop.v6.opt",
    /// A routing header with segments left.
    V6RoutingHeader = "drop.v6.rh",
    /// An extension header chain that cannot be walked.
    V6ExtensionHeader = "drop.v6.exthdr",
    /// A fragment without data, or one that others follow and whose length is no multiple of eight.
    V6FragLen = "drop.v6.frag_len",
    /// A fragment that makes its packet longer than a packet can be.
    V6FragBig = "drop.v6.frag_big",
    /// A first fragment in which the header chain does not end.
    V6FragChain = "drop.v6.frag_chain",
    /// A fragment that overlaps another one of its packet, and all others of this packet.
    V6FragOverlap = "drop.v6.frag_overlap",
    /// More than 64 fragments of one packet.
    V6FragMany = "drop.v6.frag_many",
    /// No room for a fragment, or it had to go for a newer one of the same subscriber.
    V6FragMem = "drop.v6.frag_mem",
    /// A fragment whose packet did not become whole within 60 s.
    V6FragTimeout = "drop.v6.frag_timeout",
    /// The upper layer is not IPv4.
    V6NextHeader = "drop.v6.nh",
    /// An ICMPv6 message that is too short or has a wrong checksum.
    Icmp6Checksum = "drop.icmp6.csum",
    /// An ICMPv6 message that is not for a tunnel end.
    Icmp6Type = "drop.icmp6.type",
    /// An ICMPv6 error about nothing that we sent to a B4.
    Icmp6Quote = "drop.icmp6.quote",
    /// "Packet too big" with an MTU below 1280.
    Icmp6PtbSmall = "drop.icmp6.ptb_small",

    // The inner IPv4 packet
    /// Shorter than an IPv4 header.
    InShort = "drop.in.short",
    /// Not version 4.
    InVersion = "drop.in.ver",
    /// Header length below 20 or past the end.
    InIhl = "drop.in.ihl",
    /// Total length below the header's or more than there is.
    InLen = "drop.in.len",
    /// Header checksum wrong.
    InChecksum = "drop.in.csum",
    /// An IPv4 option that must not cross, or one that cannot be read.
    InOpt = "drop.in.opt",
    /// Inner Not-ECT under an outer Congestion Experienced.
    Ecn = "drop.ecn",
    /// The inner source may not use the translator.
    InSrc = "drop.in.src",
    /// The inner destination cannot be reached by anybody.
    InDst = "drop.in.dst",
    /// Inner source and destination are the same.
    InLand = "drop.in.land",
    /// Sent to an address of our own and not answered.
    Local = "drop.local",
    /// TTL used up.
    InTtl = "drop.in.ttl",
    /// A private destination.
    InNoRoute = "drop.in.noroute",
    /// Larger than the way on takes, and it must not be cut.
    InMtu = "drop.in.mtu",
    /// A protocol other than TCP, UDP and ICMP.
    InProtocol = "drop.in.proto",

    // An IPv4 datagram in pieces, from either side
    /// A piece too short to be honest: empty, no multiple of eight, or with a part of a TCP header.
    V4FragTiny = "drop.v4.frag_tiny",
    /// A piece that makes its datagram longer than a datagram can be.
    V4FragBig = "drop.v4.frag_big",
    /// A piece that overlaps another one of its datagram, and all others of this datagram.
    V4FragOverlap = "drop.v4.frag_overlap",
    /// More than 64 pieces of one datagram.
    V4FragMany = "drop.v4.frag_many",
    /// No room for a piece, or it had to go for a newer one of the same owner.
    V4FragMem = "drop.v4.frag_mem",
    /// A piece whose datagram's first one did not come in time, or has no mapping any more.
    V4FragNoContext = "drop.v4.frag_noctx",

    // The transport layer, from either side
    /// A transport header shorter than it must be, or a length that does not fit.
    L4Len = "drop.l4.len",
    /// Port 0.
    L4Port0 = "drop.l4.port0",
    /// TCP flags that no connection uses.
    TcpFlags = "drop.tcp.flags",
    /// An ICMP type that does not cross a NAT.
    IcmpType = "drop.icmp.type",
    /// An ICMP error whose checksum is wrong.
    IcmpChecksum = "drop.icmp.csum",
    /// An ICMP error whose quotation cannot be used.
    IcmpQuoted = "drop.icmp.quoted",
    /// Refused by `[policy]`.
    Policy = "drop.policy",

    // Softwire and subscriber
    /// The B4 changed its address too soon after the last change.
    B4Flap = "drop.b4.flap",
    /// The subscriber has all its softwires, or the table is full.
    B4Limit = "drop.b4.limit",

    // Mapping and session
    /// TCP from inside that opens nothing and belongs to nothing.
    TcpNoSession = "drop.tcp.nosession",
    /// Too many connections from the Internet wait for an answer.
    TcpInFlood = "drop.tcp.inflood",
    /// The subscriber's quota is used up.
    NatQuota = "drop.nat.quota",
    /// The subscriber creates mappings too fast.
    NatRate = "drop.nat.rate",
    /// No port is free at the subscriber's address.
    NatPool = "drop.nat.pool",
    /// The subscriber needs a port set, and no record of its grant can be kept.
    NatJournal = "drop.nat.journal",
    /// A table is full.
    NatMem = "drop.nat.mem",
    /// Its identification was used less than 120 s ago.
    NatIpId = "drop.nat.ipid",
    /// Another subscriber has the same untranslated session.
    PassClash = "drop.pass.clash",

    // The packet from the Internet
    /// Shorter than an IPv4 header.
    X4Short = "drop.x4.short",
    /// Not version 4.
    X4Version = "drop.x4.ver",
    /// Header length below 20 or past the end.
    X4Ihl = "drop.x4.ihl",
    /// Total length below the header's or more than there is.
    X4Len = "drop.x4.len",
    /// Header checksum wrong.
    X4Checksum = "drop.x4.csum",
    /// An IPv4 option that must not cross, or one that cannot be read.
    X4Opt = "drop.x4.opt",
    /// A source that cannot be: martian, or our own pool.
    X4Src = "drop.x4.src",
    /// A destination that is in no pool.
    X4Dst = "drop.x4.dst",
    /// TTL used up.
    X4Ttl = "drop.x4.ttl",
    /// Larger than the softwire takes, and it must not be cut.
    X4Mtu = "drop.x4.mtu",
    /// A protocol other than TCP, UDP and ICMP.
    X4Protocol = "drop.x4.proto",
    /// No mapping at this external address and port.
    NatNoMapping = "drop.nat.nomap",
    /// The mapping does not let this remote side in.
    NatFilter = "drop.nat.filter",
}

impl DropReason {
    /// Nobody inside asked for it: no mapping, or a filter that does not know the sender.
    pub(super) fn is_unsolicited(self) -> bool {
        matches!(self, DropReason::NatNoMapping | DropReason::NatFilter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique() {
        let mut names: Vec<_> = DropReason::ALL.iter().map(|reason| reason.name()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), DropReason::ALL.len());
    }
}
