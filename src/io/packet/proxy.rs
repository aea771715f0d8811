//! Answers to who asks a link for an address of ours: ARP (RFC 826) for the pools, Neighbour Discovery
//! (RFC 4861) for the AFTR's addresses.
//!
//! The kernel does not have these addresses, and answers for others' only with settings that would make it
//! answer for more than ours.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use libc::{BPF_ABS, BPF_B, BPF_H, BPF_JEQ, BPF_JMP, BPF_K, BPF_LD, BPF_RET};

use super::filter::Ours;
use super::next_hops::Mac;
use crate::io::sys::packet_socket::{self, Instruction, instruction};
use crate::wire::checksum;
use crate::wire::ipv6::{HEADER, Ipv6, next_header};
use zerocopy::IntoBytes;

/// Octets of an Ethernet header.
const ETHERNET: usize = 14;
/// Octets of an ARP packet of Ethernet and IPv4.
const ARP: usize = 28;
const ARP_REQUEST: u8 = 1;
const ARP_REPLY: u8 = 2;
const SOLICITATION: u8 = 135;
const ADVERTISEMENT: u8 = 136;
/// Flags "router" and "solicited"; an answer that replaces what is known carries "override" besides.
const ROUTER: u8 = 0x80;
const SOLICITED: u8 = 0x40;
const OVERRIDE: u8 = 0x20;
/// ND packets come from the link itself (RFC 4861 section 7.1.1).
const FROM_THE_LINK: u8 = 255;
/// Questions that are answered before others have their turn.
const BURST: usize = 1024;

/// Hears the questions of one interface.
pub struct Proxy {
    arp: OwnedFd,
    nd: OwnedFd,
    ours: Ours,
    /// Questions that were answered.
    pub answered: u64,
}

impl Proxy {
    /// Opens its sockets at `interface`.
    ///
    /// # Errors
    /// `PermissionDenied` without `CAP_NET_RAW`; otherwise as the kernel says.
    pub fn open(interface: u32, ours: Ours) -> io::Result<Proxy> {
        let arp = packet_socket::open()?;
        packet_socket::set_filter(arp.as_fd(), &only(BPF_H, 6, ARP_REQUEST.into()))?;
        packet_socket::bind(arp.as_fd(), interface, libc::ETH_P_ARP as u16)?;
        let nd = packet_socket::open()?;
        packet_socket::set_filter(nd.as_fd(), &only(BPF_B, HEADER as u32, SOLICITATION.into()))?;
        for address in &ours.aftr {
            packet_socket::join_multicast(nd.as_fd(), interface, solicited_node(*address))?;
        }
        packet_socket::bind(nd.as_fd(), interface, libc::ETH_P_IPV6 as u16)?;
        Ok(Proxy { arp, nd, ours, answered: 0 })
    }

    /// What becomes readable when somebody asks.
    #[must_use]
    pub fn descriptors(&self) -> [BorrowedFd<'_>; 2] {
        [self.arp.as_fd(), self.nd.as_fd()]
    }

    /// Changes what is answered for. The AFTR's addresses are those of [`Proxy::open`]: no others are heard of.
    pub fn set_ours(&mut self, ours: Ours) {
        self.ours = ours;
    }

    /// Answers what was asked, with the interface's link-layer address `own`.
    pub fn answer(&mut self, own: Mac) {
        let mut buffer = [0; 256];
        for socket in [&self.arp, &self.nd] {
            for _ in 0..BURST {
                let Ok(length) = rustix::io::read(socket, &mut buffer) else { break };
                let Some(answer) = answer(&buffer[..length], own, &self.ours) else { continue };
                // A lost answer is asked for again.
                self.answered += u64::from(rustix::io::write(socket, &answer).is_ok());
            }
        }
    }
}

/// The answer to a frame, if it asks for an address of ours.
fn answer(frame: &[u8], own: Mac, ours: &Ours) -> Option<Vec<u8>> {
    match u16::from_be_bytes([*frame.get(12)?, *frame.get(13)?]) {
        0x0806 => answer_arp(frame, own, ours),
        0x86dd => answer_solicitation(frame, own, ours),
        _ => None,
    }
}

