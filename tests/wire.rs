//! The header views against an independent reader, on random packets.

use std::net::{Ipv4Addr, Ipv6Addr};

use aftr::wire::checksum::{self, Delta};
use aftr::wire::ipv4::Ipv4;
use aftr::wire::ipv6::Ipv6;
use aftr::wire::tcp::{self, Tcp};
use aftr::wire::udp::Udp;
use aftr::wire::{extension, icmpv6};
use pnet_packet::ipv4::{Ipv4Packet, MutableIpv4Packet};
use pnet_packet::ipv6::Ipv6Packet;
use pnet_packet::tcp::{MutableTcpPacket, TcpOption, TcpPacket};
use pnet_packet::udp::UdpPacket;
use proptest::prelude::*;
use zerocopy::IntoBytes;

proptest! {
    #[test]
    fn an_ipv4_header_reads_as_pnet_reads_it(bytes in proptest::collection::vec(any::<u8>(), 20..80)) {
        let (ours, theirs) = (Ipv4::view(&bytes).expect("20 bytes"), Ipv4Packet::new(&bytes).expect("20 bytes"));
        prop_assert_eq!(ours.version(), theirs.get_version());
        prop_assert_eq!(ours.header_length(), usize::from(theirs.get_header_length()) * 4);
        prop_assert_eq!(ours.tos(), theirs.get_dscp() << 2 | theirs.get_ecn());
        prop_assert_eq!(ours.total_length(), theirs.get_total_length());
        prop_assert_eq!(ours.identification(), theirs.get_identification());
        prop_assert_eq!(ours.dont_fragment(), theirs.get_flags() & 2 != 0);
        prop_assert_eq!(ours.fragment_offset(), u32::from(theirs.get_fragment_offset()) * 8);
        prop_assert_eq!(ours.is_fragment(), theirs.get_flags() & 1 != 0 || theirs.get_fragment_offset() != 0);
        prop_assert_eq!((ours.ttl(), ours.protocol()), (theirs.get_ttl(), theirs.get_next_level_protocol().0));
        prop_assert_eq!((ours.source(), ours.destination()), (theirs.get_source(), theirs.get_destination()));
    }

    #[test]
    fn an_ipv6_header_is_written_and_read_as_pnet_reads_it(
        source in any::<u128>(), destination in any::<u128>(), next in any::<u8>(), length in any::<u16>(),
        hops in any::<u8>(), class in any::<u8>(), label in 0u32..1 << 20,
    ) {
        let (source, destination) = (Ipv6Addr::from(source), Ipv6Addr::from(destination));
        let ours = Ipv6::new(source, destination, next, length, hops, class, label);
        let theirs = Ipv6Packet::new(ours.as_bytes()).expect("40 bytes");
        prop_assert_eq!((theirs.get_version(), theirs.get_traffic_class(), theirs.get_flow_label()), (6, class, label));
        prop_assert_eq!((theirs.get_payload_length(), theirs.get_next_header().0, theirs.get_hop_limit()), (length, next, hops));
        prop_assert_eq!((theirs.get_source(), theirs.get_destination()), (source, destination));
        prop_assert_eq!((ours.traffic_class(), ours.flow_label(), ours.payload_length()), (class, label, length));
    }

    /// RFC 1624: after any edit the header checksum is what a new sum gives.
    #[test]
    fn edits_keep_the_ipv4_header_checksum_right(
        source in any::<u32>(), destination in any::<u32>(), new in any::<u32>(), tos in any::<u8>(), ttl in any::<u8>(),
    ) {
        let mut header = Ipv4::new(17, source.into(), destination.into(), 20, 64, 0);
        header.set_source(new.into());
        header.set_destination(new.rotate_left(7).into());
        header.set_tos(tos);
        header.set_ttl(ttl);
        header.decrement_ttl();
        let packet = Ipv4Packet::new(header.as_bytes()).expect("20 bytes");
        prop_assert_eq!(packet.get_checksum(), pnet_packet::ipv4::checksum(&packet));
    }

    #[test]
    fn the_sum_is_the_sum_of_the_words(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let slow = bytes.chunks(2).fold(0u32, |sum, pair| {
            let sum = sum + u32::from(u16::from_be_bytes([pair[0], *pair.get(1).unwrap_or(&0)]));
            (sum & 0xffff) + (sum >> 16)
        });
        prop_assert_eq!(checksum::finish(checksum::sum(&bytes)), !(slow as u16));
    }

    /// The change of addresses and a port, carried into a UDP checksum, gives what pnet computes anew.
    #[test]
    fn a_translated_udp_checksum_is_what_a_new_sum_gives(
        from in any::<u32>(), to in any::<u32>(), remote in any::<u32>(), port in any::<u16>(), new_port in any::<u16>(),
        payload in proptest::collection::vec(any::<u8>(), 0..64),
    ) {
        let (from, to, remote) = (Ipv4Addr::from(from), Ipv4Addr::from(to), Ipv4Addr::from(remote));
        let mut bytes = [&port.to_be_bytes()[..], &[0, 80], &(8 + payload.len() as u16).to_be_bytes(), &[0, 0], &payload].concat();
        let sum = |bytes: &[u8], source| match pnet_packet::udp::ipv4_checksum(&UdpPacket::new(bytes).expect("udp"), &source, &remote) {
            0 => 0xffff,
            sum => sum,
        };
        let before = sum(&bytes, from);
        bytes[..2].copy_from_slice(&new_port.to_be_bytes());
        let delta = Delta::NONE.address(from, to).word(port, new_port);
        // 0x0000 and 0xffff are the same number: both say zero.
        let (ours, theirs) = (delta.apply_udp(before), sum(&bytes, to));
        prop_assert!(ours == theirs || (ours | theirs == 0xffff && ours & theirs == 0), "{ours:04x} {theirs:04x}");
        prop_assert_eq!(Udp::view(&bytes).expect("udp").source.get(), new_port);
    }

    #[test]
    fn clamping_changes_the_mss_only_and_keeps_the_checksum(mss in any::<u16>(), limit in 536u16..9000, nops in 0usize..4) {
        let mut bytes = vec![0; 32];
        let mut options: Vec<TcpOption> = (0..nops).map(|_| TcpOption::nop()).collect();
        options.push(TcpOption::mss(mss));
        options.push(TcpOption::wscale(7));
        let mut packet = MutableTcpPacket::new(&mut bytes).expect("room");
        packet.set_data_offset(8);
        packet.set_flags(2);
        packet.set_options(&options);
        let (source, destination) = (Ipv4Addr::new(10, 0, 0, 2), Ipv4Addr::new(203, 0, 113, 1));
        let sum = pnet_packet::tcp::ipv4_checksum(&packet.to_immutable(), &source, &destination);
        packet.set_checksum(sum);
        let before = bytes.clone();
        tcp::clamp_mss(&mut bytes, limit);
        let packet = TcpPacket::new(&bytes).expect("tcp");
        prop_assert_eq!(packet.get_checksum(), pnet_packet::tcp::ipv4_checksum(&packet, &source, &destination));
        let at = 20 + nops + 2;
        prop_assert_eq!(u16::from_be_bytes([bytes[at], bytes[at + 1]]), mss.min(limit));
        let others = |bytes: &[u8]| (0..32).filter(|byte| ![16, 17, at, at + 1].contains(byte)).map(|byte| bytes[byte]).collect::<Vec<_>>();
        prop_assert_eq!(others(&before), others(&bytes));
        prop_assert_eq!(Tcp::view(&bytes).expect("tcp").header_length(), 32);
    }

    /// No bytes make a reader read past the end.
    #[test]
    fn any_bytes_are_read_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200), limit in any::<u16>()) {
        let _ = extension::walk(&bytes);
        let mut copy = bytes.clone();
        tcp::clamp_mss(&mut copy, limit);
        let _ = icmpv6::checksum_is_right(&bytes, Ipv6Addr::LOCALHOST, Ipv6Addr::LOCALHOST);
        let _ = aftr::wire::ipv4::payload(&bytes);
    }
}

#[test]
fn a_mutable_view_writes_where_pnet_reads() {
    let mut bytes = [0u8; 20];
    MutableIpv4Packet::new(&mut bytes).expect("20 bytes").set_ttl(9);
    assert_eq!(Ipv4::view(&bytes).expect("20 bytes").ttl(), 9);
}
