//! What a B4 decides by looking at the inner packet.

use crate::wire::ipv4::{HEADER, Ipv4};

/// The traffic class of the outer packet: that of the inner one (RFC 2983 section 3.1, RFC 6040 section
/// 4.1); none when this is no IPv4 packet and stays here.
pub(super) fn outer_traffic_class(packet: &[u8]) -> Option<u8> {
    let header = Ipv4::view(packet)?;
    (header.version() == 4 && header.header_length() >= HEADER).then(|| header.tos())
}

/// The inner packet of a received payload: what its total length says, if it can be one.
pub(super) fn inner_packet(payload: &[u8]) -> Option<&[u8]> {
    let header = Ipv4::view(payload)?;
    let is_ipv4 = header.version() == 4 && header.header_length() >= HEADER;
    payload.get(..usize::from(header.total_length())).filter(|packet| is_ipv4 && packet.len() >= HEADER)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::ipv4::protocol;
    use zerocopy::IntoBytes;

    fn packet(tos: u8) -> Vec<u8> {
        let (source, destination) = ([192, 0, 0, 2].into(), [203, 0, 113, 1].into());
        let mut bytes = Ipv4::new(protocol::UDP, source, destination, 28, 64, tos).as_bytes().to_vec();
        bytes.extend([0; 8]);
        bytes
    }

    #[test]
    fn the_class_is_copied_and_anything_but_ipv4_stays_here() {
        assert_eq!(outer_traffic_class(&packet(0xb9)), Some(0xb9));
        assert_eq!(outer_traffic_class(&[0x60; 40]), None);
        assert_eq!(outer_traffic_class(&[0x45; 10]), None);
    }

    #[test]
    fn bytes_behind_the_inner_packet_are_cut_and_a_cut_packet_is_refused() {
        let mut bytes = packet(0);
        bytes.extend([9; 7]);
        assert_eq!(inner_packet(&bytes).map(<[u8]>::len), Some(28));
        assert_eq!(inner_packet(&bytes[..27]), None);
        assert_eq!(inner_packet(&[0x60; 60]), None);
    }
}
