//! Section 13: malformed and hostile input, but for fragments and IPv4 options.

use aftr::engine::DropReason;
use aftr::wire::Side;
use pnet_packet::ip::IpNextHeaderProtocol;

use crate::bed::*;
use crate::path_mtu::icmp6;
use crate::reassembly::outer_piece;

/// A packet of A's with its bytes changed; the inner header checksum is made right again.
fn changed(change: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut inner = udp(H, 5000, R1, 80).bytes();
    change(&mut inner);
    if inner.len() >= 20 {
        inner[10..12].fill(0);
        let sum = pnet_packet::util::checksum(&inner[..20], 5);
        inner[10..12].copy_from_slice(&sum.to_be_bytes());
    }
    encapsulate(A, T, 0, 4, &[], &inner)
}

#[test]
fn the_outer_packet() {
    let mut bed = Bed::new();
    let good = encapsulate(A, T, 0, 4, &[], &udp(H, 5000, R1, 80).bytes());
    let with = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = good.clone();
        change(&mut bytes);
        bytes
    };
    let from = |source: &str| encapsulate(source, T, 0, 4, &[], &udp(H, 5000, R1, 80).bytes());
    let cases: Vec<(&str, Vec<u8>, DropReason)> = vec![
        ("M1", good[..39].to_vec(), DropReason::V6Short),
        ("M1", with(&|bytes| bytes[0] = 0x45), DropReason::V6Short),
        ("M2", with(&|bytes| bytes[5] += 1), DropReason::V6Len),
        ("M2", with(&|bytes| bytes[4..6].fill(0)), DropReason::V6Len),
        ("M3", from("::"), DropReason::V6Src),
        ("M3", from("::1"), DropReason::V6Src),
        ("M3", from("ff02::1"), DropReason::V6Src),
        ("M3", from("fe80::1"), DropReason::V6Src),
        ("M3", from("::ffff:10.0.0.1"), DropReason::V6Src),
        ("M3", from(T), DropReason::V6Src),
        ("M4", encapsulate(A, "2001:db8:ff::3", 0, 4, &[], &[0; 40]), DropReason::V6Dst),
        ("M5", from(X), DropReason::V6Acl),
        (
            "M9",
            encapsulate(A, T, 0, 60, &[60, 0, 1, 4, 0, 0, 0, 0].repeat(9), &[0; 20]),
            DropReason::V6ExtensionHeader,
        ),
        ("M9", encapsulate(A, T, 0, 60, &[4, 9, 1, 4, 0, 0, 0, 0], &[]), DropReason::V6ExtensionHeader),
        ("M10", encapsulate(A, T, 0, 59, &[], &[0; 20]), DropReason::V6NextHeader),
    ];
    covers("M1");
    covers("M2");
    covers("M3");
    covers("M4");
    covers("M5");
    covers("M9");
    covers("M10");
    for (id, bytes, reason) in cases {
        println!("{id}");
        bed.send(&bytes, Side::B4).dropped(reason);
    }
    bed.assert_no_state();
    let mut padded = good.clone();
    padded.extend([0; 12]);
    bed.send(&padded, Side::B4).to_internet();
}

