//! Two workers: what crosses from one to the other, and what is each one's own.

use std::net::{Ipv4Addr, SocketAddrV4};

use aftr::engine::{DropReason, Verdict};
use aftr::wire::Side;

use crate::bed::{ACK, Bed, H, Inner, Outcome, R1, SYN, Seen, T, covers, echo, encapsulate, icmp, tcp, udp};

/// A B4 that is worker `number`'s.
fn home_of(bed: &Bed, number: u16) -> String {
    let b4s = (0u16..).map(|home| format!("2001:db8:0:{:x}::1", 0x1000 + 0x100 * home));
    let owns = |b4: &String| bed.aftr.owners().of_b4(b4.parse().expect("an address")) == number;
    b4s.take(64).find(owns).expect("one in 64")
}

/// Homes of different workers; the second one's UDP port 5000 is open.
fn neighbours(bed: &mut Bed) -> (String, String, SocketAddrV4) {
    let (caller, called) = (home_of(bed, 0), home_of(bed, 1));
    let external = bed.open_udp(&called, 5000);
    (caller, called, external)
}

fn call(external: SocketAddrV4) -> Inner {
    udp(H, 6000, *external.ip(), external.port())
}

#[test]
fn each_worker_gives_addresses_of_its_own() {
    covers("4787-REQ-2");
    let mut bed = Bed::of_workers_together(2, "", "", "");
    let mut used = [0; 2];
    for home in 0..48u16 {
        let b4 = format!("2001:db8:0:{:x}00::1", 0x20 + home);
        let external = bed.open_udp(&b4, 5000);
        let owners = bed.aftr.owners();
        let owner = owners.of_b4(b4.parse().expect("an address"));
        assert_eq!(owners.of_address(*external.ip()), owner);
        assert!(bed.udp_reaches(external));
        used[usize::from(owner)] += 1;
    }
    assert!(used.iter().all(|&homes| homes > 12), "{used:?}");
    assert_eq!(bed.aftr.counters().from_workers.packets, 0);
}

#[test]
fn a_call_to_a_home_of_another_worker_goes_through_and_back() {
    covers("4787-REQ-9/9a");
    let mut bed = Bed::of_workers_together(2, "", "", "");
    let (caller, called, external) = neighbours(&mut bed);
    let seen = bed.up(&caller, call(external).ttl(9)).to_b4(&called);
    assert_eq!((seen.destination, seen.to().port(), seen.ttl), (H, 5000, 8));
    let back = bed.up(&called, udp(H, 5000, *seen.from().ip(), seen.from().port())).to_b4(&caller);
    assert_eq!((back.from(), back.to()), (external, SocketAddrV4::new(H, 6000)));
    let counters = bed.aftr.counters();
    assert_eq!((counters.to_workers.packets, counters.from_workers.packets), (2, 2));
    assert_eq!(counters.hairpinned.packets, 2);
}

#[test]
fn a_filter_knows_callers_of_other_workers_by_their_external_address() {
    covers("4787-REQ-9/9a");
    let mut bed = Bed::of_workers_together(2, "", "filtering-type = \"address-dependent\"", "");
    let (caller, called, external) = neighbours(&mut bed);
    bed.up(&caller, call(external)).dropped(DropReason::NatFilter);
    let own = bed.open_udp(&caller, 6000);
    bed.up(&called, udp(H, 5000, *own.ip(), 9)).dropped(DropReason::NatNoMapping);
    bed.up(&caller, call(external)).to_b4(&called);
}

#[test]
fn tcp_between_workers_opens_answers_and_carries() {
    covers("5382-REQ-8/8a");
    let mut bed = Bed::of_workers_together(2, "", "", "");
    let (caller, called) = (home_of(&bed, 0), home_of(&bed, 1));
    let external = bed.open_tcp(&called, 80);
    let at = |flags| tcp(H, 6000, *external.ip(), external.port(), flags);
    let from = bed.up(&caller, at(SYN)).to_b4(&called).from();
    let answer = tcp(H, 80, *from.ip(), from.port(), SYN | ACK);
    assert_eq!(bed.up(&called, answer).to_b4(&caller).from(), external);
    bed.up(&caller, at(ACK)).to_b4(&called);
}