fn answer_arp(frame: &[u8], own: Mac, ours: &Ours) -> Option<Vec<u8>> {
    let request: &[u8; ARP] = frame.get(ETHERNET..)?.first_chunk()?;
    // Ethernet, IPv4, their lengths, a request.
    if request[..8] != [0, 1, 8, 0, 6, 4, 0, ARP_REQUEST] {
        return None;
    }
    let (asker, wanted) = (&request[8..18], &request[24..28]);
    let wanted = Ipv4Addr::new(wanted[0], wanted[1], wanted[2], wanted[3]);
    // Who announces an address asks for its own.
    let is_announcement = asker[6..] == wanted.octets();
    if is_announcement || !ours.pools.iter().any(|pool| pool.contains(&wanted)) {
        return None;
    }
    let mut reply = [&asker[..6], &own, &[8, 6], &request[..8], &own, &wanted.octets(), asker].concat();
    reply[ETHERNET + 7] = ARP_REPLY;
    Some(reply)
}

fn answer_solicitation(frame: &[u8], own: Mac, ours: &Ours) -> Option<Vec<u8>> {
    let packet = frame.get(ETHERNET..)?;
    let header = Ipv6::view(packet)?;
    let length = usize::from(header.payload_length());
    let message = packet.get(HEADER..HEADER + length)?;
    let is_solicitation = header.next_header() == next_header::ICMPV6
        && header.hop_limit() == FROM_THE_LINK
        && length >= 24
        && message[..2] == [SOLICITATION, 0];
    let (source, destination) = (header.source(), header.destination());
    let pseudo =
        |from, to, length: usize| checksum::pseudo_header_v6(from, to, length as u32, next_header::ICMPV6);
    let sum = pseudo(source, destination, length) + checksum::sum(message);
    if !is_solicitation || checksum::finish(sum) != 0 {
        return None;
    }
    let target = Ipv6Addr::from(*message[8..].first_chunk::<16>()?);
    if !ours.aftr.contains(&target) {
        return None;
    }
    // RFC 4861 section 7.2.4: to all nodes when nobody is known to have asked, which is how an address is
    // tried out (RFC 4862): it is taken.
    let is_trial = source.is_unspecified();
    let to = if is_trial { Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1) } else { source };
    let to_link = if is_trial { [0x33, 0x33, 0, 0, 0, 1] } else { *frame[6..].first_chunk::<6>()? };
    let flags = ROUTER | OVERRIDE | if is_trial { 0 } else { SOLICITED };
    let mut body = [&[ADVERTISEMENT, 0, 0, 0, flags, 0, 0, 0][..], &target.octets(), &[2, 1], &own].concat();
    let sum = checksum::finish(pseudo(target, to, body.len()) + checksum::sum(&body));
    body[2..4].copy_from_slice(&sum.to_be_bytes());
    let header = Ipv6::new(target, to, next_header::ICMPV6, body.len() as u16, FROM_THE_LINK, 0, 0);
    Some([&to_link[..], &own, &[0x86, 0xdd], header.as_bytes(), &body].concat())
}

/// Where solicitations for `address` go (RFC 4291 section 2.7.1, RFC 2464 section 7).
fn solicited_node(address: Ipv6Addr) -> Mac {
    let octets = address.octets();
    [0x33, 0x33, 0xff, octets[13], octets[14], octets[15]]
}

