//! Every reader and writer of `aftr::wire` on any bytes. They are small enough that each has an oracle:
//! the slow way to compute the same.

use std::net::{Ipv4Addr, Ipv6Addr};

use aftr::wire::checksum::{self, Delta};
use aftr::wire::extension::{self, ChainFault};
use aftr::wire::fragment::{self, Fragment};
use aftr::wire::icmpv4::{self, Icmpv4};
use aftr::wire::ipv4::{self, Ipv4};
use aftr::wire::ipv6::{self, Ipv6, next_header};
use aftr::wire::tcp::{self, Tcp};
use aftr::wire::udp::{self, Udp};
use aftr::wire::{HEAD_ROOM, Packet, Side, icmpv6};
use zerocopy::IntoBytes;

/// A packet, and behind it the four numbers that the edits are made with.
pub fn wire(data: &[u8]) {
    let Some((packet, numbers)) = data.split_last_chunk::<8>() else { return };
    let number = |at: usize| u16::from_be_bytes([numbers[at], numbers[at + 1]]);
    let [at, new, limit, cut] = [number(0), number(2), number(4), number(6)];
    buffer(packet, usize::from(cut));
    sums(packet, usize::from(cut));
    updates(packet, usize::from(at), new, cut);
    the_outer_packet(packet);
    for bytes in suffixes(packet) {
        ipv4_header(bytes, new, limit);
        icmp_v6(bytes, usize::from(at));
        clamping(bytes, limit);
        ipv4_options(bytes);
        others(bytes);
    }
}

/// The packet itself, what is behind an IPv6 chain, and what is behind the IPv4 header there.
fn suffixes(packet: &[u8]) -> Vec<&[u8]> {
    let mut found = vec![packet];
    let mut inner = packet;
    if let Ok(upper) = extension::walk(packet) {
        inner = &packet[upper.offset..];
        found.push(inner);
        if upper.next_header == next_header::FRAGMENT && inner.len() >= fragment::HEADER {
            inner = &inner[fragment::HEADER..];
            found.push(inner);
        }
    }
    let payload = ipv4::payload(inner);
    assert!(inner.ends_with(payload));
    if let Some(header) = Ipv4::view(inner) {
        assert_eq!(payload.len(), inner.len().saturating_sub(header.header_length()));
        found.push(payload);
    }
    found
}

/// Headers come off and on again without a byte changing.
fn buffer(bytes: &[u8], cut: usize) {
    let mut packet = Packet::copied_from(bytes, Side::Internet);
    assert_eq!((packet.bytes(), packet.len(), packet.is_empty()), (bytes, bytes.len(), bytes.is_empty()));
    let count = cut.min(bytes.len());
    packet.strip_front(count);
    assert_eq!(packet.bytes(), &bytes[count..]);
    packet.push_front(count);
    assert_eq!(packet.bytes(), bytes);
    assert!(packet.push_front(HEAD_ROOM).ends_with(bytes));
    packet.strip_front(HEAD_ROOM);
    packet.truncate(cut);
    assert_eq!(packet.bytes(), &bytes[..count]);
    assert_eq!(packet.refill(cut).len(), cut);
    packet.bytes_mut().fill(7);
    assert!(packet.len() == cut && packet.push_front(HEAD_ROOM).len() == cut + HEAD_ROOM);
}

/// RFC 1071 word by word.
fn slow_sum(bytes: &[u8]) -> u16 {
    let words =
        bytes.chunks(2).map(|pair| u32::from(pair[0]) << 8 | pair.get(1).map_or(0, |&low| low.into()));
    words.fold(0, |sum, word| (sum + word) % 0x1_0000 + (sum + word) / 0x1_0000) as u16
}

/// One's complement has two zeros.
fn same(a: u16, b: u16) -> bool {
    a % 0xffff == b % 0xffff
}