#[test]
fn an_unexpected_syn_of_another_workers_home_is_held_and_then_refused() {
    covers("5382-REQ-4");
    let mut bed = Bed::of_workers_together(2, "", "", "");
    let caller = home_of(&bed, 0);
    let mut pool = (1..15).map(|last| Ipv4Addr::new(192, 0, 2, last));
    let nobodys = pool.find(|&ip| bed.aftr.owners().of_address(ip) == 1).expect("an address");
    assert_eq!(bed.up(&caller, tcp(H, 5000, nobodys, 7777, SYN)).verdict, Verdict::Hold);
    let sent = bed.advance(7);
    assert_eq!((sent.len(), sent[0].1), (1, Side::B4));
    let error = Outcome { verdict: Verdict::ToB4, bytes: sent[0].0.clone() }.to_b4(&caller);
    assert_eq!((error.source, error.destination), (nobodys, H));
    assert_eq!((error.payload[0], error.payload[1]), (3, 3));
    assert_eq!(error.quoted()[20..24], [5000u16.to_be_bytes(), 7777u16.to_be_bytes()].concat());
}

#[test]
fn what_the_called_softwire_does_not_take_is_told_to_the_caller() {
    covers("2473-7.2-a");
    let mut bed = Bed::of_workers_together(2, "df-policy = \"honour\"\naccess-mtu = 1400", "", "");
    let (caller, _, external) = neighbours(&mut bed);
    let error = bed.up(&caller, call(external).with_data(1380)).to_b4(&caller);
    assert_eq!((error.payload[0], error.payload[1]), (3, 4));
    assert_eq!(error.payload[6..8], 1360u16.to_be_bytes());
    assert_eq!(
        (&error.quoted()[12..16], &error.quoted()[16..20]),
        (&H.octets()[..], &external.ip().octets()[..])
    );
}

#[test]
fn pieces_of_a_call_cross_in_every_order() {
    covers("4787-REQ-14");
    for order in [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
        let mut bed = Bed::of_workers_together(2, "", "", "");
        let (caller, called, external) = neighbours(&mut bed);
        let pieces = call(external).with_data(600).loose(77).cut_at(&[200, 400]);
        let mut arrived = Vec::new();
        for at in order {
            let outcome = bed.up(&caller, pieces[at].clone());
            if outcome.verdict == Verdict::ToB4 {
                arrived.push(outcome.bytes);
            }
            arrived.extend(bed.pieces());
        }
        assert_eq!(arrived.len(), 3, "{order:?}");
        let seen: Vec<Seen> = arrived.iter().map(|bytes| Seen::read_unchecked(&bytes[40..])).collect();
        assert!(seen.iter().all(|piece| piece.destination == H && piece.ttl == 63), "{order:?}");
        assert!(
            arrived
                .iter()
                .all(|bytes| bytes[24..40] == called.parse::<std::net::Ipv6Addr>().expect("it is").octets())
        );
    }
}

#[test]
fn an_error_about_a_call_finds_its_way_back() {
    covers("5508-REQ-7/7a");
    let mut bed = Bed::of_workers_together(2, "", "", "");
    let (caller, called, external) = neighbours(&mut bed);
    let got = bed.up(&caller, call(external)).to_b4(&called);
    let error = bed.up(&called, icmp(H, got.source, 3, 3, [0; 4], &got.bytes)).to_b4(&caller);
    assert_eq!((error.source, error.destination), (*external.ip(), H));
    assert_eq!(error.quoted()[20..24], [6000u16.to_be_bytes(), external.port().to_be_bytes()].concat());
}

#[test]
fn routers_tell_the_worker_of_the_b4_that_they_are_about() {
    covers("8201-4-a");
    let mut bed = Bed::of_workers_together(2, "", "", "");
    for number in [0, 1] {
        let b4 = home_of(&bed, number);
        let external = bed.open_udp(&b4, 5000);
        let large = |bed: &mut Bed| bed.down(udp(R1, 80, *external.ip(), external.port()).with_data(1420));
        let quoted = large(&mut bed).bytes;
        assert!(bed.pieces().is_empty());
        // From routers of either worker: who they are does not matter.
        for router in ["2001:db8:1::1", "2001:db8:1::2", "2001:db8:1::3", "2001:db8:1::4"] {
            let told = crate::path_mtu::icmp6(router, 2, 0, 1400, &quoted);
            bed.send(&told, Side::B4);
        }
        large(&mut bed);
        assert_eq!(bed.pieces().len(), 1, "worker {number} has learnt it");
    }
    let counters = bed.aftr.counters();
    assert_eq!(counters.tunnel_errors, 8);
    assert!((1..8).contains(&counters.to_workers.packets), "{}", counters.to_workers.packets);
}

