//! Paths that take less than the access MTU: who is believed, and what follows from it (RFC 8201).

use std::collections::BTreeMap;
use std::net::Ipv6Addr;
use std::time::Duration;

use aftr::engine::{Instant, Team, Verdict};
use aftr::wire::Side;
use aftr_config::Config;

use super::judge::Fate;
use super::ledger::Ledger;
use super::view::{V4, V6};

/// How long it is remembered at least; the engine counts in seconds.
const LIFE: Duration = Duration::from_secs(598);
/// An identification within the engine's 4096, and what other B4s have moved a shared counter by.
const NEAR: u32 = 30_000;

#[derive(Debug, Default)]
pub(super) struct Narrow {
    paths: BTreeMap<Ipv6Addr, (u32, Instant)>,
    /// The latest identification of a piece to each B4.
    pieces: BTreeMap<Ipv6Addr, u32>,
}

impl Narrow {
    /// A packet came and these left because of it, or because of time.
    pub(super) fn note(
        &mut self,
        fate: Option<&Fate<'_>>,
        left: &[(Vec<u8>, Side)],
        ledger: &Ledger,
        config: &Config,
        now: Instant,
    ) {
        if let Some(fate) = fate.filter(|fate| fate.side == Side::B4 && fate.verdict == Verdict::Hold) {
            self.believe(fate.came, ledger, config, now);
        }
        for outer in
            left.iter().filter(|(_, side)| *side == Side::B4).filter_map(|(bytes, _)| V6::read(bytes))
        {
            let known = self.paths.get(&outer.destination()).filter(|(_, at)| *at + LIFE > now);
            if let Some((mtu, _)) = known {
                assert!(outer.bytes.len() <= *mtu as usize, "{} bytes on a path of {mtu}", outer.bytes.len());
            }
            if let Some([a, b, c, d]) = outer.bytes.get(44..48).filter(|_| outer.bytes[6] == 44) {
                self.pieces.insert(outer.destination(), u32::from_be_bytes([*a, *b, *c, *d]));
            }
        }
    }

    /// A Packet Too Big that was taken.
    fn believe(&mut self, came: &[u8], ledger: &Ledger, config: &Config, now: Instant) {
        let Some(came) = V6::read(came).filter(|came| came.icmp_type() == Some(2)) else { return };
        let (next, at) = came.upper();
        if next != 58 {
            return;
        }
        let message = &came.bytes[at..];
        let mtu = u32::from_be_bytes([message[4], message[5], message[6], message[7]]);
        let quoted = &message[8..];
        let length = 40 + u32::from(u16::from_be_bytes([quoted[4], quoted[5]]));
        let quoted = V6 { bytes: quoted };
        let b4 = quoted.destination();
        assert!(config.softwire.aftr_ipv6_addr.contains(&quoted.source()), "not a packet of ours");
        assert!(mtu >= 1280 && length > mtu, "{length} octets were too many for {mtu}");
        let (next, at) = quoted.upper();
        let (mut next, mut at) = (next, at);
        let mut is_first = true;
        if next == 44 {
            let field = u16::from_be_bytes([quoted.bytes[at + 2], quoted.bytes[at + 3]]) & !7;
            let [a, b, c, d] = [4, 5, 6, 7].map(|byte| quoted.bytes[at + byte]);
            is_first = field == 0;
            if let Some(latest) = self.pieces.get(&b4).filter(|_| !is_first) {
                let behind = latest.wrapping_sub(u32::from_be_bytes([a, b, c, d]));
                assert!(behind < NEAR || behind.wrapping_neg() < NEAR, "a piece that was not sent lately");
            }
            next = quoted.bytes[at];
            at += 8;
            if is_first && next == 60 {
                (next, at) = (quoted.bytes[at], at + 8);
            }
        }
        if is_first {
            assert_eq!(next, 4);
            let inner = V4::front(&quoted.bytes[at..]).expect("a packet");
            let number = inner.protocol();
            let (remote, internal) = inner.ends().expect("ends");
            assert!(
                ledger.mapping_of(number, b4, internal).is_some()
                    || ledger.passed(number, internal, remote) == Some(b4),
                "nobody behind {b4} is {internal}"
            );
        }
        let known = self.paths.get(&b4).filter(|(_, at)| *at + LIFE > now);
        if known.is_none_or(|(known, _)| mtu <= *known) {
            self.paths.insert(b4, (mtu, now));
        }
    }

    /// A softwire that is gone, or that ends elsewhere, has another path.
    pub(super) fn forget(&mut self, aftr: &Team) {
        if !self.paths.is_empty() {
            let alive: Vec<Ipv6Addr> = aftr.subscribers().flat_map(|view| view.softwires).collect();
            self.paths.retain(|b4, _| alive.contains(b4));
        }
    }
}