#[test]
fn extension_headers_that_are_answered() {
    let mut bed = Bed::new();
    let packet = udp(H, 5000, R1, 80).bytes();
    covers("M6");
    let option = |kind: u8| encapsulate(A, T, 0, 60, &[4, 0, kind, 4, 0, 0, 0, 0], &packet);
    bed.send(&option(0x1e), Side::B4).to_internet();
    bed.send(&option(0x5e), Side::B4).dropped(DropReason::V6Opt);
    assert_eq!(bed.send(&option(0x9e), Side::B4).rejected6(DropReason::V6Opt, 4, 2), 42);
    assert_eq!(bed.send(&option(0xde), Side::B4).rejected6(DropReason::V6Opt, 4, 2), 42);
    covers("M7");
    bed.send(&encapsulate(A, T, 0, 43, &[4, 0, 0, 0, 0, 0, 0, 0], &packet), Side::B4).to_internet();
    covers("M8");
    let attack = encapsulate(
        A,
        T,
        0,
        43,
        &[4, 2, 0, 1, 0, 0, 0, 0].iter().copied().chain([0; 16]).collect::<Vec<_>>(),
        &packet,
    );
    assert_eq!(bed.send(&attack, Side::B4).rejected6(DropReason::V6RoutingHeader, 4, 0), 42);
    covers("M9");
    let late = encapsulate(A, T, 0, 60, &[0, 0, 1, 4, 0, 0, 0, 0, 4, 0, 1, 4, 0, 0, 0, 0], &packet);
    assert_eq!(bed.send(&late, Side::B4).rejected6(DropReason::V6ExtensionHeader, 4, 1), 40);
    covers("M10");
    for next in [41, 50, 51, 135, 139] {
        let mut fresh = Bed::new();
        assert_eq!(
            fresh.send(&encapsulate(A, T, 0, next, &[], &[0; 20]), Side::B4).rejected6(
                DropReason::V6NextHeader,
                4,
                1
            ),
            6
        );
    }
}

#[test]
fn the_inner_header() {
    let mut bed = Bed::new();
    let cases: Vec<(&str, Vec<u8>, DropReason)> = vec![
        ("M15", changed(|inner| inner.truncate(19)), DropReason::InShort),
        ("M15", changed(|inner| inner[0] = 0x65), DropReason::InVersion),
        ("M16", changed(|inner| inner[0] = 0x44), DropReason::InIhl),
        (
            "M16",
            changed(|inner| {
                inner.truncate(24);
                inner[0] = 0x4f;
            }),
            DropReason::InIhl,
        ),
        ("M17", changed(|inner| inner[2..4].copy_from_slice(&19u16.to_be_bytes())), DropReason::InLen),
        ("M17", changed(|inner| inner[2..4].copy_from_slice(&47u16.to_be_bytes())), DropReason::InLen),
        (
            "M18",
            {
                let mut bytes = changed(|_| {});
                bytes[50] ^= 1;
                bytes
            },
            DropReason::InChecksum,
        ),
    ];
    covers("1812-5.2.2");
    covers("M15");
    covers("M16");
    covers("M17");
    covers("M18");
    for (id, bytes, reason) in cases {
        println!("{id}");
        bed.send(&bytes, Side::B4).dropped(reason);
    }
    bed.assert_no_state();
}

#[test]
fn inner_addresses() {
    let mut bed = Bed::new();
    covers("M19");
    for source in [[8, 8, 8, 8], [224, 0, 0, 1], [127, 0, 0, 1], [0, 0, 0, 1], [192, 0, 0, 0], [192, 0, 2, 3]]
    {
        bed.up(A, udp(source.into(), 5000, R1, 80)).dropped(DropReason::InSrc);
    }
    covers("M20");
    for destination in
        [[0, 1, 2, 3], [127, 0, 0, 1], [224, 0, 0, 1], [240, 0, 0, 1], [255, 255, 255, 255], [192, 0, 0, 3]]
    {
        bed.up(A, udp(H, 5000, destination.into(), 80)).dropped(DropReason::InDst);
    }
    covers("M24");
    bed.up(A, udp(H, 5000, H, 5000)).dropped(DropReason::InLand);
    covers("M27");
    for ttl in [0, 1] {
        bed.up(A, udp(H, 5000, R1, 80).ttl(ttl)).rejected(A, DropReason::InTtl, 11, 0);
    }
    bed.assert_no_state();
}

