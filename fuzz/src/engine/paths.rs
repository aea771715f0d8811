//! INV-3: a packet leaves from the end that its mapping says, and reaches the end that its mapping says, in
//! the softwire of that mapping and in no other.

use std::net::SocketAddrV4;

use aftr::engine::Verdict;
use aftr::wire::Side;
use aftr_config::Config;

use super::judge::{Fate, passes_through};
use super::ledger::Ledger;
use super::packet::{ICMP, TCP, UDP};
use super::view::{V4, V6};

/// Both ends of a packet that crossed whole, or as the first piece of a datagram.
pub(super) fn judge_path(fate: &Fate<'_>, ledger: &Ledger, config: &Config) {
    let Some((left, _)) = fate.left.first() else { return };
    match (fate.side, fate.verdict) {
        (Side::B4, Verdict::ToInternet) => {
            let Some((outer, from)) = V6::read(fate.came).and_then(|outer| Some((outer, outer.inner()?)))
            else {
                return;
            };
            let Some((from, to)) = both(from, V4::read(left)) else { return };
            if passes_through(config, *from.1.ip()) && from == to {
                return;
            }
            let record = ledger.mapping(protocol(left), to.0);
            let record = record.unwrap_or_else(|| panic!("{} is nobody's", to.0));
            assert_eq!((record.internal, record.b4), (from.0, outer.source()), "leaves as {}", to.0);
            assert_eq!(to.1.ip(), from.1.ip());
        }
        (Side::Internet, Verdict::ToB4) => {
            let Some(outer) = V6::read(left) else { return };
            let Some((from, to)) = V4::read(fate.came).and_then(|from| both(from, outer.inner())) else {
                return;
            };
            if passes_through(config, *from.0.ip()) && from == to {
                let b4 = ledger.passed(protocol(fate.came), from.1, from.0);
                assert_eq!(b4, Some(outer.destination()), "{} gets what {} was sent", to.1, from.1);
                return;
            }
            let record = ledger.mapping(protocol(fate.came), from.1);
            let record = record.unwrap_or_else(|| panic!("{} is nobody's", from.1));
            assert_eq!(
                (record.internal, record.b4),
                (to.1, outer.destination()),
                "{} arrives elsewhere",
                from.1
            );
            assert_eq!(to.0.ip(), from.0.ip());
        }
        (Side::B4, Verdict::ToB4) => {
            let (Some(came), Some(left)) = (V6::read(fate.came), V6::read(left)) else { return };
            let Some((from, to)) = came.inner().and_then(|from| both(from, left.inner())) else { return };
            let number = came.inner().map_or(0, |inner| inner.protocol());
            let caller = ledger.mapping(number, to.0).map(|record| (record.internal, record.b4));
            assert_eq!(caller, Some((from.0, came.source())), "calls as {}", to.0);
            let called = ledger.mapping(number, from.1).map(|record| (record.internal, record.b4));
            assert_eq!(called, Some((to.1, left.destination())), "{} is called elsewhere", from.1);
        }
        _ => {}
    }
}

type Ends = (SocketAddrV4, SocketAddrV4);

/// The ends of a packet before and after, unless it is no packet with ports.
fn both(from: V4<'_>, to: Option<V4<'_>>) -> Option<(Ends, Ends)> {
    let to = to?;
    if from.is_later_piece()
        || to.is_later_piece()
        || from.is_icmp_error()
        || from.protocol() != to.protocol()
    {
        return None;
    }
    matches!(from.protocol(), TCP | UDP | ICMP).then(|| Some((from.ends()?, to.ends()?)))?
}

fn protocol(bytes: &[u8]) -> u8 {
    bytes[9]
}