fn sums(bytes: &[u8], cut: usize) {
    assert_eq!(checksum::of(bytes), !slow_sum(bytes));
    let (front, back) = bytes.split_at((cut & !1).min(bytes.len() & !1));
    assert_eq!(checksum::finish(checksum::sum(front) + checksum::sum(back)), !slow_sum(bytes));
    if let Some((addresses, rest)) = bytes.split_first_chunk::<8>() {
        let [a, b, c, d, e, f, g, h] = *addresses;
        let (source, destination) = (Ipv4Addr::new(a, b, c, d), Ipv4Addr::new(e, f, g, h));
        let pseudo = checksum::pseudo_header_v4(source, destination, rest.len() as u16, b);
        let [high, low] = (rest.len() as u16).to_be_bytes();
        let whole = [&addresses[..], &[0, b, high, low], rest].concat();
        assert_eq!(checksum::finish(pseudo + checksum::sum(rest)), !slow_sum(&whole));
    }
}

/// RFC 1624: an update is what a new sum gives; all bytes zero is the only sum that is 0 and not 0xffff.
fn updates(bytes: &[u8], at: usize, new: u16, other: u16) {
    let mut bytes = bytes.to_vec();
    let Some(pairs) = (bytes.len() / 2).checked_sub(1) else { return };
    let (first, second) = (at % (pairs + 1) * 2, usize::from(other) % (pairs + 1) * 2);
    let before = checksum::of(&bytes);
    let mut change = |at: usize, new: u16| {
        let old = u16::from_be_bytes([bytes[at], bytes[at + 1]]);
        bytes[at..at + 2].copy_from_slice(&new.to_be_bytes());
        Delta::NONE.word(old, new)
    };
    let delta = change(first, new).and(change(second, !new.rotate_left(3)));
    let (updated, anew) = (delta.apply(before), checksum::of(&bytes));
    assert!(updated == anew || bytes.iter().all(|&byte| byte == 0) && same(updated, anew));
    assert_eq!(delta.apply_udp(0), 0);
    if before != 0 {
        assert!(delta.apply_udp(before) != 0 && same(delta.apply_udp(before), updated));
    }
}

fn the_outer_packet(packet: &[u8]) {
    let Some(header) = Ipv6::view(packet) else {
        assert!(packet.len() < ipv6::HEADER);
        assert_eq!(extension::walk(packet), Err(ChainFault::CutShort));
        return;
    };
    let written = Ipv6::new(
        header.source(),
        header.destination(),
        header.next_header(),
        header.payload_length(),
        header.hop_limit(),
        header.traffic_class(),
        header.flow_label(),
    );
    assert_eq!(header.version(), packet[0] >> 4);
    assert_eq!(written.as_bytes()[0], 0x60 | packet[0] & 15);
    assert_eq!(&written.as_bytes()[1..], &packet[1..ipv6::HEADER]);
    let moved = written.with_payload(!header.next_header(), !header.payload_length());
    assert_eq!((moved.next_header(), moved.payload_length()), (!packet[6], !header.payload_length()));
    assert_eq!(&moved.as_bytes()[7..], &packet[7..ipv6::HEADER]);
    let marked = header.with_traffic_class(!header.traffic_class());
    assert_eq!((marked.traffic_class(), marked.version()), (!header.traffic_class(), header.version()));
    assert_eq!(marked.with_traffic_class(header.traffic_class()).as_bytes(), &packet[..ipv6::HEADER]);
    let found = extension::upper_layer(packet);
    assert!(found.is_none_or(|(next, at)| ![0, 43, 44, 60].contains(&next) && at >= ipv6::HEADER));
    match extension::walk(packet) {
        Ok(upper) => {
            assert_eq!(packet[upper.named_at], upper.next_header);
            assert!(upper.named_at < upper.offset && upper.offset <= packet.len());
            assert!(![0, 43, 60].contains(&upper.next_header), "stopped at an extension header");
            // What is behind the chain does not matter to it.
            assert_eq!(extension::walk(&packet[..upper.offset]), Ok(upper));
            assert_eq!(extension::walk_from(packet, upper), Ok(upper));
            assert!(upper.next_header == 44 || found == Some((upper.next_header, upper.offset)), "{found:?}");
        }
        Err(ChainFault::OptionReport(at)) => assert!(at > ipv6::HEADER && packet[at] >= 0x80),
        Err(ChainFault::Routing(at)) => assert!(at >= ipv6::HEADER + 2 && packet[at + 1] > 0),
        Err(ChainFault::MisplacedHopByHop(at)) => assert!(at >= ipv6::HEADER && packet[at] == 0),
        Err(ChainFault::Unwalkable | ChainFault::CutShort | ChainFault::OptionDiscard) => {}
    }
}

