//! What no honest sender sends, and what is for the AFTR itself.

use aftr::engine::{DropReason, Verdict};
use aftr::wire::Side;

use crate::bed::{self, Inner, R1, T, encapsulate};
use crate::build;
use crate::dice::Dice;
use crate::ip::{End, Ip, set_word, sum};
use crate::judge::{Difference, Judge, agree};
use crate::left::Came;
use crate::limits::Purse;
use crate::pieces::Sender;
use crate::story::{Datagram, Kind, Outer};
use pnet_packet::ip::IpNextHeaderProtocol;

impl Judge {
    /// Where no packet may go, or from where none may come.
    pub(crate) fn up_wrong(&mut self, home: u8, what: u8) -> Result<(), Difference> {
        let b4 = build::b4_address(home, 0).to_string();
        let good = bed::udp(build::host_address(0), 5000, R1, 80);
        let wrap = |inner: &Inner| encapsulate(&b4, T, 0, 4, &[], &inner.bytes());
        let (bytes, reason) = match what {
            0 => (encapsulate(bed::X, T, 0, 4, &[], &good.bytes()), DropReason::V6Acl),
            1 => (wrap(&good.sent_by([8, 8, 8, 8].into())), DropReason::InSrc),
            2 => (wrap(&good.sent_to([127, 0, 0, 1].into())), DropReason::InDst),
            3 => (wrap(&good.sent_to([192, 168, 9, 9].into())), DropReason::InNoRoute),
            4 => (wrap(&bed::udp(build::host_address(0), 5000, R1, 0)), DropReason::L4Port0),
            5 => (wrap(&good.with_options(&[68, 4, 5, 0])), DropReason::InOpt),
            6 => {
                let mut gre = good;
                gre.protocol = IpNextHeaderProtocol(47);
                (wrap(&gre), DropReason::InProtocol)
            }
            _ => (encapsulate(&b4, "2001:db8:ff::77", 0, 4, &[], &good.bytes()), DropReason::V6Dst),
        };
        let mut came = self.offer(&bytes, Side::B4);
        if matches!(reason, DropReason::InNoRoute | DropReason::InProtocol) {
            let prefix = self.model.home_of(build::b4_address(home, 0));
            self.may_tell(&mut came, &Purse::of_home(prefix))?;
        }
        self.dropped_somehow(&came, reason)
    }

    /// Dropped for this reason; what is told about it was looked at before.
    fn dropped_somehow(&mut self, came: &Came, reason: DropReason) -> Result<(), Difference> {
        self.drops[reason as usize] += 1;
        let theirs = came.verdict;
        agree!(came.suppressed == 0, "an error about {reason:?} was kept back");
        agree!(theirs.drop_reason() == Some(reason), "expected {reason:?}, got {theirs:?}");
        Ok(())
    }

    pub(crate) fn garbage(&mut self, seed: u64, from_b4: bool) -> Result<(), Difference> {
        let mut dice = Dice(seed);
        let mut bytes: Vec<u8> = (0..dice.below(200)).map(|_| dice.roll() as u8).collect();
        if let Some(first) = bytes.first_mut() {
            *first = if from_b4 { 0x60 } else { 0x45 };
        }
        let side = if from_b4 { Side::B4 } else { Side::Internet };
        let came = self.offer(&bytes, side);
        match came.verdict.drop_reason() {
            Some(reason) => self.dropped_somehow(&came, reason),
            None => Err(format!("garbage became {:?}", came.verdict)),
        }
    }

