//! Which worker a packet belongs to, told to the kernel, so that each packet comes to its worker's queue.
//!
//! What comes from a B4 goes by a keyed hash of its subscriber's prefix, what comes from the Internet by the
//! external address. A kernel that does not steer costs time, nothing else: workers hand over what is not
//! theirs.
//!
//! Packet sockets run classic BPF, tun interfaces extended BPF. The function is written once, in steps of
//! which each is one instruction of either.

use libc::{
    BPF_A, BPF_ABS, BPF_ALU, BPF_AND, BPF_B, BPF_IMM, BPF_JEQ, BPF_JMP, BPF_K, BPF_LD, BPF_MISC, BPF_MOD,
    BPF_MUL, BPF_RET, BPF_RSH, BPF_TAX, BPF_W, BPF_X, BPF_XOR,
};

use super::sys::bpf;
use super::sys::packet_socket::{self, instruction};

/// A prime whose product carries each bit upwards; only the upper half is used.
const MULTIPLIER: u32 = 0x9e37_79b1;
/// Offsets of the source address of IPv6 (RFC 8200 section 3), and of the destination of IPv4 (RFC 791
/// section 3.1).
const IPV6_SOURCE: u32 = 8;
const IPV4_DESTINATION: u32 = 16;

/// How packets are divided among workers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Steering {
    /// Keeps others from choosing addresses that all belong to one worker.
    pub key: u32,
    /// Bits of an IPv6 source address that make a subscriber: 0 to 128.
    pub mask: u8,
    /// Number of workers: 1 to 256.
    pub workers: u16,
}

impl Steering {
    /// The program for `PACKET_FANOUT_DATA` (packet(7)): its result is the number of the worker. What is too
    /// short to have the address belongs to worker 0.
    #[must_use]
    pub fn classic(&self) -> Vec<packet_socket::Instruction> {
        self.steps().into_iter().map(Step::classic).collect()
    }

    /// The program for `TUNSETSTEERINGEBPF`, of type `BPF_PROG_TYPE_SOCKET_FILTER`, with the same result.
    #[must_use]
    pub fn extended(&self) -> Vec<bpf::Instruction> {
        // Loads from a packet want its context there.
        let take_context = bpf::Instruction {
            code: (bpf::ALU64 | bpf::MOVE | BPF_X) as u8,
            registers: bpf::registers(CONTEXT, bpf::ARGUMENT),
            offset: 0,
            immediate: 0,
        };
        std::iter::once(take_context).chain(self.steps().into_iter().map(Step::extended)).collect()
    }

    fn steps(&self) -> Vec<Step> {
        let (from_b4, from_internet) = (self.steps_from_b4(), self.steps_from_internet());
        let version = [Step::Byte(0), Step::Calculate(BPF_RSH, 4)];
        let is = |version, then: &[Step]| Step::SkipUnless(version, then.len() as u8);
        let mut steps = version.to_vec();
        steps.push(is(6, &from_b4));
        steps.extend(from_b4);
        steps.push(is(4, &from_internet));
        steps.extend(from_internet);
        steps.extend([Step::Set(0), Step::Return]);
        steps
    }

    fn steps_from_b4(&self) -> Vec<Step> {
        let mut steps = vec![Step::Set(self.key), Step::Keep];
        let mask = u32::from(self.mask);
        for word in (0..4).take_while(|word| word * 32 < mask) {
            let beyond = 32 - (mask - word * 32).min(32);
            steps.extend([
                Step::Word(IPV6_SOURCE + word * 4),
                Step::Calculate(BPF_AND, u32::MAX << beyond),
                Step::XorKept,
                Step::Calculate(BPF_MUL, MULTIPLIER),
                Step::Keep,
            ]);
        }
        steps.extend([
            Step::Calculate(BPF_RSH, 16),
            Step::Calculate(BPF_MUL, self.workers.into()),
            Step::Calculate(BPF_RSH, 16),
            Step::Return,
        ]);
        steps
    }

