//! IPv4 options (RFC 7126): what would carry addresses or routes across the translator goes no further.

use aftr_config::UnknownOptions;

use super::settings::Settings;
use crate::wire::ipv4::{self, option};

/// Options that are dropped: source routes, records of the way, and what is obsolete (RFC 7126 sections
/// 4.3 to 4.20, RFC 6814).
const FORBIDDEN: [u8; 16] = [
    option::RECORD_ROUTE,
    option::TIMESTAMP,
    option::LOOSE_SOURCE_ROUTE,
    option::STRICT_SOURCE_ROUTE,
    10,  // ZSU
    11,  // Probe MTU
    12,  // Reply MTU
    15,  // ENCODE
    82,  // Traceroute
    136, // Stream identifier
    142, // VISA
    145, // Extended Internet Protocol
    147, // Address extension
    149, // Sender directed multi-destination delivery
    151, // Dynamic packet state
    152, // Upstream multicast
];

/// Options that are known and harmless: quick start, basic, extended and commercial security, router alert.
const PASSED: [u8; 5] = [25, 130, 133, 134, 148];

/// Whether a packet with the options of this header, which is not longer than the packet, may go on.
pub(super) fn may_pass(settings: &Settings, header: &[u8]) -> bool {
    ipv4::options(header).all(|option| match option {
        // RFC 7126 section 4: a length that cannot be.
        None => false,
        Some((option::NOP, _)) => true,
        Some((kind, _)) if FORBIDDEN.contains(&kind) => false,
        Some((kind, _)) => {
            PASSED.contains(&kind) || settings.config.nat.unknown_ip_options == UnknownOptions::Forward
        }
    })
}

/// Whether a packet has options at all: nearly none has.
#[inline]
pub(super) fn any(header_length: usize) -> bool {
    header_length > ipv4::HEADER
}