/// Whatever the header says, and however wrong its checksum is: edits change it by what they change.
fn ipv4_header(bytes: &[u8], new: u16, other: u16) {
    let mut bytes = bytes.to_vec();
    let Some(header) = Ipv4::view(&bytes) else {
        assert!(bytes.len() < ipv4::HEADER);
        return;
    };
    assert_eq!((header.version(), header.header_length()), (bytes[0] >> 4, usize::from(bytes[0] & 15) * 4));
    assert_eq!(header.is_fragment(), header.fragment_offset() > 0 || bytes[6] & 0x20 != 0);
    assert!(bytes[0] == 0 || header.is_sound() == (slow_sum(&bytes[..ipv4::HEADER]) == 0xffff));
    let before = slow_sum(&bytes);
    let (old_ttl, length) = (header.ttl(), header.total_length());
    let Some(header) = Ipv4::view_mut(&mut bytes) else { return };
    let [a, b] = new.to_be_bytes();
    let [c, d] = other.to_be_bytes();
    let (source, destination) = (Ipv4Addr::new(a, b, c, d), Ipv4Addr::new(c, a, d, b));
    header.decrement_ttl();
    assert_eq!(header.ttl(), old_ttl.saturating_sub(1));
    header.set_tos(a);
    header.set_ttl(b);
    let delta = header.set_source(source).and(header.set_destination(destination));
    assert_eq!((header.source(), header.destination()), (source, destination));
    assert_eq!((header.tos(), header.ttl(), header.total_length()), (a, b, length));
    header.set_identification(other);
    header.set_fragment(usize::from(new) * 8 % 65536, d & 1 != 0);
    assert_eq!((header.identification(), header.more_fragments()), (other, d & 1 != 0));
    assert_eq!(header.fragment_offset(), u32::from(new) * 8 % 65536);
    header.set_total_length(new);
    assert_eq!(header.total_length(), new);
    let header = *header;
    assert!(same(slow_sum(&bytes), before), "the checksum moved");
    // Back again: what the deltas say is undone.
    let back = Delta::NONE.address(source, header.source()).and(delta);
    assert!(same(back.apply(header.checksum()), delta.apply(header.checksum())));
    let fresh = Ipv4::new(header.protocol(), source, destination, length, b, a);
    assert!(fresh.dont_fragment() && !fresh.is_fragment() && fresh.identification() == 0);
    assert_eq!(checksum::of(fresh.as_bytes()), 0);
    assert!(fresh.is_sound());
    let mut hop = fresh;
    hop.decrement_ttl();
    assert!(hop.is_sound());
    hop.as_mut_bytes()[usize::from(new) % ipv4::HEADER] ^= 1 << (other % 8);
    assert!(!hop.is_sound());
}

/// A right checksum is seen as right, and any one bit makes it wrong.
fn icmp_v6(bytes: &[u8], bit: usize) {
    let mut message = bytes.to_vec();
    let (source, destination) = (Ipv6Addr::from(bit as u128 * 0x1_0001_0001), Ipv6Addr::LOCALHOST);
    let _ = icmpv6::checksum_is_right(&message, source, destination);
    if message.len() < icmpv6::HEADER {
        return;
    }
    icmpv6::write_checksum(&mut message, source, destination);
    assert!(icmpv6::checksum_is_right(&message, source, destination));
    let at = bit % (message.len() * 8);
    message[at / 8] ^= 1 << (at % 8);
    assert!(!icmpv6::checksum_is_right(&message, source, destination));
}