    fn steps_from_internet(&self) -> Vec<Step> {
        let workers = u32::from(self.workers).max(1);
        vec![Step::Word(IPV4_DESTINATION), Step::Calculate(BPF_MOD, workers), Step::Return]
    }
}

/// What is done with the value, a u32. There is room to keep another one.
#[derive(Clone, Copy)]
enum Step {
    /// Loads a byte of the packet.
    Byte(u32),
    /// Loads four bytes of the packet, the first as the highest.
    Word(u32),
    Set(u32),
    Keep,
    XorKept,
    Calculate(u32, u32),
    /// Leaves out as many steps unless the value is this.
    SkipUnless(u32, u8),
    Return,
}

/// Registers of extended BPF. A load from a packet puts its result into the first one, takes the context from
/// the second, and loses 1 to 5.
const VALUE: u8 = 0;
const CONTEXT: u8 = 6;
const KEPT: u8 = 7;

impl Step {
    fn classic(self) -> packet_socket::Instruction {
        // From the network header on, wherever the frame has it.
        let net = |at| libc::SKF_NET_OFF.cast_unsigned().wrapping_add(at);
        let (operation, operand) = match self {
            Step::Byte(at) => (BPF_LD | BPF_B | BPF_ABS, net(at)),
            Step::Word(at) => (BPF_LD | BPF_W | BPF_ABS, net(at)),
            Step::Set(value) => (BPF_LD | BPF_IMM, value),
            Step::Keep => (BPF_MISC | BPF_TAX, 0),
            Step::XorKept => (BPF_ALU | BPF_XOR | BPF_X, 0),
            Step::Calculate(operation, operand) => (BPF_ALU | operation | BPF_K, operand),
            Step::SkipUnless(value, steps) => {
                return instruction(BPF_JMP | BPF_JEQ | BPF_K, value, 0, steps);
            }
            Step::Return => (BPF_RET | BPF_A, 0),
        };
        instruction(operation, operand, 0, 0)
    }

