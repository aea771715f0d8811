//! Out of the softwire: the inner packet, and what its type of service becomes.

use crate::engine::aftr::Aftr;
use crate::engine::inner::{Inner, Side4, check_header};
use crate::engine::softwire::Outer;
use crate::engine::verdict::DropReason;
use crate::wire::Packet;
use aftr_config::Dscp;

const NOT_ECT: u8 = 0;
const ECT_1: u8 = 1;
const ECT_0: u8 = 2;
const CE: u8 = 3;

/// Takes the outer headers off, checks the inner one, and decides the type of service that the inner
/// packet goes on with. That is written when the packet is: an error must quote what came.
#[inline(always)]
pub(in crate::engine) fn decapsulate(
    aftr: &mut Aftr,
    packet: &mut Packet,
    outer: &Outer,
) -> Result<Inner, DropReason> {
    packet.strip_front(outer.upper.offset);
    let mut inner = check_header(packet, Side4::Inner, &aftr.settings, &mut aftr.counters.trailers)?;
    let ecn = match (inner.tos & 3, outer.traffic_class & 3) {
        (NOT_ECT, NOT_ECT) => NOT_ECT,
        (inner, outer) => {
            aftr.counters.ecn_anomalies += u64::from(is_anomaly(inner, outer));
            combine_ecn(inner, outer).ok_or(DropReason::Ecn)?
        }
    };
    let dscp = match aftr.settings.config.softwire.dscp {
        Dscp::Uniform => outer.traffic_class & !3,
        Dscp::Pipe => inner.tos & !3,
    };
    inner.tos = dscp | ecn;
    Ok(inner)
}

/// RFC 6040 section 4.2, figure 4: the more severe of both; none is a drop.
fn combine_ecn(inner: u8, outer: u8) -> Option<u8> {
    match (inner, outer) {
        (NOT_ECT, CE) => None,
        (NOT_ECT, _) => Some(NOT_ECT),
        (CE, _) | (_, CE) => Some(CE),
        (ECT_1, _) | (_, ECT_1) => Some(ECT_1),
        _ => Some(ECT_0),
    }
}

/// RFC 6040 section 4.2: pairs that an ingress never makes.
fn is_anomaly(inner: u8, outer: u8) -> bool {
    matches!((inner, outer), (NOT_ECT, ECT_0 | ECT_1 | CE) | (CE, ECT_1) | (ECT_1, ECT_0))
}