/// At most the MSS and the checksum change, and a right checksum stays right.
fn clamping(bytes: &[u8], limit: u16) {
    let mut segment = bytes.to_vec();
    tcp::clamp_mss(&mut segment, limit);
    assert_eq!(segment.len(), bytes.len());
    let Some(header) = Tcp::view(bytes) else {
        assert!(bytes.len() < tcp::HEADER && segment == bytes);
        return;
    };
    let end = header.header_length();
    assert_eq!(end, usize::from(bytes[12] >> 4) * 4);
    if segment == bytes {
        return;
    }
    assert!(same(slow_sum(&segment), slow_sum(bytes)), "the checksum moved");
    let changed: Vec<usize> = (0..bytes.len()).filter(|&at| segment[at] != bytes[at]).collect();
    let options: Vec<usize> = changed.iter().copied().filter(|at| ![16, 17].contains(at)).collect();
    let (first, last) = (options[0], options[options.len() - 1]);
    assert!(first > tcp::HEADER + 1 && last < end && last - first < 2, "changed {changed:?}");
    let value = |segment: &[u8], at: usize| u16::from_be_bytes([segment[at], segment[at + 1]]);
    // The field starts at the first changed byte or one before it.
    let lowered = [first, first - 1]
        .into_iter()
        .any(|at| bytes[at - 2..at] == [2, 4] && value(bytes, at) > limit && value(&segment, at) == limit);
    assert!(lowered, "not an MSS option that was lowered to {limit}");
    let once = segment.clone();
    tcp::clamp_mss(&mut segment, limit);
    assert_eq!(segment, once);
}

/// Options are a part of the header, one behind the other; what cannot be read is the last.
fn ipv4_options(bytes: &[u8]) {
    let mut at = ipv4::HEADER;
    let mut is_over = false;
    for option in ipv4::options(bytes) {
        assert!(!is_over, "something behind what cannot be read");
        match option {
            Some((kind, option)) => {
                assert_eq!(bytes[at..at + option.len()], *option);
                assert_eq!(kind, option[0]);
                at += option.len();
            }
            None => is_over = true,
        }
    }
    assert!(is_over || at >= bytes.len() || bytes[at] == ipv4::option::END);
    let mut header = bytes[..bytes.len().min(60) & !3].to_vec();
    if header.len() >= ipv4::HEADER {
        ipv4::complete_header(&mut header);
        assert_eq!(
            (checksum::of(&header), Ipv4::view(&header).map(Ipv4::header_length)),
            (0, Some(header.len()))
        );
    }
}

fn others(bytes: &[u8]) {
    assert_eq!(Udp::view(bytes).is_some(), bytes.len() >= udp::HEADER);
    assert_eq!(
        Icmpv4::view(bytes).map(|header| header.kind),
        bytes.first().filter(|_| bytes.len() >= icmpv4::HEADER).copied()
    );
    let _ = Icmpv4::view(bytes).map(Icmpv4::class);
    let Some(piece) = Fragment::view(bytes) else {
        assert!(bytes.len() < fragment::HEADER);
        return;
    };
    assert!(piece.offset() % 8 == 0 && piece.offset() <= 65528);
    let written =
        Fragment::new(piece.next_header, piece.offset() as u16, piece.more(), piece.identification.get());
    let mut expected = bytes[..fragment::HEADER].to_vec();
    // Both reserved fields are sent as zero (RFC 8200 section 4.5).
    expected[1] = 0;
    expected[3] &= !6;
    assert_eq!(written.as_bytes(), expected);
}
