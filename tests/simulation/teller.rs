//! Tells stories: what homes, hosts, servers, routers and vandals do, by chance. Pieces of a datagram are
//! told one by one, out of order, between other things; some twice, some never.

use crate::dice::Dice;
use crate::story::{Datagram, Fragment, HOMES, HOSTS, Kind, Outer, PORTS, Part, REMOTES, Step, Way};

/// Flags of honest connections, mostly, and of dishonest ones.
const FLAGS: [u8; 16] = [2, 2, 2, 18, 18, 16, 16, 16, 17, 17, 4, 20, 0, 3, 6, 41];

pub(crate) struct Teller {
    dice: Dice,
    /// Pieces that are yet to be sent.
    pending: Vec<Step>,
    number: u32,
}

impl Teller {
    pub(crate) fn new(seed: u64) -> Teller {
        Teller { dice: Dice(seed), pending: Vec::new(), number: 0 }
    }

    /// The next step of the story.
    pub(crate) fn next(&mut self) -> Step {
        if !self.pending.is_empty() && self.dice.below(8) < 5 {
            // The front ones first, mostly.
            let ahead = self.pending.len().min(if self.dice.one_in(4) { 16 } else { 3 });
            return self.pending.remove(self.dice.below(ahead as u64) as usize);
        }
        let dice = &mut self.dice;
        match dice.below(100) {
            0..65 => self.datagram(),
            65..67 => Step::UpWrong { home: dice.byte(HOMES + 1), what: dice.byte(8) },
            67..71 => {
                let (nth, code) = (dice.roll() as u8, dice.byte(14));
                let wrong = if dice.one_in(4) { dice.byte(5) } else { 0 };
                if dice.one_in(2) {
                    Step::ErrorDown { nth, code, wrong }
                } else {
                    Step::ErrorUp { nth, code, wrong }
                }
            }
            71..74 => Step::ErrorAbout {
                nth: dice.roll() as u8,
                kind: dice.pick(&[3, 3, 11, 12]),
                code: dice.byte(5),
                quoted: self.quoted(),
            },
            74..77 => self.tunnel_error(),
            77 => {
                let (home, length) = (dice.byte(HOMES), dice.pick(&[4, 4, 4, 60, 1400, 1460, 2000]));
                if dice.one_in(2) {
                    Step::Local { home, length }
                } else {
                    Step::Chain { home, what: dice.byte(14), length }
                }
            }
            78 => Step::Garbage { seed: dice.roll(), from_b4: dice.one_in(2) },
            79..81 => self.mangled(),
            81 => match dice.below(20) {
                0 => Step::Purge { home: dice.byte(HOMES) },
                1..3 => self.flood(),
                _ => Step::Wait { millis: 1 },
            },
            82..87 => Step::Wait { millis: dice.below(300) as u32 },
            _ => Step::Wait { millis: wait(dice) },
        }
    }

    fn quoted(&mut self) -> u16 {
        let dice = &mut self.dice;
        if dice.one_in(3) { dice.pick(&[28, 27, 36, 48, 1500]) } else { 40 + dice.byte(40) as u16 }
    }

    fn tunnel_error(&mut self) -> Step {
        let length = 40 + self.quoted();
        let dice = &mut self.dice;
        let (kind, code) =
            dice.pick(&[(2, 0), (2, 0), (2, 0), (1, 0), (1, 3), (3, 0), (3, 1), (4, 0), (4, 1)]);
        let parameter = match (kind, dice.below(4)) {
            (2, 0) => 1400,
            (2, 1) => dice.pick(&[1000, 1279, 1280, 1281, 1500, 9000, 70_000]),
            (2, _) => 1280 + dice.below(300) as u32,
            _ => dice.pick(&[44, 44, 40]),
        };
        let forged = if dice.one_in(4) { dice.byte(7) } else { 0 };
        Step::TunnelError { nth: dice.roll() as u8, kind, code, parameter, quoted: length, forged }
    }

    fn mangled(&mut self) -> Step {
        let datagram = self.any_datagram();
        Step::Mangled { datagram, outer: whole(datagram.tos), seed: self.dice.roll() }
    }