    /// A good packet cut short, or with one bit turned where a checksum or an address shows it.
    pub(crate) fn mangled(&mut self, told: &Datagram, outer: &Outer, seed: u64) -> Result<(), Difference> {
        let Some(ip) = self.datagram(told, false) else { return Ok(()) };
        let mut dice = Dice(seed);
        let Some(b4) = build::b4_of(told.way) else {
            let mut bytes = ip.bytes.clone();
            spoil_inner(&mut bytes, ip.header(), &mut dice);
            // A longer header may have the right checksum by chance.
            let Err((_, reason)) = Ip::read(&bytes, 0) else { return Ok(()) };
            let came = self.offer(&bytes, Side::Internet);
            return self.dropped(&came, reason);
        };
        let Some(packet) = build::encapsulated(&ip, b4, outer, &self.model.config) else { return Ok(()) };
        let mut bytes = packet.bytes;
        let front = bytes.len() - ip.len();
        let reason = match dice.below(5) {
            0 => {
                bytes.truncate(dice.below(bytes.len() as u64) as usize);
                if bytes.len() < 40 { DropReason::V6Short } else { DropReason::V6Len }
            }
            1 => {
                bytes[0] ^= 1 << (4 + dice.below(4));
                DropReason::V6Short
            }
            2 if bytes.len() < 30_000 => {
                let longer = bytes.len() - 40 + 1 + dice.below(30_000) as usize;
                set_word(&mut bytes, 4, longer as u16);
                DropReason::V6Len
            }
            3 => {
                bytes[24 + dice.below(16) as usize] ^= 1 << dice.below(8);
                DropReason::V6Dst
            }
            _ => {
                let mut inner = bytes.split_off(front);
                turn_a_bit(&mut inner[..ip.header()], &mut dice);
                let Err((reason, _)) = Ip::read(&inner, 0) else { return Ok(()) };
                bytes.extend(inner);
                reason
            }
        };
        let came = self.offer(&bytes, Side::B4);
        self.dropped(&came, reason)
    }

    /// A host pings 192.0.0.1.
    pub(crate) fn local(&mut self, home: u8, length: u16) -> Result<(), Difference> {
        let (b4, host) = (build::b4_address(home, 0), build::host_address(0));
        let body: Vec<u8> = (0..length).map(|at| at as u8).collect();
        let request = build::message(host, [192, 0, 0, 1].into(), [8, 0, 0, 0, 0, 9, 0, 1], &body);
        let outer = Outer { class: 0, to_second: home.is_multiple_of(2), limit: 0, fragment: None };
        let Some(packet) = build::encapsulated(&request, b4, &outer, &self.model.config) else {
            return Ok(());
        };
        self.packet_from_b4(&packet)
    }

    pub(crate) fn local_reply(&mut self, came: &mut Came, ip: &Ip, sender: Sender) -> Result<(), Difference> {
        let is_echo = ip.kind() == Kind::Icmp && !ip.is_piece() && ip.payload()[..2] == [8, 0];
        if !is_echo {
            return self.dropped(came, DropReason::Local);
        }
        let (left, home) = (came.verdict == Verdict::Reply, self.model.home_of(sender.b4));
        self.model.limits.one(&[Purse::Echoes(home)], left, self.model.now)?;
        if !left {
            return self.dropped(came, DropReason::Local);
        }
        agree!(came.verdict == Verdict::Reply, "expected an answer, got {:?}", came.verdict);
        let mut reply = ip.clone();
        let at = reply.header();
        reply.bytes[at] = 0;
        reply.bytes[at + 2..at + 4].fill(0);
        let checksum = !sum(reply.payload());
        set_word(&mut reply.bytes, at + 2, checksum);
        let reply = reply.with_address(End::Source, ip.destination());
        let reply = reply.with_address(End::Destination, ip.source()).with_ttl(64);
        let softwire = self.model.softwire_at(sender.b4);
        let access = usize::from(self.model.config.softwire.access_mtu);
        let mtu = softwire.map_or(access, |softwire| self.model.path_mtu(softwire));
        let whole = self.encapsulated(&reply, sender.b4, sender.own);
        self.whole_left_to_b4(came, &whole, sender.b4, mtu, 0)
    }
}

fn spoil_inner(bytes: &mut Vec<u8>, header: usize, dice: &mut Dice) {
    if dice.below(2) == 0 {
        bytes.truncate(dice.below(bytes.len() as u64) as usize);
    } else {
        turn_a_bit(&mut bytes[..header], dice);
    }
}

fn turn_a_bit(bytes: &mut [u8], dice: &mut Dice) {
    let at = dice.below(bytes.len() as u64) as usize;
    bytes[at] ^= 1 << dice.below(8);
}
