//! How many errors and answers of its own the AFTR may send (RFC 1812 section 4.3.2.8, RFC 4443 section
//! 2.4 f): purses that fill again with time. What is sent while time passes is sent some time or other, so
//! what is missing in a purse lies between two bounds.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use aftr_config::IcmpLimits;

use crate::model::Time;

/// Whose, or for what.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Purse {
    /// ICMPv4 to one home, and to all.
    Home(u128),
    Homes,
    /// ICMPv4 to one host on the Internet, and to all.
    Recipient(Ipv4Addr),
    Internet,
    /// What the access network says was lost.
    Tunnel,
    /// Unsolicited SYNs of the Internet.
    Syns,
    /// ICMPv6 to one home, and to all.
    Home6(u128),
    Homes6,
    /// Answers to pings.
    Echoes(u128),
}

impl Purse {
    pub(crate) fn of_home(home: u128) -> Vec<Purse> {
        vec![Purse::Home(home), Purse::Homes]
    }

    pub(crate) fn of_home6(home: u128) -> Vec<Purse> {
        vec![Purse::Home6(home), Purse::Homes6]
    }

    pub(crate) fn of_recipient(to: Ipv4Addr) -> Vec<Purse> {
        vec![Purse::Recipient(to), Purse::Internet]
    }
}

/// Thousandths of a message that are missing, at least and at most, at some time.
#[derive(Debug, Clone, Copy, Default)]
struct Missing {
    least: u64,
    most: u64,
    at: Time,
}

#[derive(Debug)]
pub(crate) struct Limits {
    limits: IcmpLimits,
    purses: BTreeMap<Purse, Missing>,
}

impl Limits {
    pub(crate) fn new(limits: IcmpLimits) -> Limits {
        Limits { limits, purses: BTreeMap::new() }
    }

    /// Messages in a second, and thousandths that fit at most.
    fn rate(&self, purse: Purse) -> (u64, u64) {
        let limits = &self.limits;
        let (rate, burst) = match purse {
            Purse::Home(_) => (limits.per_subscriber_rate, limits.per_subscriber_burst),
            Purse::Homes => (limits.to_b4_rate, limits.to_b4_rate),
            Purse::Internet => (limits.to_internet_rate, limits.to_internet_rate),
            Purse::Recipient(_) | Purse::Tunnel => {
                let share = (limits.to_internet_rate / 5).max(1);
                (share, share)
            }
            Purse::Syns => (limits.syn_reject_rate, limits.syn_reject_rate),
            Purse::Home6(_) => (limits.icmpv6_per_source_rate, limits.icmpv6_per_source_rate),
            Purse::Homes6 => (limits.icmpv6_rate, limits.icmpv6_rate),
            Purse::Echoes(_) => (limits.echo_per_b4_rate, limits.echo_per_b4_rate),
        };
        (rate.into(), u64::from(burst) * 1000)
    }

    fn missing(&self, purse: Purse, now: Time) -> Missing {
        let known = self.purses.get(&purse).copied().unwrap_or_default();
        let back = (now - known.at) * self.rate(purse).0;
        Missing { least: known.least.saturating_sub(back), most: known.most.saturating_sub(back), at: now }
    }

    /// A message left now, or was kept back: each of these purses is asked for one, until one is empty.
    pub(crate) fn one(&mut self, purses: &[Purse], left: bool, now: Time) -> Result<(), String> {
        let mut may_have_failed = false;
        for &purse in purses {
            let (full, missing) = (self.rate(purse).1, self.missing(purse, now));
            let (may_give, may_refuse) = (missing.least + 1000 <= full, missing.most + 1000 > full);
            if left && !may_give {
                return Err(format!("an error left although {purse:?} misses {missing:?}"));
            }
            if !left && !may_give {
                return Ok(());
            }
            let is_sure = left || !(may_refuse || may_have_failed);
            let least = missing.least + if is_sure { 1000 } else { 0 };
            may_have_failed |= may_refuse;
            self.purses.insert(purse, Missing { least, most: (missing.most + 1000).min(full), at: now });
        }
        if left || may_have_failed { Ok(()) } else { Err(format!("kept back, and {purses:?} are not empty")) }
    }

    /// These left between `start` and now, one by one, and so many were kept back, of those that `may` leave.
    pub(crate) fn some(
        &mut self,
        left: &[Vec<Purse>],
        may: &[Vec<Purse>],
        kept_back: u64,
        (start, now): (Time, Time),
    ) -> Result<(), String> {
        let (left, may) = (counted(left), counted(may));
        let mut is_empty = false;
        for (&purse, &count) in &may {
            let (rate, full) = self.rate(purse);
            let (missing, back) = (self.missing(purse, start), (now - start) * rate);
            is_empty |= missing.most + count * 1000 > full;
            let taken = left.get(&purse).copied().unwrap_or(0) * 1000;
            let least = (missing.least + taken).saturating_sub(back);
            if least > full {
                return Err(format!("{taken} thousandths left although {purse:?} missed {missing:?}"));
            }
            let most = missing.most.saturating_sub(back) + taken + kept_back * 1000;
            self.purses.insert(purse, Missing { least, most: most.min(full), at: now });
        }
        if kept_back == 0 || is_empty { Ok(()) } else { Err(format!("{kept_back} kept back of {may:?}")) }
    }
}

fn counted(messages: &[Vec<Purse>]) -> BTreeMap<Purse, u64> {
    let mut count = BTreeMap::new();
    for &purse in messages.iter().flatten() {
        *count.entry(purse).or_insert(0) += 1;
    }
    count
}