    /// A datagram, whole or the first of its pieces; the others are to follow.
    fn datagram(&mut self) -> Step {
        let mut datagram = self.any_datagram();
        let outer = self.outer(datagram.tos);
        let is_from_b4 = matches!(datagram.way, Way::Up { .. } | Way::Call { .. });
        let dice = &mut self.dice;
        if !dice.one_in(7) {
            return Step::Send { datagram, piece: None, outer };
        }
        // What is to be cut is longer, and few are not ordinary otherwise.
        datagram.ttl = datagram.ttl.max(dice.pick(&[3, 3, 3, 3, 3, 3, 3, 0]));
        let room = u64::from(datagram.length).max(40 + dice.below(60));
        datagram.length = room as u16;
        let inner = !is_from_b4 || dice.one_in(2);
        let pieces: Vec<Option<Part>> =
            if inner { self.parts(room + 12, true).into_iter().map(Some).collect() } else { vec![None] };
        for piece in pieces {
            let is_cut_again = is_from_b4 && (!inner || self.dice.one_in(6));
            let outers = if is_cut_again { self.fragments(room + 40, outer) } else { vec![outer] };
            self.pending.extend(outers.into_iter().map(|outer| Step::Send { datagram, piece, outer }));
        }
        self.next()
    }

    fn fragments(&mut self, length: u64, outer: Outer) -> Vec<Outer> {
        let id = if self.dice.one_in(8) { self.dice.below(4) as u32 } else { self.dice.roll() as u32 };
        let parts = self.parts(length, false);
        let mut fragments = Vec::new();
        for part in parts {
            let fragment = Fragment { id, part, is_forged: self.dice.one_in(30) };
            let class = if self.dice.one_in(20) { outer.class ^ self.dice.byte(4) } else { outer.class };
            fragments.push(Outer { fragment: Some(fragment), class, ..outer });
        }
        fragments
    }

    /// Parts of something of about this length, as they are sent.
    fn parts(&mut self, length: u64, is_inner: bool) -> Vec<Part> {
        let dice = &mut self.dice;
        let eights = length / 8;
        let many = if dice.one_in(40) { 70 } else { 1 + dice.below(4) };
        let mut cuts: Vec<u16> = (0..many.min(eights)).map(|_| (1 + dice.below(eights)) as u16 * 8).collect();
        if is_inner && dice.below(3) > 0 {
            // A TCP header in one piece.
            cuts.retain(|&cut| cut >= 24);
        }
        cuts.sort_unstable();
        cuts.dedup();
        let starts = [0].into_iter().chain(cuts.iter().copied());
        let ends = cuts.iter().copied().chain([u16::MAX]);
        let mut parts: Vec<Part> = starts.zip(ends).collect();
        let at = |dice: &mut Dice, parts: &[Part]| dice.below(parts.len() as u64) as usize;
        match dice.below(24) {
            // Out of order, or not.
            0..8 => parts.reverse(),
            8..10 => {
                let lost = at(dice, &parts);
                parts.remove(lost);
            }
            10..12 => {
                let twice = parts[at(dice, &parts)];
                parts.insert(at(dice, &parts), twice);
            }
            12 => {
                let (start, end) = parts[at(dice, &parts)];
                let overlap = dice.pick(&[
                    (start.saturating_sub(8), end),
                    (start, end.saturating_add(8)),
                    (start + 8, end),
                ]);
                parts.insert(at(dice, &parts), overlap);
            }
            13 => {
                let odd = at(dice, &parts);
                parts[odd].1 = parts[odd].1.saturating_sub(3);
            }
            14 => {
                let empty = at(dice, &parts);
                parts[empty].1 = parts[empty].0;
            }
            15 => parts.insert(0, (0, u16::MAX)),
            _ => {}
        }
        parts
    }

