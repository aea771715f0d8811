//! What a raw socket gives of TCP packets that the kernel has put together (GRO): one packet of up to 64 KB, in
//! whose checksum there is nothing but the sum of the pseudo-header. It does not say so: by its checksum alone it is
//! known, and cut into packets that the next link takes.

use crate::io::tcp_pieces;
use crate::wire::ipv4::{HEADER, Ipv4, protocol};
use crate::wire::{Packet, checksum};

/// Gives `send` the packets that the inner packet `bytes` stands for, none larger than `mtu`: mostly itself.
/// `packet` is the room for them.
pub(super) fn for_each_packet(bytes: &[u8], mtu: u16, packet: &mut Packet, mut send: impl FnMut(&Packet)) {
    if !is_unfinished(bytes) {
        packet.refill(bytes.len()).copy_from_slice(bytes);
        return send(packet);
    }
    for piece in tcp_pieces(bytes, mtu) {
        packet.refill(piece.len()).copy_from_slice(&piece);
        send(packet);
    }
}

/// A right checksum can be the sum of the pseudo-header by chance; it is then computed again, and is the same.
fn is_unfinished(bytes: &[u8]) -> bool {
    let (Some(ip), Some(field)) = (Ipv4::view(bytes), bytes.get(HEADER + 16..HEADER + 18)) else {
        return false;
    };
    let length = (bytes.len() - HEADER) as u16;
    let pseudo = checksum::pseudo_header_v4(ip.source(), ip.destination(), length, protocol::TCP);
    ip.protocol() == protocol::TCP
        && ip.header_length() == HEADER
        && !ip.is_fragment()
        && *field == (!checksum::finish(pseudo)).to_be_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 3000 octets of payload behind headers of 40.
    fn merged() -> Vec<u8> {
        let mut bytes =
            vec![0x45, 0, 0x0b, 0xe0, 0, 1, 0x40, 0, 64, 6, 0, 0, 203, 0, 113, 1, 192, 168, 1, 10];
        bytes.extend([0, 80, 0, 81, 0, 0, 0, 1, 0, 0, 0, 1, 0x50, 0x18, 1, 0, 0, 0, 0, 0]);
        bytes.extend((0..3000).map(|at| at as u8));
        let ip = checksum::of(&bytes[..HEADER]);
        bytes[10..12].copy_from_slice(&ip.to_be_bytes());
        let (source, destination) = ([203, 0, 113, 1].into(), [192, 168, 1, 10].into());
        let pseudo = checksum::pseudo_header_v4(source, destination, 3020, protocol::TCP);
        bytes[36..38].copy_from_slice(&(!checksum::finish(pseudo)).to_be_bytes());
        bytes
    }

    fn packets(bytes: &[u8]) -> Vec<Vec<u8>> {
        let (mut room, mut packets) = (Packet::with_capacity(1500), Vec::new());
        for_each_packet(bytes, 1500, &mut room, |packet| packets.push(packet.bytes().to_vec()));
        packets
    }

    #[test]
    fn what_was_put_together_is_cut_to_the_mtu_and_gets_its_checksums() {
        let merged = merged();
        let packets = packets(&merged);
        assert_eq!(packets.iter().map(Vec::len).collect::<Vec<_>>(), [1500, 1500, 120]);
        for packet in &packets {
            let ip = Ipv4::view(packet).unwrap();
            let length = (packet.len() - HEADER) as u16;
            let pseudo = checksum::pseudo_header_v4(ip.source(), ip.destination(), length, protocol::TCP);
            assert_eq!(checksum::finish(pseudo + checksum::sum(&packet[HEADER..])), 0);
        }
        let payload: Vec<u8> = packets.iter().flat_map(|packet| packet[40..].to_vec()).collect();
        assert_eq!(payload, merged[40..]);
    }

    #[test]
    fn a_packet_that_is_one_stays_as_it_is() {
        let mut one = merged();
        one[36] ^= 1;
        assert_eq!(packets(&one), [one.clone()]);
        assert_eq!(packets(&one[..30]), [one[..30].to_vec()]);
    }
}
