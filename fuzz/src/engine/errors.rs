//! ICMP errors: each is about a packet of whoever gets it, and they are not too many.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddrV4};

use aftr::engine::{Instant, Verdict};
use aftr::wire::Side;
use aftr_config::Config;

use super::judge::Fate;
use super::ledger::Ledger;
use super::packet::{ICMP, TCP};
use super::view::{V4, V6};

/// Ends that the quoted packet had: its sender, and who was called.
type Ends = (SocketAddrV4, SocketAddrV4);

/// INV-3 for an error that crossed: the packet that it quotes is the one of its new address, of the right
/// softwire.
pub(super) fn judge_error(fate: &Fate<'_>, ledger: &Ledger) {
    let Some((left, _)) = fate.left.first() else { return };
    let (came6, left6) = (V6::read(fate.came), V6::read(left));
    match (fate.side, fate.verdict) {
        (Side::Internet, Verdict::ToB4) => {
            let (Some(came), Some((outer, to))) = (V4::read(fate.came), inside(left6)) else { return };
            let Some((number, was, is)) = both(came, to) else { return };
            let home = match ledger.mapping(number, was.0) {
                Some(record) => Some((record.internal, record.b4)),
                None => ledger.passed(number, was.0, was.1).map(|b4| (was.0, b4)),
            };
            assert_eq!(home, Some((is.0, outer.destination())), "an error about a packet of {}", was.0);
            assert_eq!((came.destination(), to.destination()), (*was.0.ip(), *is.0.ip()));
            assert_eq!(is.1.ip(), was.1.ip());
        }
        (Side::B4, Verdict::ToInternet) => {
            let (Some((outer, came)), Some(to)) = (inside(came6), V4::read(left)) else { return };
            let Some((number, was, is)) = both(came, to) else { return };
            let home = match ledger.mapping(number, is.1) {
                Some(record) => Some((record.internal, record.b4)),
                None => ledger.passed(number, is.1, is.0).map(|b4| (is.1, b4)),
            };
            assert_eq!(home, Some((was.1, outer.source())), "an error about a packet to {}", is.1);
            assert_eq!((to.source(), to.destination()), (*is.1.ip(), *was.0.ip()));
            assert_eq!(is.0.ip(), was.0.ip());
        }
        (Side::B4, Verdict::ToB4) => {
            let (Some((outer, came)), Some((new, to))) = (inside(came6), inside(left6)) else { return };
            let Some((number, was, is)) = both(came, to) else { return };
            let caller = ledger.mapping(number, was.0).map(|record| (record.internal, record.b4));
            assert_eq!(caller, Some((is.0, new.destination())), "an error about a call of {}", was.0);
            let called = ledger.mapping(number, is.1).map(|record| (record.internal, record.b4));
            assert_eq!(called, Some((was.1, outer.source())), "an error about a call to {}", is.1);
        }
        _ => {}
    }
}

/// An outer packet that carries a whole one.
fn inside(outer: Option<V6<'_>>) -> Option<(V6<'_>, V4<'_>)> {
    outer.and_then(|outer| Some((outer, outer.inner()?)))
}

/// What an error quotes before and after.
fn both(from: V4<'_>, to: V4<'_>) -> Option<(u8, Ends, Ends)> {
    let (was, is) = (from.quoted()?, to.quoted()?);
    assert_eq!(was.protocol(), is.protocol());
    // It may have been cut for the MTU of the Internet.
    assert!(to.is_fragment() || was.bytes.len() == is.bytes.len(), "more or less is quoted");
    Some((was.protocol(), was.ends()?, is.ends()?))
}

/// What the engine itself says to the Internet.
#[derive(Debug, Default)]
pub(super) struct Sayings {
    /// What each host has used up of what may be said to it, and when that was counted.
    used: BTreeMap<Ipv4Addr, (f64, Instant)>,
    /// Ends of TCP packets that went either way: our end, remote end.
    tcp: std::collections::BTreeSet<Ends>,
}

impl Sayings {
    /// Other limits hold.
    pub(super) fn reconfigured(&mut self) {
        self.used.clear();
    }

    /// What left because of a packet, or of time.
    pub(super) fn note(
        &mut self,
        fate: Option<&Fate<'_>>,
        left: &[(Vec<u8>, Side)],
        config: &Config,
        now: Instant,
    ) {
        let crosses = fate.is_some_and(|fate| matches!(fate.verdict, Verdict::ToInternet | Verdict::ToB4));
        if let Some(fate) = fate {
            self.note_tcp(fate);
        }
        let is_tunnel_error = fate.is_some_and(|fate| {
            fate.side == Side::B4 && V6::read(fate.came).and_then(|came| came.icmp_type()).is_some()
        });
        for (bytes, side) in left {
            let Some(packet) = V4::read(bytes).filter(|_| *side == Side::Internet && !crosses) else {
                continue;
            };
            if packet.protocol() != ICMP {
                continue;
            }
            self.say(packet.destination(), config, now);
            if is_tunnel_error && let Some(quoted) = packet.quoted().filter(|quoted| quoted.protocol() == TCP)
            {
                let Some((remote, ours)) = quoted.ends() else { continue };
                assert!(self.tcp.contains(&(ours, remote)), "{remote} had nothing to do with {ours}");
            }
        }
    }

    fn note_tcp(&mut self, fate: &Fate<'_>) {
        let to_internet = fate.left.iter().filter(|(_, side)| *side == Side::Internet);
        let to_internet = to_internet.filter_map(|(bytes, _)| V4::read(bytes));
        let came = V4::read(fate.came).filter(|_| fate.side == Side::Internet);
        let is_tcp = |packet: &V4<'_>| packet.protocol() == TCP && !packet.is_later_piece();
        self.tcp.extend(to_internet.filter(is_tcp).filter_map(|packet| packet.ends()));
        self.tcp.extend(
            came.filter(is_tcp).and_then(|packet| packet.ends()).map(|(remote, ours)| (ours, remote)),
        );
    }

    /// RFC 1812 section 4.3.2.8: a fifth of all may be one host's.
    fn say(&mut self, to: Ipv4Addr, config: &Config, now: Instant) {
        let share = f64::from((config.icmp.to_internet_rate / 5).max(1));
        let (used, at) = self.used.entry(to).or_insert((0.0, now));
        let gone = now.millis().saturating_sub(at.millis()) as f64 / 1000.0;
        *used = (*used - gone * share).max(0.0) + 1.0;
        *at = now;
        assert!(*used <= share + 0.01, "{to} is told more than a fifth");
    }
}
