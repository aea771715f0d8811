//! The first pass over a batch: the lines of the tables that its packets will need are asked for, all of
//! them before any is waited for. One table costs one wait per batch then, not one per packet.
//!
//! Nothing here decides anything: what cannot be guessed is simply cold when the second pass gets there, and what
//! can be is looked at again there.

use std::hint::black_box;
use std::net::Ipv4Addr;

use aftr_config::Protocol;

use super::aftr::Aftr;
use super::mapping::Place;
use super::table::NONE;
use crate::wire::ipv4::{self, Ipv4, protocol};
use crate::wire::ipv6::{self, Ipv6};
use crate::wire::{Packet, Side};

/// Packets that are warmed together: more would push each other out of the fill buffers.
pub(super) const BATCH: usize = 64;

/// What the first pass found for a packet. The second pass looks whether it is right.
#[derive(Clone, Copy)]
pub(super) struct Guess {
    pub(super) softwire: u32,
    pub(super) mapping: u32,
}

impl Guess {
    pub(super) const NOTHING: Guess = Guess { softwire: NONE, mapping: NONE };
}

/// The end that the look-up of a packet from a B4 starts from, and the hash of what is looked up next.
#[derive(Clone, Copy)]
struct Start {
    end: Option<(Protocol, Ipv4Addr, u16)>,
    hash: u32,
}

impl Aftr {
    /// Warms the tables for up to [`BATCH`] packets.
    pub(super) fn warm(&self, batch: &[Packet]) -> [Guess; BATCH] {
        let mut guesses = [Guess::NOTHING; BATCH];
        let mut starts = [Start { end: None, hash: 0 }; BATCH];
        let read = self.warm_indexes(batch, &mut guesses, &mut starts)
            ^ self.warm_mapping_index(&mut guesses, &mut starts)
            ^ self.warm_mappings(batch, &mut guesses, &starts)
            ^ self.warm_what_they_name(batch, &guesses);
        black_box(read);
        guesses
    }

    /// The slot of each B4 address, or of each external address and port.
    #[inline]
    fn warm_indexes(
        &self,
        batch: &[Packet],
        guesses: &mut [Guess; BATCH],
        starts: &mut [Start; BATCH],
    ) -> u64 {
        let mut read = 0;
        for ((packet, guess), start) in batch.iter().zip(guesses).zip(starts) {
            match packet.side {
                Side::B4 => {
                    let Some(outer) = Ipv6::view(packet.bytes()) else { continue };
                    start.hash = self.softwires.hash(outer.source());
                    start.end = end_of(packet.bytes().get(ipv6::HEADER..), End::Source);
                    read ^= self.softwires.peek(start.hash);
                }
                Side::Internet => {
                    let place = self.place_of(packet.bytes());
                    guess.mapping = place.and_then(|place| self.ports.mapping_at(place)).unwrap_or(NONE);
                }
            }
        }
        read
    }

    /// The slot of each internal address and port.
    #[inline]
    fn warm_mapping_index(&self, guesses: &mut [Guess; BATCH], starts: &mut [Start; BATCH]) -> u64 {
        let mut read = 0;
        for (guess, start) in guesses.iter_mut().zip(starts) {
            if let Some((protocol, inner, port)) = start.end {
                guess.softwire = self.softwires.guess(start.hash);
                start.hash = self.mappings.hash(guess.softwire, protocol, inner, port);
                read ^= self.mappings.peek(start.hash);
            }
        }
        read
    }

    /// The mappings, and the softwires that packets came through.
    #[inline]
    fn warm_mappings(&self, batch: &[Packet], guesses: &mut [Guess; BATCH], starts: &[Start; BATCH]) -> u64 {
        let mut read = 0;
        for ((_, guess), start) in batch.iter().zip(guesses).zip(starts) {
            if start.end.is_some() {
                guess.mapping = self.mappings.guess(start.hash);
                read ^= self.softwires.slab.get(guess.softwire).map_or(0, |line| u64::from(line.subscriber));
            }
            read ^= self.mappings.slab.get(guess.mapping).map_or(0, |line| u64::from(line.softwire));
        }
        read
    }

    /// The session of each mapping, and the softwires that packets go into.
    #[inline]
    fn warm_what_they_name(&self, batch: &[Packet], guesses: &[Guess; BATCH]) -> u64 {
        let mut read = 0;
        for (packet, guess) in batch.iter().zip(guesses) {
            let Some(mapping) = self.mappings.slab.get(guess.mapping) else { continue };
            if mapping.protocol == Protocol::Tcp {
                let first = self.sessions.slab.get(mapping.first_session);
                read ^= first.map_or(0, |line| u64::from(line.mapping));
                if mapping.sessions > 1 {
                    read ^= self.session_slot(packet, guess.mapping);
                }
            }
            if packet.side == Side::Internet {
                let softwire = self.softwires.slab.get(mapping.softwire);
                read ^= softwire.map_or(0, |line| u64::from(line.subscriber));
            }
        }
        read
    }

    fn place_of(&self, packet: &[u8]) -> Option<Place> {
        let (protocol, ip, port) = end_of(Some(packet), End::Destination)?;
        Some(Place { address: self.pool.find(ip)?, protocol, port })
    }

    fn session_slot(&self, packet: &Packet, mapping: u32) -> u64 {
        let (bytes, remote) = match packet.side {
            Side::B4 => (packet.bytes().get(ipv6::HEADER..), End::Destination),
            Side::Internet => (Some(packet.bytes()), End::Source),
        };
        end_of(bytes, remote).map_or(0, |(_, ip, port)| self.sessions.peek(mapping, ip, port))
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Source,
    Destination,
}

/// Address and port of one end of an IPv4 packet without options: what nearly all are.
#[inline]
fn end_of(packet: Option<&[u8]>, end: End) -> Option<(Protocol, Ipv4Addr, u16)> {
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
