//! Both machines of BPF, as far as our programs use them (filter.rst, bpf/standardization/instruction-set.rst
//! of the kernel's documentation), for tests.

use libc::{BPF_A, BPF_ALU, BPF_AND, BPF_B, BPF_H, BPF_JEQ, BPF_JGE, BPF_JGT, BPF_JMP, BPF_LD, BPF_RET};

use super::sys::bpf;
use super::sys::packet_socket::Instruction;

/// A frame as a program sees it.
pub(super) struct Seen<'a> {
    pub(super) kind: u8,
    pub(super) vlan: bool,
    pub(super) protocol: i32,
    pub(super) packet: &'a [u8],
}

/// What a classic program returns.
pub(super) fn run_classic(program: &[Instruction], seen: &Seen<'_>) -> u32 {
    let (mut a, mut x, mut at) = (0u32, 0u32, 0usize);
    loop {
        let Instruction { code, jt, jf, k } = program[at];
        at += 1;
        let jump = |holds: bool| usize::from(if holds { jt } else { jf });
        let code = u32::from(code);
        match code & 7 {
            BPF_LD if code == BPF_LD | libc::BPF_IMM => a = k,
            BPF_LD => match load(seen, k, code & 0x18) {
                Some(value) => a = value,
                None => return 0,
            },
            BPF_ALU => a = calculate(code, a, if code & libc::BPF_X != 0 { x } else { k }),
            BPF_JMP => {
                at += match code & 0xf0 {
                    libc::BPF_JA => k as usize,
                    BPF_JEQ => jump(a == k),
                    BPF_JGE => jump(a >= k),
                    BPF_JGT => jump(a > k),
                    other => panic!("jump {other:x}"),
                }
            }
            BPF_RET => return if code & 0x18 == BPF_A { a } else { k },
            libc::BPF_MISC => x = a,
            other => panic!("class {other:x}"),
        }
    }
}

/// What an extended program returns for a packet that starts at its IP header. Reading a register that was
/// never written is a panic, as it is an error of the kernel's.
pub(super) fn run_extended(program: &[bpf::Instruction], packet: &[u8]) -> u32 {
    const CONTEXT: u64 = 0xc0_ffee_0000_0000;
    let mut registers = [None::<u64>; 10];
    registers[1] = Some(CONTEXT);
    let mut at = 0;
    loop {
        let bpf::Instruction { code, registers: pair, offset, immediate } = program[at];
        at += 1;
        let (to, from) = (usize::from(pair & 15), usize::from(pair >> 4));
        let (code, immediate) = (u32::from(code), immediate.cast_unsigned());
        let read = |register: usize| registers[register].expect("a register that was written");
        let operand = || if code & libc::BPF_X != 0 { read(from) as u32 } else { immediate };
        match code & 7 {
            BPF_LD => {
                assert_eq!((code & 0xe0, read(6)), (libc::BPF_ABS, CONTEXT));
                let Some(value) = bytes(packet, immediate as usize, code & 0x18) else { return 0 };
                registers[..6].fill(None);
                registers[0] = Some(value.into());
            }
            bpf::ALU64 => {
                assert_eq!(code, bpf::ALU64 | bpf::MOVE | libc::BPF_X);
                registers[to] = Some(read(from));
            }
            BPF_ALU if code & 0xf0 == bpf::MOVE => registers[to] = Some(operand().into()),
            BPF_ALU => registers[to] = Some(calculate(code, read(to) as u32, operand()).into()),
            BPF_JMP if code & 0xf0 == bpf::EXIT => return read(0) as u32,
            BPF_JMP => {
                assert_eq!(code & 0xf8, bpf::UNEQUAL);
                // The jump compares 64 bits, with a sign.
                let differ = read(to) != i64::from(immediate.cast_signed()).cast_unsigned();
                at += if differ { offset as usize } else { 0 };
            }
            other => panic!("class {other:x}"),
        }
    }
}

fn calculate(code: u32, value: u32, operand: u32) -> u32 {
    match code & 0xf0 {
        BPF_AND => value & operand,
        libc::BPF_XOR => value ^ operand,
        libc::BPF_MUL => value.wrapping_mul(operand),
        libc::BPF_RSH => value >> operand,
        libc::BPF_MOD => value % operand,
        other => panic!("operation {other:x}"),
    }
}

fn load(seen: &Seen<'_>, at: u32, size: u32) -> Option<u32> {
    if at.cast_signed() >= libc::SKF_AD_OFF {
        return Some(match at.cast_signed() - libc::SKF_AD_OFF {
            libc::SKF_AD_PKTTYPE => seen.kind.into(),
            libc::SKF_AD_VLAN_TAG_PRESENT => seen.vlan.into(),
            _ => seen.protocol.cast_unsigned(),
        });
    }
    bytes(seen.packet, at.wrapping_sub(libc::SKF_NET_OFF.cast_unsigned()) as usize, size)
}

fn bytes(packet: &[u8], at: usize, size: u32) -> Option<u32> {
    let length = match size {
        BPF_B => 1,
        BPF_H => 2,
        _ => 4,
    };
    Some(packet.get(at..at + length)?.iter().fold(0, |sum, &byte| sum << 8 | u32::from(byte)))
}