#[test]
fn every_other_protocol_is_refused() {
    covers("OTHER-1");
    covers("M25");
    covers("SCTP-1");
    for number in (0..=255u8).filter(|number| ![1, 6, 17].contains(number)) {
        let mut bed = Bed::new();
        let mut packet = udp(H, 5000, R1, 80);
        packet.protocol = IpNextHeaderProtocol(number);
        let outcome = bed.up(A, packet);
        assert_eq!(
            outcome.verdict,
            aftr::engine::Verdict::Reject(DropReason::InProtocol),
            "protocol {number}"
        );
        assert_eq!(outcome.outer().get_destination().to_string(), A);
        let inner = &outcome.bytes[40..];
        assert_eq!((inner[20], inner[21]), (3, 2));
        bed.assert_no_state();
    }
    let mut bed = Bed::new();
    let mut gre = udp(R1, 80, [192, 0, 2, 3].into(), 9);
    gre.protocol = IpNextHeaderProtocol(47);
    bed.down(gre).dropped(DropReason::X4Protocol);
}

#[test]
fn reserved_and_df_bits_are_carried_along() {
    covers("M28");
    let mut bed = Bed::new();
    let seen = bed.send(&changed(|inner| inner[6] = 0x80), Side::B4).to_internet();
    assert_eq!(seen.bytes[6], 0x80);
}

#[test]
fn the_transport_header() {
    let mut bed = Bed::new();
    let external = bed.open_udp(A, 5000);
    covers("M32");
    let with = |mut packet: Inner, at: usize, value: u8| {
        packet.payload[at] = value;
        packet
    };
    let cut = |mut packet: Inner, length: usize| {
        packet.payload.truncate(length);
        packet
    };
    for packet in [
        with(udp(H, 5000, R1, 80), 5, 7),
        with(udp(H, 5000, R1, 80), 5, 27),
        cut(udp(H, 5000, R1, 80), 7),
        cut(tcp(H, 5000, R1, 80, SYN), 19),
        with(tcp(H, 5000, R1, 80, SYN), 12, 4 << 4),
        with(tcp(H, 5000, R1, 80, SYN), 12, 6 << 4),
    ] {
        bed.up(A, packet).dropped(DropReason::L4Len);
    }
    bed.down(with(udp(R1, 80, *external.ip(), external.port()), 5, 7)).dropped(DropReason::L4Len);
    covers("M36");
    for packet in [udp(H, 5000, R1, 0), tcp(H, 5000, R1, 0, SYN), tcp(H, 0, R1, 80, SYN)] {
        bed.up(A, packet).dropped(DropReason::L4Port0);
    }
    bed.up(A, udp(H, 0, R1, 80)).to_internet();
    covers("M37");
    bed.up(A, cut(echo(H, R1, 8, 1), 7)).dropped(DropReason::L4Len);
    let mut wrong = echo(H, R1, 8, 1);
    wrong.payload[2] ^= 1;
    assert_eq!(bed.up(A, wrong).verdict, aftr::engine::Verdict::ToInternet);
}

#[test]
fn packets_from_the_internet() {
    let mut bed = Bed::new();
    let external = bed.open_udp(A, 5000);
    covers("M40");
    covers("1812-5.3.7");
    for source in [
        [0, 1, 1, 1],
        [127, 0, 0, 1],
        [224, 0, 0, 1],
        [240, 0, 0, 1],
        [255, 255, 255, 255],
        [10, 1, 1, 1],
        [172, 16, 0, 1],
        [192, 168, 1, 1],
        [100, 64, 0, 1],
        [169, 254, 1, 1],
        [192, 0, 0, 9],
        [192, 0, 2, 3],
    ] {
        bed.down(udp(source.into(), 80, *external.ip(), external.port())).dropped(DropReason::X4Src);
    }
    covers("M41");
    bed.down(udp(R1, 80, [198, 51, 100, 8].into(), 80)).dropped(DropReason::X4Dst);
    covers("M42");
    bed.down(udp(R1, 80, [198, 51, 100, 7].into(), 80)).dropped(DropReason::NatNoMapping);
    bed.down(echo(R1, [198, 51, 100, 7].into(), 0, 80)).dropped(DropReason::NatNoMapping);
    let mut tells = Bed::with("", "udp-reject = true", "");
    let refused = tells.down(udp(R1, 80, [198, 51, 100, 7].into(), 80));
    let seen = Seen::read(&refused.bytes);
    assert_eq!((seen.source.octets(), seen.payload[0], seen.payload[1]), ([198, 51, 100, 7], 3, 3));
    covers("M44");
    let good = udp(R1, 80, *external.ip(), external.port()).bytes();
    for (at, value, reason) in [
        (0, 0x65, DropReason::X4Version),
        (0, 0x44, DropReason::X4Ihl),
        (3, 19, DropReason::X4Len),
        (3, 47, DropReason::X4Len),
        (10, good[10] ^ 1, DropReason::X4Checksum),
    ] {
        let mut bytes = good.clone();
        bytes[at] = value;
        if at != 10 {
            bytes[10..12].fill(0);
            let sum = pnet_packet::util::checksum(&bytes[..20], 5);
            bytes[10..12].copy_from_slice(&sum.to_be_bytes());
        }
        bed.send(&bytes, Side::Internet).dropped(reason);
    }
}