/// A program that takes packets with `value` at a place behind the link-layer header.
fn only(size: u32, at: u32, value: u32) -> [Instruction; 4] {
    [
        instruction(BPF_LD | size | BPF_ABS, libc::SKF_NET_OFF.cast_unsigned().wrapping_add(at), 0, 0),
        instruction(BPF_JMP | BPF_JEQ | BPF_K, value, 0, 1),
        instruction(BPF_RET | BPF_K, u32::MAX, 0, 0),
        instruction(BPF_RET | BPF_K, 0, 0, 0),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWN: Mac = [2, 0, 0, 0, 0, 9];
    const ASKER: Mac = [2, 0, 0, 0, 0, 1];
    const AFTR: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0xaaaa, 0, 0, 0, 0, 1);
    const ROUTER_ADDRESS: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 7);

    fn ours() -> Ours {
        Ours { aftr: vec![AFTR], pools: vec!["198.51.100.0/28".parse().unwrap()], ..Ours::default() }
    }

    fn arp(sender: [u8; 4], wanted: [u8; 4]) -> Vec<u8> {
        let ethernet = [&[0xff; 6][..], &ASKER, &[8, 6]].concat();
        [&ethernet[..], &[0, 1, 8, 0, 6, 4, 0, 1], &ASKER, &sender, &[0; 6], &wanted].concat()
    }

    fn solicitation(source: Ipv6Addr, target: Ipv6Addr, hops: u8) -> Vec<u8> {
        let to = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, 0xff00, 1);
        let mut body = [&[SOLICITATION, 0, 0, 0, 0, 0, 0, 0][..], &target.octets(), &[1, 1], &ASKER].concat();
        let pseudo = checksum::pseudo_header_v6(source, to, body.len() as u32, next_header::ICMPV6);
        let sum = checksum::finish(pseudo + checksum::sum(&body));
        body[2..4].copy_from_slice(&sum.to_be_bytes());
        let header = Ipv6::new(source, to, next_header::ICMPV6, body.len() as u16, hops, 0, 0);
        [&solicited_node(target)[..], &ASKER, &[0x86, 0xdd], header.as_bytes(), &body].concat()
    }

    #[test]
    fn arp_for_a_pool_address_is_answered_and_no_other() {
        let said = answer(&arp([203, 0, 113, 1], [198, 51, 100, 7]), OWN, &ours()).unwrap();
        let expected = [
            &ASKER[..],
            &OWN,
            &[8, 6, 0, 1, 8, 0, 6, 4, 0, 2],
            &OWN,
            &[198, 51, 100, 7],
            &ASKER,
            &[203, 0, 113, 1],
        ];
        assert_eq!(said, expected.concat());
        let silent = |frame: &[u8]| answer(frame, OWN, &ours()).is_none();
        assert!(silent(&arp([203, 0, 113, 1], [198, 51, 100, 16])));
        assert!(silent(&arp([198, 51, 100, 7], [198, 51, 100, 7])), "an announcement");
        let mut reply = arp([203, 0, 113, 1], [198, 51, 100, 7]);
        reply[21] = ARP_REPLY;
        assert!(silent(&reply) && silent(&reply[..41]) && silent(&[]));
    }

    #[test]
    fn a_solicitation_for_the_aftr_is_answered_with_a_right_sum() {
        let said = answer(&solicitation(ROUTER_ADDRESS, AFTR, 255), OWN, &ours()).unwrap();
        assert_eq!((&said[..6], &said[6..12]), (&ASKER[..], &OWN[..]));
        let header = Ipv6::view(&said[14..]).unwrap();
        assert_eq!((header.source(), header.destination(), header.hop_limit()), (AFTR, ROUTER_ADDRESS, 255));
        let body = &said[54..];
        let pseudo = checksum::pseudo_header_v6(AFTR, ROUTER_ADDRESS, body.len() as u32, 58);
        assert_eq!(checksum::finish(pseudo + checksum::sum(body)), 0);
        assert_eq!((body[0], body[4], &body[8..24], &body[26..]), (136, 0xe0, &AFTR.octets()[..], &OWN[..]));
    }

    #[test]
    fn who_tries_the_address_out_hears_that_it_is_taken() {
        let said = answer(&solicitation(Ipv6Addr::UNSPECIFIED, AFTR, 255), OWN, &ours()).unwrap();
        assert_eq!((&said[..6], said[54 + 4]), (&[0x33, 0x33, 0, 0, 0, 1][..], 0xa0));
    }

    #[test]
    fn what_is_forged_or_for_others_meets_silence() {
        let silent = |frame: &[u8]| answer(frame, OWN, &ours()).is_none();
        assert!(silent(&solicitation(ROUTER_ADDRESS, AFTR, 254)), "from beyond the link");
        assert!(silent(&solicitation(ROUTER_ADDRESS, ROUTER_ADDRESS, 255)));
        let mut damaged = solicitation(ROUTER_ADDRESS, AFTR, 255);
        damaged[80] ^= 1;
        assert!(silent(&damaged));
        let whole = solicitation(ROUTER_ADDRESS, AFTR, 255);
        assert!((0..whole.len()).all(|length| silent(&whole[..length])));
    }
}