    fn extended(self) -> bpf::Instruction {
        let (code, to, from, offset, immediate) = match self {
            // On a tun a packet has nothing in front of its IP header.
            Step::Byte(at) => (BPF_LD | BPF_B | BPF_ABS, 0, 0, 0, at),
            Step::Word(at) => (BPF_LD | BPF_W | BPF_ABS, 0, 0, 0, at),
            Step::Set(value) => (BPF_ALU | bpf::MOVE | BPF_K, VALUE, 0, 0, value),
            Step::Keep => (BPF_ALU | bpf::MOVE | BPF_X, KEPT, VALUE, 0, 0),
            Step::XorKept => (BPF_ALU | BPF_XOR | BPF_X, VALUE, KEPT, 0, 0),
            Step::Calculate(operation, operand) => (BPF_ALU | operation | BPF_K, VALUE, 0, 0, operand),
            Step::SkipUnless(value, steps) => (BPF_JMP | bpf::UNEQUAL | BPF_K, VALUE, 0, steps.into(), value),
            Step::Return => (BPF_JMP | bpf::EXIT, 0, 0, 0, 0),
        };
        bpf::Instruction {
            code: code as u8,
            registers: bpf::registers(to, from),
            offset,
            immediate: immediate.cast_signed(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use proptest::prelude::*;
    use proptest::strategy::ValueTree;
    use proptest::test_runner::TestRunner;

    use super::*;
    use crate::io::bpf_machine::{Seen, run_classic, run_extended};

    /// The function itself.
    fn owner(steering: &Steering, packet: &[u8]) -> u32 {
        let workers = u32::from(steering.workers);
        let word = |at: usize| u32::from_be_bytes(packet[at..at + 4].try_into().unwrap());
        match packet[0] >> 4 {
            6 => {
                let mut x = steering.key;
                let mut bits = steering.mask;
                for at in [8, 12, 16, 20] {
                    if bits > 0 {
                        let in_mask = (0..32u8).take(bits.into()).fold(0, |mask, bit| mask | 1 << (31 - bit));
                        x = (x ^ (word(at) & in_mask)).wrapping_mul(0x9e37_79b1);
                        bits = bits.saturating_sub(32);
                    }
                }
                ((x >> 16) * workers) >> 16
            }
            4 => word(16) % workers,
            _ => 0,
        }
    }

    fn any_steering() -> impl Strategy<Value = Steering> {
        let mask = prop_oneof![Just(56), Just(64), 0..=128u8];
        (any::<u32>(), mask, 1..=256u16).prop_map(|(key, mask, workers)| Steering { key, mask, workers })
    }

    fn any_packet() -> impl Strategy<Value = Vec<u8>> {
        let version = prop_oneof![4 => Just(6u8), 4 => Just(4), 1 => 0..16u8];
        (version, proptest::collection::vec(any::<u8>(), 40..80)).prop_map(|(version, mut packet)| {
            packet[0] = packet[0] & 15 | version << 4;
            packet
        })
    }

    fn classic(steering: &Steering, packet: &[u8]) -> u32 {
        run_classic(&steering.classic(), &Seen { kind: 0, vlan: false, protocol: 0, packet })
    }

    proptest! {
        #[test]
        fn both_programs_give_every_packet_to_its_owner(steering in any_steering(), packet in any_packet()) {
            let owner = owner(&steering, &packet);
            prop_assert!(owner < steering.workers.into());
            prop_assert_eq!(classic(&steering, &packet), owner);
            prop_assert_eq!(run_extended(&steering.extended(), &packet), owner);
        }
    }

    #[test]
    fn what_is_too_short_belongs_to_the_first() {
        let steering = Steering { key: u32::MAX, mask: 64, workers: 256 };
        for packet in [&[][..], &[0x60; 15], &[0x45; 19]] {
            assert_eq!((classic(&steering, packet), run_extended(&steering.extended(), packet)), (0, 0));
        }
    }

    #[test]
    fn a_subscriber_has_one_worker_and_all_workers_have_subscribers() {
        let steering = Steering { key: 7, mask: 56, workers: 4 };
        let worker = |bits: u128| {
            let source = 0x2001_0db8_00b4_0007_0000_0000_0000_0001_u128 ^ bits;
            classic(&steering, &[&[0x60; 8][..], &source.to_be_bytes(), &[0; 16]].concat())
        };
        for subscriber in 0..64u128 {
            assert_eq!(worker(subscriber << 72), worker(subscriber << 72 | 0xff << 64 | 0xffff));
        }
        let used: std::collections::BTreeSet<u32> = (0..64).map(|number| worker(number << 72)).collect();
        assert_eq!(used.into_iter().collect::<Vec<_>>(), [0, 1, 2, 3]);
    }

    /// Where it is allowed, which is where this process may load programs.
    #[test]
    fn the_kernel_agrees() {
        let mut runner = TestRunner::deterministic();
        let cases = (any_steering(), proptest::collection::vec(any_packet(), 50));
        for _ in 0..40 {
            let (steering, packets) = cases.new_tree(&mut runner).unwrap().current();
            let program = match bpf::load(&steering.extended()) {
                Ok(program) => program,
                Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => {
                    println!("SKIPPED: steering: the kernel lets this process load no program: {error}");
                    assert!(
                        std::env::var_os("AFTR_NOTHING_SKIPPED").is_none(),
                        "nothing may be skipped here"
                    );
                    return;
                }
                Err(error) => panic!("{error}"),
            };
            for packet in packets {
                let protocol: u16 = if packet[0] >> 4 == 6 { 0x86dd } else { 0x0800 };
                let frame = [&[2; 12][..], &protocol.to_be_bytes(), &packet].concat();
                let worker = bpf::run(program.as_fd(), &frame).expect("a run");
                assert_eq!(worker, owner(&steering, &packet), "{packet:x?}");
            }
        }
    }
}