/// Configurations that hostile bytes are thrown at: each turns something on that the others have off.
fn hostile_beds() -> Vec<Bed> {
    let pass = "[[nat.nat-pass-through]]\nprefix = \"203.0.113.2/32\"";
    let statics = format!(
        "[[nat.mapping-table]]\nb4-ipv6-address = \"{A}\"\ntransport-protocol = \"tcp\"\ninternal-src-address = \"10.0.0.2\"\n\
         internal-src-port = 80\nexternal-src-address = \"192.0.2.3\"\nexternal-src-port = 8080"
    );
    let deterministic = "[[nat.external-ip-address-pool]]\npool-id = 1\nexternal-ip-pool = [\"192.0.2.0/27\"]\n[nat.deterministic]";
    let small = "[nat.mapping-limits]\nlimit-port-mappings = 20\nlimit-sessions = 10\nlimit-subscribers = 3\nlimit-softwires = 3";
    vec![
        Bed::with("", "", "[softwire.reassembly]\nlimit-per-subscriber = 3\nlimit = 8"),
        Bed::with(
            "df-policy = \"honour\"",
            "external-mtu = 576\nipid-strict = true\nunknown-ip-options = \"drop\"",
            "[nat.fragments]\nlimit-per-subscriber = 2\nlimit = 5",
        ),
        Bed::with("access-mtu = 1280\nencapsulation-limit = true\nflow-label = \"hash\"", "", pass),
        Bed::with(
            "answer-unknown-b4 = true",
            "filtering-type = \"address-dependent\"\npool-echo = true\nudp-reject = true",
            &statics,
        ),
        Bed::with("", "tcp-mid-session = \"rst\"", deterministic),
        Bed::with(
            "max-softwires-per-subscriber = 2",
            "filtering-type = \"address-and-port-dependent\"\nsyn-held-max = 3",
            small,
        ),
    ]
}

