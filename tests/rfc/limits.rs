//! IPX-25, IPX-26: each limit that refuses something new is told of by its name, and not once per packet.

use aftr::engine::{EventKind, Limit, Protocol};

use crate::bed::*;

/// The limits that were told of, in order.
fn told(bed: &Bed) -> Vec<Limit> {
    let limit = |kind| if let EventKind::LimitReached(limit) = kind { Some(limit) } else { None };
    bed.events.iter().filter_map(|event| limit(event.kind)).collect()
}

fn b4(number: usize) -> String {
    format!("2001:db8:0:{number:x}::1")
}

/// Of a bed in which nobody has anything yet.
fn bed(nat: &str, sections: &str) -> Bed {
    Bed::of_one_worker("subscriber-mask-v6 = 64", nat, sections)
}

#[test]
fn each_limit_is_told_of_by_its_name() {
    covers("6888-REQ-11c");
    let one = |most| {
        format!(
            "[[nat.external-ip-address-pool]]\npool-id = 9\nexternal-ip-pool = [\"192.0.2.1\"]\nmax-subscribers-per-address = {most}"
        )
    };
    let refused = |mut bed: Bed, home: usize, packet: Inner| {
        bed.up(&b4(home), packet);
        told(&bed)
    };

    let mut full = bed("", &one(1));
    full.open_udp(&b4(1), 5000);
    assert_eq!(refused(full, 2, udp(H, 5000, R1, 80)), [Limit::Pool { pool_id: 9 }]);

    let mut full = bed(
        "port-set = { port-set-size = 64, max-port-sets = 2 }\nexternal-port-range = [1024, 1151]",
        &one(2),
    );
    (0..128).for_each(|port| {
        full.open_udp(&b4(1 + port as usize % 2), 5000 + port);
    });
    let external = "192.0.2.1".parse().expect("an address");
    let expected = Limit::Address { external, protocol: Protocol::Udp };
    assert_eq!(refused(full, 1, udp(H, 6000, R1, 80)), [expected]);

    let subscriber = |most| Limit::Subscriber { b4: b4(1).parse().expect("a B4"), internal: H, most };
    let mut full = bed("port-quota = { udp = 3 }", "");
    (0..3).for_each(|port| {
        full.open_udp(&b4(1), 5000 + port);
    });
    assert_eq!(refused(full, 1, udp(H, 6000, R1, 80)), [subscriber(3)]);

    let mut full = bed("port-set = { port-set-size = 64, max-port-sets = 2 }", "");
    (0..128).for_each(|port| {
        full.open_udp(&b4(1), 5000 + port);
    });
    assert_eq!(refused(full, 1, udp(H, 6000, R1, 80)), [subscriber(128)]);

    let syn = |port, to| tcp(H, port, R1, to, SYN);
    let limits = "[nat.session-limits]\nlimit-per-mapping = 3\nlimit-per-subscriber = 5";
    let mut full = bed("", limits);
    (0..3).for_each(|to| drop(full.up(&b4(1), syn(5000, 80 + to)).to_internet()));
    assert_eq!(refused(full, 1, syn(5000, 90)), [subscriber(3)]);
    let mut full = bed("", limits);
    for (port, to) in [(5000, 80), (5000, 81), (5000, 82), (5001, 80), (5001, 81)] {
        full.up(&b4(1), syn(port, to)).to_internet();
    }
    assert_eq!(refused(full, 1, syn(5002, 80)), [subscriber(5)]);

    let limits = "[nat.mapping-limits]\n";
    let mut full = bed("", &format!("{limits}limit-sessions = 2"));
    (0..2).for_each(|port| {
        full.open_tcp(&b4(1), 5000 + port);
    });
    assert_eq!(refused(full, 1, syn(5002, 80)), [Limit::Sessions]);

    let mut full = bed("", &format!("{limits}limit-port-mappings = 2"));
    (0..2).for_each(|port| {
        full.open_udp(&b4(1), 5000 + port);
    });
    assert_eq!(refused(full, 2, udp(H, 5000, R1, 80)), [Limit::Mappings]);

    let mut full = bed("", &format!("{limits}limit-subscribers = 1"));
    full.open_udp(&b4(1), 5000);
    assert_eq!(refused(full, 2, udp(H, 5000, R1, 80)), [Limit::Subscribers]);
}

/// IPX-25
#[test]
fn a_limit_is_told_of_once_in_its_interval() {
    let one = "[[nat.external-ip-address-pool]]\npool-id = 9\nexternal-ip-pool = [\"192.0.2.1\"]\nmax-subscribers-per-address = 2";
    let mut full = bed("port-quota = { udp = 1 }", one);
    (1..=2).for_each(|home| {
        full.open_udp(&b4(home), 5000);
    });
    let refuse = |bed: &mut Bed| {
        for number in 0..1000 {
            bed.up(&b4(1 + number % 3), udp(H, 6000, R1, 80));
        }
        told(bed).len()
    };
    assert_eq!(refuse(&mut full), 3, "the pool, and each of two homes");
    full.advance(19);
    assert_eq!(refuse(&mut full), 3);
    full.advance(2);
    assert_eq!(refuse(&mut full), 4, "the pool again");
    full.advance(40);
    assert_eq!(refuse(&mut full), 7, "everything again");
}

/// IPX-25: whoever makes many homes full does not make the AFTR remember or tell more than so many.
#[test]
fn many_limits_are_told_of_at_a_bounded_rate() {
    let mut full = bed("port-quota = { udp = 1 }", "");
    for number in 0..2000 {
        full.open_udp(&b4(number), 5000);
        full.up(&b4(number), udp(H, 6000, R1, 80));
    }
    assert_eq!(told(&full).len(), 1024);
    full.advance(61);
    full.up(&b4(1999), udp(H, 6000, R1, 80));
    assert_eq!(told(&full).len(), 1025);
}

/// IPX-26: pieces that wait are given up for those that come after them.
#[test]
fn pieces_beyond_a_subscribers_limit_are_told_of() {
    let mut full = bed("", "[nat.fragments]\nlimit-per-subscriber = 8\nlimit = 32");
    let large = |identification| udp(H, 5000, R1, 80).with_data(3000).loose(identification);
    for identification in 0..9 {
        full.up(&b4(1), large(identification).piece(1024, 2048));
    }
    let b4 = b4(1).parse().expect("a B4");
    assert_eq!(told(&full), [Limit::Fragments { b4, internal: H, most: 8 }]);
}

/// IPX-25: whoever behind one B4 it is, it is one subscriber; and what all share is told of all the same.
#[test]
fn a_home_with_many_addresses_silences_nobody() {
    let one = "[[nat.external-ip-address-pool]]\npool-id = 9\nexternal-ip-pool = [\"192.0.2.1\"]\nmax-subscribers-per-address = 2";
    let mut full = bed("port-quota = { udp = 1 }", one);
    (1..=2).for_each(|home| {
        full.open_udp(&b4(home), 5000);
    });
    for number in 0..3000u32 {
        full.up(&b4(1), udp((0x0a00_0100 + number).into(), 6000, R1, 80));
    }
    assert_eq!(told(&full).len(), 1);
    full.up(&b4(2), udp(H, 6000, R1, 80));
    full.up(&b4(3), udp(H, 6000, R1, 80));
    assert_eq!(told(&full).len(), 3);
}
