//! What happens: steps as data, so that a failing story can be told, cut down and told again.

use std::fmt;

/// Homes, each a /56; hosts behind each; ports of each host; remote hosts.
pub(crate) const HOMES: u8 = 6;
pub(crate) const HOSTS: u8 = 2;
pub(crate) const PORTS: u8 = 12;
pub(crate) const REMOTES: u8 = 3;

/// Which transport.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Kind {
    Tcp,
    Udp,
    Icmp,
}

/// One thing that happens. `b4` picks one of the home's addresses; `nth` picks among what lives.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Step {
    /// A host sends to a remote host.
    Up {
        home: u8,
        b4: u8,
        host: u8,
        port: u8,
        kind: Kind,
        flags: u8,
        remote: u8,
        remote_port: u8,
        ttl: u8,
        tos: u8,
        outer: u8,
    },
    /// A host sends where no packet may go, or from where none may come.
    UpWrong { home: u8, what: u8 },
    /// A remote host sends to the nth mapping.
    Down { nth: u8, flags: u8, remote: u8, remote_port: u8, ttl: u8, tos: u8 },
    /// A remote host sends to a pool address where maybe nothing is.
    DownBlind { address: u8, port: u16, kind: Kind, flags: u8 },
    /// A host calls the nth mapping by its external address.
    Call { home: u8, b4: u8, host: u8, port: u8, flags: u8, nth: u8 },
    /// A router on the Internet sends an error about a packet of the nth mapping.
    ErrorDown { nth: u8, code: u8 },
    /// A host behind the nth mapping's B4 sends an error about a packet that it got.
    ErrorUp { nth: u8, code: u8 },
    /// A host pings 192.0.0.1.
    Local { home: u8 },
    /// Bytes from somewhere.
    Garbage { seed: u64, from_b4: bool },
    /// The operator clears a home.
    Purge { home: u8 },
    /// Time passes.
    Wait { millis: u32 },
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?}")
    }
}

/// SplitMix64: small, and no relative of the engine's stream.
#[derive(Clone)]
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    pub(crate) fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.roll() % bound
    }

    fn byte(&mut self, bound: u8) -> u8 {
        self.below(u64::from(bound)) as u8
    }

    fn pick<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len() as u64) as usize]
    }
}

/// Flags of honest connections, mostly, and of dishonest ones.
const FLAGS: [u8; 16] = [2, 2, 2, 18, 18, 16, 16, 16, 17, 17, 4, 20, 0, 3, 6, 41];

/// The next step of a story.
pub(crate) fn next(dice: &mut Dice) -> Step {
    match dice.below(100) {
        0..42 => {
            let kind = dice.pick(&[Kind::Tcp, Kind::Tcp, Kind::Udp, Kind::Udp, Kind::Icmp]);
            let tos = dice.byte(4) | dice.pick(&[0, 0, 46 << 2]);
            Step::Up {
                home: dice.byte(HOMES),
                b4: dice.pick(&[0, 0, 0, 0, 0, 0, 0, 1, 2]),
                host: dice.byte(HOSTS),
                port: dice.byte(PORTS),
                kind,
                flags: dice.pick(&FLAGS),
                remote: dice.byte(REMOTES),
                remote_port: dice.byte(2),
                ttl: dice.pick(&[64, 64, 64, 64, 255, 2, 1, 0]),
                tos,
                outer: if dice.below(4) == 0 { dice.byte(4) | 10 << 2 } else { tos },
            }
        }
        42..45 => Step::UpWrong { home: dice.byte(HOMES + 1), what: dice.byte(8) },
        45..65 => Step::Down {
            nth: dice.roll() as u8,
            flags: dice.pick(&FLAGS),
            remote: dice.byte(REMOTES),
            remote_port: dice.byte(2),
            ttl: dice.pick(&[64, 64, 64, 2, 1]),
            tos: dice.byte(4),
        },
        65..68 => Step::DownBlind {
            address: dice.byte(4),
            port: dice.roll() as u16,
            kind: dice.pick(&[Kind::Tcp, Kind::Udp, Kind::Icmp]),
            flags: dice.pick(&FLAGS),
        },
        68..77 => Step::Call {
            home: dice.byte(HOMES),
            b4: 0,
            host: dice.byte(HOSTS),
            port: dice.byte(PORTS),
            flags: dice.pick(&FLAGS),
            nth: dice.roll() as u8,
        },
        77..80 => Step::ErrorDown { nth: dice.roll() as u8, code: dice.byte(14) },
        80..82 => Step::ErrorUp { nth: dice.roll() as u8, code: dice.byte(14) },
        82 => Step::Local { home: dice.byte(HOMES) },
        83..86 => Step::Garbage { seed: dice.roll(), from_b4: dice.below(2) == 0 },
        86 => {
            if dice.below(20) == 0 {
                Step::Purge { home: dice.byte(HOMES) }
            } else {
                Step::Wait { millis: 1 }
            }
        }
        _ => Step::Wait { millis: wait(dice) },
    }
}

/// Waits are mostly short; some end around the timers of the RFCs.
fn wait(dice: &mut Dice) -> u32 {
    match dice.below(20) {
        0..12 => dice.below(2_000) as u32,
        12..16 => dice.below(60_000) as u32,
        16 => dice.pick(&[6, 60, 120, 240, 300]) * 1000 - 1000,
        17 => dice.pick(&[6, 60, 120, 240, 300]) * 1000 + 2000,
        18 => dice.below(1_000_000) as u32,
        _ => dice.pick(&[7_199, 7_202, 7_439, 7_442, 20_000]) * 1000,
    }
}