    /// More datagrams in pieces than a home may have, none of which becomes whole.
    fn flood(&mut self) -> Step {
        let mut datagram = self.any_datagram();
        let outer = self.outer(datagram.tos);
        let dice = &mut self.dice;
        datagram.ttl = 64;
        let is_large = dice.one_in(2);
        datagram.length = if is_large { 9000 + dice.below(3000) as u16 } else { 64 };
        let outside = matches!(datagram.way, Way::Up { .. } | Way::Call { .. }) && dice.one_in(2);
        let part = dice.pick(&[(0, 48), (48, u16::MAX), (32, u16::MAX)]);
        let (count, first) = (20 + dice.below(60), dice.roll() as u32);
        for nth in 0..count as u32 {
            self.number += 1;
            (datagram.number, datagram.id) = (self.number, datagram.id.wrapping_add(1));
            let id = first.wrapping_add(nth);
            let step = if outside {
                let fragment = Some(Fragment { id, part, is_forged: false });
                Step::Send { datagram, piece: None, outer: Outer { fragment, ..outer } }
            } else {
                Step::Send { datagram, piece: Some(part), outer }
            };
            self.pending.push(step);
        }
        Step::Wait { millis: 0 }
    }

    fn any_datagram(&mut self) -> Datagram {
        self.number += 1;
        let dice = &mut self.dice;
        let (b4, host, port) =
            (dice.pick(&[0, 0, 0, 0, 0, 0, 0, 0, 1, 2]), dice.byte(HOSTS), dice.byte(PORTS));
        let (remote, remote_port, nth) = (dice.byte(REMOTES), dice.byte(2), dice.roll() as u8);
        let home = dice.byte(HOMES);
        let way = match dice.below(100) {
            0..55 => Way::Up { home, b4, host, port, remote, remote_port },
            55..67 => Way::Call { home, b4: 0, host, port, nth },
            67..96 => Way::Down { nth, remote, remote_port },
            _ => Way::Blind { address: dice.byte(4), port: dice.roll() as u16 },
        };
        let length = match dice.below(60) {
            0 => dice.pick(&[1400, 1432, 1433, 1460, 1472, 1473, 1480, 2000]),
            1 => 1200 + dice.below(400) as u16,
            2 => {
                let most = dice.pick(&[600, 600, 600, 9000]);
                dice.below(most) as u16
            }
            // As much as an IPv4 packet holds, or nearly.
            3 if dice.one_in(50) => 65_495 + dice.below(20) as u16,
            3..8 => dice.below(80) as u16,
            _ => 8,
        };
        Datagram {
            number: self.number,
            way,
            kind: dice.pick(&[Kind::Tcp, Kind::Tcp, Kind::Udp, Kind::Udp, Kind::Icmp]),
            flags: dice.pick(&FLAGS),
            ttl: dice.pick(&[64, 64, 64, 64, 64, 64, 255, 2, 1, 0]),
            tos: dice.byte(4) | dice.pick(&[0, 0, 46 << 2]),
            length,
            ip_flags: dice.pick(&[0, 0, 0, 2, 2, 2, 2, 4, 6]),
            id: if dice.one_in(4) { dice.byte(3).into() } else { dice.roll() as u16 },
            options: if dice.one_in(12) { 1 + dice.byte(4) } else { 0 },
            is_damaged: dice.one_in(25),
        }
    }

    fn outer(&mut self, tos: u8) -> Outer {
        let dice = &mut self.dice;
        Outer {
            class: if dice.one_in(4) { dice.byte(4) | 10 << 2 } else { tos },
            to_second: dice.one_in(8),
            limit: if dice.one_in(6) { 1 + dice.byte(2) } else { 0 },
            fragment: None,
        }
    }
}

fn whole(tos: u8) -> Outer {
    Outer { class: tos, to_second: false, limit: 0, fragment: None }
}

/// Waits are mostly short; some end around the timers of the RFCs.
fn wait(dice: &mut Dice) -> u32 {
    match dice.below(20) {
        0..12 => dice.below(2_000) as u32,
        12..16 => dice.below(60_000) as u32,
        16 => dice.pick(&[2, 6, 10, 60, 120, 240, 300, 600]) * 1000 - 1000,
        17 => dice.pick(&[2, 6, 10, 60, 120, 240, 300, 600]) * 1000 + 2000,
        18 => dice.below(1_000_000) as u32,
        _ => dice.pick(&[7_199, 7_202, 7_439, 7_442, 20_000]) * 1000,
    }
}
