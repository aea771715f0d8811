//! The first pass over a batch: the lines of the tables that its packets will need are asked for, all of
//! them before any is waited for. One table costs one wait per batch then, not one per packet.
//!
//! Nothing here decides anything: what cannot be guessed is simply cold when the second pass gets there.

use std::hint::black_box;

use aftr_config::Protocol;

use super::aftr::Aftr;
use super::mapping::Place;
use super::table::NONE;
use crate::wire::ipv4::{self, Ipv4, protocol};
use crate::wire::ipv6::{self, Ipv6};
use crate::wire::{Packet, Side};

/// Packets that are warmed together: more would push each other out of the fill buffers.
pub(super) const BATCH: usize = 64;

/// What is known of a packet so far.
#[derive(Clone, Copy)]
struct Guess {
    hash: u32,
    softwire: u32,
    mapping: u32,
}

const NOTHING: Guess = Guess { hash: 0, softwire: NONE, mapping: NONE };

impl Aftr {
    /// Warms the tables for up to [`BATCH`] packets.
    pub(super) fn warm(&self, batch: &[Packet]) {
        let mut guesses = [NOTHING; BATCH];
        let pairs = || batch.iter().enumerate().take(BATCH);
        let mut read = 0u64;
        for (at, packet) in pairs() {
            match packet.side {
                Side::B4 => {
                    let Some(outer) = Ipv6::view(packet.bytes()) else { continue };
                    guesses[at].hash = self.softwires.hash(outer.source());
                    read ^= self.softwires.peek(guesses[at].hash);
                }
                Side::Internet => {
                    let place = self.place_of(packet.bytes());
                    guesses[at].mapping =
                        place.and_then(|place| self.ports.mapping_at(place)).unwrap_or(NONE);
                }
            }
        }
        for (at, packet) in pairs().filter(|(_, packet)| packet.side == Side::B4) {
            guesses[at].softwire = self.softwires.guess(guesses[at].hash);
            let Some((protocol, inner, port)) = ends_of(packet.bytes().get(ipv6::HEADER..), End::Source)
            else {
                continue;
            };
            guesses[at].hash = self.mappings.hash(guesses[at].softwire, protocol, inner, port);
            read ^= self.mappings.peek(guesses[at].hash);
        }
        for (at, packet) in pairs() {
            if packet.side == Side::B4 {
                guesses[at].mapping = self.mappings.guess(guesses[at].hash);
                read ^= self
                    .softwires
                    .slab
                    .get(guesses[at].softwire)
                    .map_or(0, |line| u64::from(line.subscriber));
            }
            read ^= self.mappings.slab.get(guesses[at].mapping).map_or(0, |line| u64::from(line.softwire));
        }
        for (at, packet) in pairs() {
            let Some(mapping) = self.mappings.slab.get(guesses[at].mapping) else { continue };
            if mapping.protocol == Protocol::Tcp {
                // Most mappings have one session.
                read ^=
                    self.sessions.slab.get(mapping.first_session).map_or(0, |line| u64::from(line.mapping));
                read ^= self.session_slot(packet, guesses[at].mapping);
            }
            if packet.side == Side::Internet {
                read ^=
                    self.softwires.slab.get(mapping.softwire).map_or(0, |line| u64::from(line.subscriber));
            }
        }
        black_box(read);
    }

    fn place_of(&self, packet: &[u8]) -> Option<Place> {
        let (protocol, ip, port) = ends_of(Some(packet), End::Destination)?;
        Some(Place { address: self.pool.find(ip)?, protocol, port })
    }

    fn session_slot(&self, packet: &Packet, mapping: u32) -> u64 {
        let (bytes, remote) = match packet.side {
            Side::B4 => (packet.bytes().get(ipv6::HEADER..), End::Destination),
            Side::Internet => (Some(packet.bytes()), End::Source),
        };
        ends_of(bytes, remote).map_or(0, |(_, ip, port)| self.sessions.peek(mapping, ip, port))
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Source,
    Destination,
}

/// Address and port of one end of an IPv4 packet without options: what nearly all are.
#[inline]
fn ends_of(packet: Option<&[u8]>, end: End) -> Option<(Protocol, std::net::Ipv4Addr, u16)> {
    let packet = packet?;
    let header = Ipv4::view(packet)?;
    let protocol = match header.protocol() {
        protocol::TCP => Protocol::Tcp,
        protocol::UDP => Protocol::Udp,
        _ => return None,
    };
    let ports = packet.get(ipv4::HEADER..ipv4::HEADER + 4)?;
    Some(match end {
        End::Source => (protocol, header.source(), u16::from_be_bytes([ports[0], ports[1]])),
        End::Destination => (protocol, header.destination(), u16::from_be_bytes([ports[2], ports[3]])),
    })
}
