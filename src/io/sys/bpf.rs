//! Extended BPF: programs that the kernel checks, and runs for packets (bpf(2)).

use std::io;
use std::os::fd::{FromRawFd, OwnedFd};

/// One instruction (`struct bpf_insn`).
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Instruction {
    /// Class and operation, largely those of classic BPF.
    pub code: u8,
    /// See [`registers`].
    pub registers: u8,
    /// Instructions that a jump leaves out.
    pub offset: i16,
    /// The operand that is no register.
    pub immediate: i32,
}

/// What `linux/bpf.h` has more than classic BPF: a class of 64-bit operations, ...
pub const ALU64: u32 = 0x07;
/// ... the operation that copies, ...
pub const MOVE: u32 = 0xb0;
/// ... the jump when both differ, ...
pub const UNEQUAL: u32 = 0x50;
/// ... and the end.
pub const EXIT: u32 = 0x90;
/// The register that has a program's argument.
pub const ARGUMENT: u8 = 1;

/// The registers of an instruction: the one that changes, and the one that is read.
#[must_use]
pub fn registers(to: u8, from: u8) -> u8 {
    // A `struct bpf_insn` has two fields of four bits, which lie as the machine's bytes do.
    if cfg!(target_endian = "little") { to | from << 4 } else { to << 4 | from }
}

/// Loads a socket filter. It lives until its descriptor is closed and whatever it was attached to is gone.
///
/// # Errors
/// `PermissionDenied` without `CAP_BPF` in the first user namespace, unless
/// `kernel.unprivileged_bpf_disabled` is 0; `InvalidInput` for a program that the kernel does not accept.
pub fn load(program: &[Instruction]) -> io::Result<OwnedFd> {
    const PROG_LOAD: libc::c_int = 5;
    const SOCKET_FILTER: u32 = 1;
    let count = u32::try_from(program.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
    let mut load = Load {
        kind: SOCKET_FILTER,
        count,
        instructions: program.as_ptr() as u64,
        license: c"Apache-2.0".as_ptr() as u64,
    };
    // SAFETY: a `Load` is the front of the kernel's attributes for this command, and what it points to, with
    // its length, is borrowed until the call returns; the kernel only reads it.
    let descriptor = unsafe { call(PROG_LOAD, &raw mut load) }?;
    // SAFETY: the descriptor is new, and nobody else's.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor) })
}

/// The front of `union bpf_attr` for `BPF_PROG_LOAD`; the kernel takes what is left out as zero.
#[repr(C)]
struct Load {
    kind: u32,
    count: u32,
    instructions: u64,
    license: u64,
}

/// # Safety
/// `attributes` must be those of the command `command`, and valid with all that they point to.
unsafe fn call<T>(command: libc::c_int, attributes: *mut T) -> io::Result<libc::c_int> {
    // SAFETY: the caller's promise; the length is that of `attributes`.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, attributes, size_of::<T>()) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result as libc::c_int) }
}

/// What a loaded program returns for a frame of Ethernet, which it sees from the network header on.
#[cfg(test)]
pub(crate) fn run(program: std::os::fd::BorrowedFd<'_>, frame: &[u8]) -> io::Result<u32> {
    use std::os::fd::AsRawFd;

    /// The same for `BPF_PROG_TEST_RUN`.
    #[repr(C)]
    struct Run {
        program: u32,
        result: u32,
        input_length: u32,
        output_length: u32,
        input: u64,
        output: u64,
        repeat: u32,
        duration: u32,
    }
    const PROG_TEST_RUN: libc::c_int = 10;
    let mut run = Run {
        program: program.as_raw_fd() as u32,
        result: 0,
        input_length: frame.len() as u32,
        output_length: 0,
        input: frame.as_ptr() as u64,
        output: 0,
        repeat: 1,
        duration: 0,
    };
    // SAFETY: a `Run` is the front of the kernel's attributes for this command; the frame, of the length
    // given, is only read, and there is no room for output.
    unsafe { call(PROG_TEST_RUN, &raw mut run) }?;
    Ok(run.result)
}
