//! Which frames of an interface are ours, as a classic BPF program.
//!
//! The same program is run twice: at the ring, which takes what is ours, and at the interface's ingress,
//! behind the ring, where the kernel drops it. Everything else stays the kernel's: ARP and ND, the host's own
//! addresses, what it routes.

use std::net::{Ipv4Addr, Ipv6Addr};

use ipnet::Ipv4Net;
use libc::{
    BPF_ABS, BPF_ALU, BPF_AND, BPF_B, BPF_H, BPF_JEQ, BPF_JGE, BPF_JGT, BPF_JMP, BPF_K, BPF_LD, BPF_RET,
    BPF_W,
};

use crate::io::sys::packet_socket::{Instruction, instruction};
use crate::wire::ipv6::next_header;

/// Most instructions of a program (`BPF_MAXINSNS`).
const MOST: usize = 4096;
/// ICMPv6 types 133 to 137 are Neighbour Discovery (RFC 4861): the kernel's.
const FIRST_ND: u32 = 133;
const LAST_ND: u32 = 137;

/// What an interface takes for the AFTR.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ours {
    /// Addresses that softwires end at.
    pub aftr: Vec<Ipv6Addr>,
    /// Destinations that are ours whoever sends: the pools.
    pub pools: Vec<Ipv4Net>,
    /// Source and destination of what is passed through untranslated.
    pub pass_through: Vec<(Ipv4Net, Ipv4Net)>,
}

/// What a program is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// A socket takes ours.
    Take,
    /// A filter of traffic control, direct-action, drops ours and leaves the rest to the next one.
    Drop,
}

/// The program for `ours`; none when it would be longer than the kernel takes.
#[must_use]
pub fn program(ours: &Ours, purpose: Purpose) -> Option<Vec<Instruction>> {
    let (matched, other) = match purpose {
        Purpose::Take => (u32::MAX, 0),
        // TC_ACT_SHOT and TC_ACT_UNSPEC.
        Purpose::Drop => (2, u32::MAX),
    };
    let mut program = Program { instructions: Vec::new(), matched, other };
    // Frames to this host's link-layer address, and none of a VLAN, which has an interface of its own.
    program.require(BPF_B, ancillary(libc::SKF_AD_PKTTYPE), libc::PACKET_HOST.into());
    program.require(BPF_B, ancillary(libc::SKF_AD_VLAN_TAG_PRESENT), 0);
    let ipv6 = program.ipv6(ours);
    let over_ipv6 = ipv6.len() as u32;
    program.load(BPF_H, ancillary(libc::SKF_AD_PROTOCOL));
    program.push(BPF_JMP | BPF_JEQ | BPF_K, libc::ETH_P_IPV6.cast_unsigned(), 1, 0);
    program.push(BPF_JMP | libc::BPF_JA, over_ipv6, 0, 0);
    program.instructions.extend(ipv6);
    program.load(BPF_H, ancillary(libc::SKF_AD_PROTOCOL));
    program.push(BPF_JMP | BPF_JEQ | BPF_K, libc::ETH_P_IP.cast_unsigned(), 1, 0);
    program.leave();
    for pool in Ipv4Net::aggregate(&ours.pools) {
        program.ipv4(&[(16, pool)]);
    }
    for &(source, destination) in &ours.pass_through {
        program.ipv4(&[(12, source), (16, destination)]);
    }
    program.leave();
    (program.instructions.len() <= MOST).then_some(program.instructions)
}

struct Program {
    instructions: Vec<Instruction>,
    matched: u32,
    other: u32,
}

impl Program {
    fn push(&mut self, operation: u32, operand: u32, if_true: u8, if_false: u8) {
        self.instructions.push(instruction(operation, operand, if_true, if_false));
    }

    fn load(&mut self, size: u32, at: u32) {
        self.push(BPF_LD | size | BPF_ABS, at, 0, 0);
    }

    fn leave(&mut self) {
        self.push(BPF_RET | BPF_K, self.other, 0, 0);
    }

    fn take(&mut self) {
        self.push(BPF_RET | BPF_K, self.matched, 0, 0);
    }

    /// Leaves every frame whose field is not `value`.
    fn require(&mut self, size: u32, at: u32, value: u32) {
        self.load(size, at);
        self.push(BPF_JMP | BPF_JEQ | BPF_K, value, 1, 0);
        self.leave();
    }

    /// Takes an IPv4 packet whose addresses, at the offsets, are in the prefixes.
    fn ipv4(&mut self, addresses: &[(u32, Ipv4Net)]) {
        let mut left = 3 * addresses.len() as u8;
        for &(at, prefix) in addresses {
            self.load(BPF_W, net(at));
            self.push(BPF_ALU | BPF_AND | BPF_K, Ipv4Addr::to_bits(prefix.netmask()), 0, 0);
            left -= 3;
            self.push(BPF_JMP | BPF_JEQ | BPF_K, prefix.network().to_bits(), 0, left + 1);
        }
        self.take();
    }