/// `HOSTILE_ROUNDS=20000000 cargo test --release --test rfc nothing_panics` goes on for longer.
#[test]
fn whatever_bytes_come_nothing_panics_and_every_packet_is_counted_once() {
    covers("INV-7");
    covers("INV-8");
    covers("M47");
    let rounds =
        std::env::var("HOSTILE_ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(200_000u64);
    let mut state = 0x1234_5678_9abc_def0u64;
    let mut random = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let mut beds = hostile_beds();
    for round in 0..rounds {
        let at = (round % beds.len() as u64) as usize;
        let bed = &mut beds[at];
        let bytes = hostile_packet(bed, &mut random);
        let side = if bytes.first().is_some_and(|first| first >> 4 == 6) == (random() % 50 > 0) {
            Side::B4
        } else {
            Side::Internet
        };
        bed.send(&bytes, side);
        bed.pieces();
        bed.events.clear();
        if round % 64 < 5 {
            bed.advance_millis(random() % [10, 1000, 400_000][(random() % 3) as usize]);
        }
    }
}

/// A fragment of a packet: of few datagrams, so that they meet.
fn a_piece(whole: Inner, random: &mut impl FnMut() -> u64) -> Inner {
    let whole = whole.loose((random() % 4) as u16);
    let start = (random() as usize % whole.payload.len()) & !7;
    let end = start + 8 + ((random() as usize % 16) & !7);
    let end = if random().is_multiple_of(3) { whole.payload.len() } else { end.min(whole.payload.len()) };
    let mut piece = whole.piece(start, end);
    if random().is_multiple_of(20) {
        piece.offset = random() as usize & 0xfff8;
    }
    piece
}

/// A valid packet of some kind, often with a few bits wrong, a checksum made right again, or an end cut off.
fn hostile_packet(bed: &Bed, random: &mut impl FnMut() -> u64) -> Vec<u8> {
    let mapped = bed.aftr.mappings(bed.now).nth((random() % 8) as usize).map(|mapping| mapping.external);
    let external = mapped.unwrap_or_else(|| std::net::SocketAddrV4::new([192, 0, 2, 3].into(), 8080));
    let b4 = [A, A2, B, X][(random() % 4) as usize];
    let remote = [R1, R2, *external.ip()][(random() % 3) as usize];
    let (port, flags) = (5000 + (random() % 4) as u16, (random() % 64) as u8);
    let quoted = udp(*external.ip(), external.port(), remote, 80).bytes();
    let inner = match random() % 6 {
        0 => udp(H, port, remote, external.port()),
        1 => tcp(H, port, remote, external.port(), flags),
        2 => echo(H, remote, [0, 8, 13][(random() % 3) as usize], port),
        3 => icmp(
            H,
            remote,
            [3, 11, 12][(random() % 3) as usize],
            3,
            [0; 4],
            &udp(remote, 80, H, port).bytes(),
        ),
        4 => icmp(remote, *external.ip(), 3, 4, [0; 4], &quoted),
        _ => tcp(remote, 80, *external.ip(), external.port(), flags),
    };
    let mut inner = inner.ttl((random() % 4) as u8 * 30);
    if random().is_multiple_of(4) {
        inner = a_piece(inner, random);
    }
    let mut inner = inner.bytes();
    if random().is_multiple_of(8) {
        inner.resize(inner.len() + (random() % 3000) as usize, 9);
        let length = inner.len() as u16;
        inner[2..4].copy_from_slice(&length.to_be_bytes());
    }
    for _ in 0..random() % 4 {
        let at = random() as usize % inner.len();
        inner[at] ^= 1 << (random() % 8);
    }
    if random().is_multiple_of(2) && inner[0] & 15 >= 5 && inner.len() >= usize::from(inner[0] & 15) * 4 {
        let header = usize::from(inner[0] & 15) * 4;
        inner[10..12].fill(0);
        let sum = pnet_packet::util::checksum(&inner[..header], 5);
        inner[10..12].copy_from_slice(&sum.to_be_bytes());
    }
    let option = [4, 0, random() as u8 & 0xc7, 4, 0, 0, 0, 0];
    let mut bytes = match random() % 6 {
        0 => inner,
        4 => {
            let start = (random() as usize % inner.len()) & !7;
            let end = (start + 8 + ((random() as usize % 64) & !7)).min(inner.len());
            let identification = random() as u32 % 8;
            outer_piece(b4, identification, random() as u8 & 3, start, end < inner.len(), &inner[start..end])
        }
        5 => {
            let quoted = encapsulate(T, b4, 0, 4, &[], &udp(remote, 80, H, port).bytes());
            let (kind, code) = (1 + random() as u8 % 4, random() as u8 % 4);
            icmp6(X, kind, code, [40, 44, 1279, 1280, 1400, 70_000][(random() % 6) as usize], &quoted)
        }
        1 => encapsulate(b4, T, random() as u8, 60, &option, &inner),
        _ => encapsulate(b4, T, random() as u8 & 3, 4, &[], &inner),
    };
    if random().is_multiple_of(10) {
        bytes.truncate(random() as usize % (bytes.len() + 1));
    }
    if random().is_multiple_of(10) && !bytes.is_empty() {
        let at = random() as usize % bytes.len();
        bytes[at] ^= 1 << (random() % 8);
    }
    bytes
}
