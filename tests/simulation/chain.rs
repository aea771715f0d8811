//! Outer packets that hold no IPv4 packet, or have headers in front of it (RFC 8200 section 4, RFC 4443).

use aftr::engine::{DropReason, Verdict};
use aftr::wire::Side;

use crate::bed::{self, R1};
use crate::build;
use crate::judge::{Difference, Judge};
use crate::limits::Purse;
use crate::whole::{Fragment6, Outer6};

/// Destination options with an option that nobody knows: to be told of (10), or to be dropped (01).
const TOLD: [u8; 8] = [4, 0, 0x9e, 4, 0, 0, 0, 0];
const DROPPED: [u8; 8] = [4, 0, 0x5e, 4, 0, 0, 0, 0];
/// A routing header with a segment left.
const ROUTING: [u8; 8] = [4, 0, 0, 1, 0, 0, 0, 0];
/// Six octets of nothing.
const PADDING: [u8; 8] = [0, 0, 1, 4, 0, 0, 0, 0];

impl Judge {
    /// An outer packet of a B4 that goes no further, or a ping of the AFTR.
    pub(crate) fn chain(&mut self, home: u8, what: u8, length: u16) -> Result<(), Difference> {
        let b4 = build::b4_address(home, 0);
        let to = self.model.config.softwire.aftr_ipv6_addr[usize::from(home & 1)];
        let inner = bed::udp(build::host_address(0), 5000, R1, 80).bytes();
        let error = [1, 0, 0, 0, 0, 0, 0, 0, 0x60];
        let packet = |next: u8, headers: &[&[u8]]| build::ipv6(b4, to, 0, next, &headers.concat());
        let (v6_opt, extension) = (DropReason::V6Opt, DropReason::V6ExtensionHeader);
        let (bytes, reason, told) = match what {
            0 => (packet(60, &[&TOLD, &inner]), v6_opt, Some((4, 2, 42))),
            // RFC 4443 section 2.4 e.1: no error is about an error.
            1 => (packet(60, &[&[58], &TOLD[1..], &error]), v6_opt, None),
            2 => (packet(60, &[&DROPPED, &inner]), v6_opt, None),
            3 => (packet(43, &[&ROUTING, &inner]), DropReason::V6RoutingHeader, Some((4, 0, 42))),
            4 => (packet(43, &[&[58], &ROUTING[1..], &error]), DropReason::V6RoutingHeader, None),
            5 => (packet(60, &[&PADDING, &[4], &PADDING[1..], &inner]), extension, Some((4, 1, 40))),
            6 => (packet(17, &[&inner]), DropReason::V6NextHeader, Some((1, 4, 0))),
            7 => (packet(47, &[&inner]), DropReason::V6NextHeader, Some((4, 1, 6))),
            8 => (packet(60, &[&[47], &PADDING[1..], &inner]), DropReason::V6NextHeader, Some((4, 1, 40))),
            9 => (packet(6, &[&inner]), DropReason::V6NextHeader, None),
            10 => (packet(60, &[&TOLD[..6]]), extension, None),
            11 => return self.piece_of_error6(home, length),
            _ => return self.ping6(home, length),
        };
        let mut came = self.offer(&bytes, Side::B4);
        self.told6(&mut came, reason, told, &bytes)?;
        self.nothing_more(&came)
    }

    fn ping6(&mut self, home: u8, length: u16) -> Result<(), Difference> {
        let b4 = build::b4_address(home, 0);
        let to = self.model.config.softwire.aftr_ipv6_addr[usize::from(home & 1)];
        let body: Vec<u8> = (0..length).map(|at| at as u8).collect();
        let request = build::icmpv6(b4, to, [128, 0], 0x0009_0001, &body);
        let mut came = self.offer(&request, Side::B4);
        let purse = Purse::Echoes(self.model.home_of(b4));
        let left = came.verdict == Verdict::Reply;
        self.model.limits.one(&[purse], left, self.model.now)?;
        if !left {
            return self.dropped(&came, DropReason::Local);
        }
        let reply = build::icmpv6(to, b4, [129, 0], 0x0009_0001, &body);
        let softwire = self.model.softwire_at(b4);
        let access = usize::from(self.model.config.softwire.access_mtu);
        let mtu = softwire.map_or(access, |softwire| self.model.path_mtu(softwire));
        self.whole_left_to_b4(&mut came, &reply, b4, mtu, 0)?;
        self.nothing_more(&came)
    }

    /// The first piece of an ICMPv6 error, and no other.
    fn piece_of_error6(&mut self, home: u8, id: u16) -> Result<(), Difference> {
        let b4 = build::b4_address(home, 0);
        let to = self.model.config.softwire.aftr_ipv6_addr[0];
        let data = vec![1, 0, 0, 0, 0, 0, 0, 0];
        let [high, low] = id.to_be_bytes();
        let header = [58, 0, 0, 1, 0x7f, 0, high, low];
        let bytes = build::ipv6(b4, to, 0, 44, &[&header[..], &data].concat());
        let fragment = Some(Fragment6 { id: 0x7f00_0000 | u32::from(id), offset: 0, more: true });
        self.packet_from_b4(&Outer6 { b4, own: 0, class: 0, next: 58, fragment, data, bytes, number: 0 })
    }
}