#[test]
fn a_ping_between_workers_goes_where_one_from_the_internet_goes() {
    covers("5508-REQ-1/1a");
    for (pool_echo, verdict) in
        [("", Verdict::Drop(DropReason::NatNoMapping)), ("pool-echo = true", Verdict::ToB4)]
    {
        let mut bed = Bed::of_workers_together(2, "", pool_echo, "");
        let (caller, _, external) = neighbours(&mut bed);
        assert_eq!(bed.up(&caller, echo(H, *external.ip(), 8, 9)).verdict, verdict);
    }
}

/// RFC 6333 section 8.1: the mark of a packet between workers is no part of it.
#[test]
fn nobody_outside_can_look_like_another_worker() {
    covers("M40");
    let mut bed = Bed::of_workers_together(2, "", "", "");
    let (caller, _, external) = neighbours(&mut bed);
    let other = bed.open_udp(&caller, 6000);
    bed.down(udp(*other.ip(), other.port(), *external.ip(), external.port())).dropped(DropReason::X4Src);
}

#[test]
fn a_small_pool_is_served_by_the_workers_that_have_it() {
    covers("6888-REQ-2");
    let one = "[[nat.external-ip-address-pool]]\npool-id = 1\nexternal-ip-pool = [\"192.0.2.1\"]";
    let mut bed = Bed::of_workers_together(4, "", "", one);
    for home in 0..16 {
        let b4 = format!("2001:db8:0:{:x}00::1", 0x20 + home);
        assert_eq!(bed.open_udp(&b4, 5000).ip().octets(), [192, 0, 2, 1]);
    }
}

#[test]
fn pools_that_would_move_subscribers_to_other_workers_are_refused() {
    let mut bed = Bed::of_workers_together(2, "", "", "");
    let external = bed.open_udp(&home_of(&bed, 0), 5000);
    let narrow = crate::bed::config("", "", crate::bed::ONE_ADDRESS);
    let refused = bed.reconfigure(&narrow).expect_err("half of the homes would move");
    assert!(refused[0].starts_with("nat.external-ip-address-pool"), "{refused:?}");
    assert!(bed.udp_reaches(external), "nothing has changed");
}

#[test]
fn deterministic_ranges_and_static_mappings_decide_whose_a_subscriber_is() {
    covers("7422-2-a");
    let deterministic = "[nat.deterministic]\nsubscribers-per-address = 16\ndynamic-shares = 2";
    let mut bed = Bed::of_workers_together(2, "", "", deterministic);
    for home in 0..2u16 {
        let b4 = format!("2001:db8:0:{:x}00::1", 8 + home);
        let external = bed.open_udp(&b4, 5000);
        let owners = bed.aftr.owners();
        assert_eq!(owners.of_address(*external.ip()), owners.of_b4(b4.parse().expect("an address")));
    }
    for last in 1..5 {
        let entry = format!(
            "[[nat.mapping-table]]\nb4-ipv6-address = \"{}\"\ntransport-protocol = \"udp\"\n\
             internal-src-address = \"10.0.0.2\"\ninternal-src-port = 53\n\
             external-src-address = \"192.0.2.{last}\"\nexternal-src-port = 53",
            crate::bed::A
        );
        let mut bed = Bed::of_workers_together(2, "", "", &entry);
        bed.down(udp(R1, 9, [192, 0, 2, last].into(), 53)).to_b4(crate::bed::A);
        assert_eq!(bed.open_udp(crate::bed::A, 5000).ip().octets(), [192, 0, 2, last]);
        assert_eq!(bed.mappings(), 2, "the static one is one worker's alone");
    }
}

/// Anything at all, from both sides, that pretends to come from anywhere.
#[test]
fn short_packets_have_an_owner_too() {
    let mut bed = Bed::of_workers_together(4, "", "", "");
    let packet = encapsulate(crate::bed::A, T, 0, 4, &[], &udp(H, 1, R1, 2).bytes());
    for length in 0..packet.len() {
        bed.send(&packet[..length], Side::B4);
        bed.send(&packet[..length], Side::Internet);
    }
}