    /// What is done with an IPv6 packet.
    fn ipv6(&self, ours: &Ours) -> Vec<Instruction> {
        let mut part = Program { instructions: Vec::new(), matched: self.matched, other: self.other };
        for address in &ours.aftr {
            let octets = address.octets();
            for (word, octets) in (0u8..).zip(octets.as_chunks::<4>().0) {
                part.load(BPF_W, net(24 + 4 * u32::from(word)));
                let to_the_next_address = 2 * (3 - word) + 7;
                part.push(BPF_JMP | BPF_JEQ | BPF_K, u32::from_be_bytes(*octets), 0, to_the_next_address);
            }
            part.load(BPF_B, net(6));
            part.push(BPF_JMP | BPF_JEQ | BPF_K, next_header::ICMPV6.into(), 0, 4);
            part.load(BPF_B, net(40));
            part.push(BPF_JMP | BPF_JGE | BPF_K, FIRST_ND, 0, 2);
            part.push(BPF_JMP | BPF_JGT | BPF_K, LAST_ND, 1, 0);
            part.leave();
            part.take();
        }
        part.leave();
        part.instructions
    }
}

/// A load from the packet, wherever its link-layer header ends.
fn net(at: u32) -> u32 {
    libc::SKF_NET_OFF.cast_unsigned().wrapping_add(at)
}

/// A load of what the kernel knows about the frame.
fn ancillary(field: i32) -> u32 {
    (libc::SKF_AD_OFF + field).cast_unsigned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::bpf_machine::{Seen, run_classic};
    use crate::wire::ipv6::Ipv6;
    use zerocopy::IntoBytes;

    const AFTR: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0xaaaa, 0, 0, 0, 0, 1);
    const SECOND: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0xaaaa, 0, 0, 0, 0, 2);
    const B4: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0xb4, 7, 0, 0, 0, 1);

    fn ours() -> Ours {
        Ours {
            aftr: vec![SECOND, AFTR],
            pools: vec!["198.51.100.0/28".parse().unwrap(), "203.0.113.7/32".parse().unwrap()],
            pass_through: vec![("192.0.2.0/24".parse().unwrap(), "10.0.0.0/8".parse().unwrap())],
        }
    }

    fn takes(seen: &Seen<'_>) -> bool {
        let taken = run_classic(&program(&ours(), Purpose::Take).unwrap(), seen);
        let dropped = run_classic(&program(&ours(), Purpose::Drop).unwrap(), seen);
        assert!(matches!((taken, dropped), (u32::MAX, 2) | (0, u32::MAX)), "{taken} {dropped}");
        taken != 0
    }

    fn v4(source: [u8; 4], destination: [u8; 4]) -> Vec<u8> {
        let header = crate::wire::ipv4::Ipv4::new(17, source.into(), destination.into(), 28, 64, 0);
        [header.as_bytes(), &[0; 8]].concat()
    }

    fn v6(to: Ipv6Addr, next_header: u8, first: u8) -> Vec<u8> {
        [Ipv6::new(B4, to, next_header, 8, 64, 0, 0).as_bytes(), &[first, 0, 0, 0, 0, 0, 0, 0]].concat()
    }

    #[test]
    fn pools_are_taken_and_the_host_keeps_its_own() {
        let seen = |packet: &[u8]| takes(&Seen { kind: 0, vlan: false, protocol: libc::ETH_P_IP, packet });
        for destination in [[198, 51, 100, 0], [198, 51, 100, 15], [203, 0, 113, 7]] {
            assert!(seen(&v4([8, 8, 8, 8], destination)), "{destination:?}");
        }
        for destination in [[198, 51, 100, 16], [203, 0, 113, 6], [203, 0, 113, 254], [10, 0, 0, 1]] {
            assert!(!seen(&v4([8, 8, 8, 8], destination)), "{destination:?}");
        }
        assert!(seen(&v4([192, 0, 2, 9], [10, 1, 2, 3])), "passed through");
        assert!(!seen(&v4([192, 0, 2, 9], [11, 1, 2, 3])));
    }

    #[test]
    fn softwires_are_taken_and_neighbour_discovery_is_left() {
        let seen = |packet: &[u8]| takes(&Seen { kind: 0, vlan: false, protocol: libc::ETH_P_IPV6, packet });
        for to in [AFTR, SECOND] {
            assert!(seen(&v6(to, next_header::IPV4, 0x45)) && seen(&v6(to, next_header::FRAGMENT, 4)));
            let icmp = |kind| seen(&v6(to, next_header::ICMPV6, kind));
            assert!([1, 2, 128, 132, 138].into_iter().all(icmp));
            assert!(!(133..=137).any(icmp));
        }
        assert!(!seen(&v6(B4, next_header::IPV4, 0x45)));
        assert!(!seen(&v6(Ipv6Addr::new(0x2001, 0xdb8, 0xaaaa, 0, 0, 0, 0, 3), 4, 0x45)));
    }

    #[test]
    fn frames_of_others_and_of_vlans_and_other_protocols_are_left() {
        let packet = v4([8, 8, 8, 8], [198, 51, 100, 1]);
        let seen = |kind, vlan, protocol| takes(&Seen { kind, vlan, protocol, packet: &packet });
        assert!(seen(0, false, libc::ETH_P_IP));
        assert!(!seen(3, false, libc::ETH_P_IP) && !seen(1, false, libc::ETH_P_IP));
        assert!(!seen(0, true, libc::ETH_P_IP) && !seen(0, false, libc::ETH_P_ARP));
    }

    #[test]
    fn more_than_the_kernel_takes_is_refused() {
        let pools = (0..2000u32).map(|at| Ipv4Net::new_assert((at << 8).into(), 32)).collect();
        assert_eq!(
            program(&Ours { pools, ..Ours::default() }, Purpose::Take).map(|program| program.len()),
            None
        );
    }
}
