//! The lines that tell each minute how things are: one of the whole, and one of each collector.

use std::fmt::Write;

use super::request::Snapshot;
use crate::attribution::wal::Health;
use crate::engine::{Counters, DropReason};
use crate::export::TargetStatus;
use crate::io::DeviceCounters;

/// Remembers the last snapshot, so that it can tell rates.
#[derive(Default)]
pub(super) struct Status {
    last: Option<Snapshot>,
}

/// What happened between two snapshots.
pub(super) struct Interval {
    pub(super) packets_per_second: u64,
    /// Reasons with what they dropped, the most frequent first: `drop.nat.nomap 7, drop.v6.acl 2`.
    pub(super) drops: String,
}

impl Status {
    /// Logs `now`, and gives the short form for the service manager.
    pub(super) fn report(
        &mut self,
        now: Snapshot,
        journal: Option<Health>,
        collectors: &[TargetStatus],
    ) -> String {
        let interval = self.since_last(&now);
        let gauges = now.gauges;
        tracing::info!(
            subscribers = gauges.subscribers,
            softwires = gauges.softwires,
            mappings = gauges.mappings,
            sessions = gauges.sessions,
            packets_per_second = interval.packets_per_second,
            drops = %interval.drops,
            unsent = now.losses.unsent,
            device = %losses(&now.device),
            strays = now.strays,
            between_workers_lost = now.losses.between_workers,
            waiting_lost = now.losses.waiting,
            events_lost = now.losses.events + now.counters.events_lost,
            journal = journal.map(|journal| tracing::field::display(health(&journal))),
            "status"
        );
        collectors.iter().for_each(report_collector);
        self.last = Some(now);
        format!(
            "{} subscribers, {} mappings, {} packets/s",
            gauges.subscribers, gauges.mappings, interval.packets_per_second
        )
    }

    fn since_last(&self, now: &Snapshot) -> Interval {
        let none = Counters::default();
        let before = self.last.as_ref().map_or(&none, |last| &last.counters);
        let since = self.last.as_ref().map_or(0, |last| last.at.millis());
        let millis = now.at.millis().saturating_sub(since).max(1);
        let packets = arrived(&now.counters) - arrived(before);
        Interval { packets_per_second: packets * 1000 / millis, drops: drops(before, &now.counters) }
    }
}

/// Of the journal, as [`Health`] has it; the alarm stands first.
fn health(journal: &Health) -> String {
    let Health { durable, pending, lost, syncs, write_errors, is_failing } = *journal;
    let alarm = if is_failing { "FAILING, " } else { "" };
    format!(
        "{alarm}durable {durable}, waiting {pending}, lost {lost}, syncs {syncs}, write_errors {write_errors}"
    )
}

/// What became of a collector's records since the start, and of its session now.
fn report_collector(one: &TargetStatus) {
    tracing::info!(
        collector = one.name,
        connected = one.is_connected,
        sent = one.sent,
        resent = one.resent,
        octets = one.octets,
        queued = one.queued,
        spool_octets = one.spool_octets,
        spool_failing = one.is_spool_failing,
        lost = one.loss.total(),
        breaks = one.breaks,
        refused = one.refused,
        "collector"
    );
}

/// What the device lost since the start, by reason.
fn losses(device: &DeviceCounters) -> String {
    let reasons = [
        ("receive_dropped", device.receive_dropped),
        ("unusable", device.unusable),
        ("unroutable", device.unroutable),
        ("unresolved", device.unresolved),
    ];
    let lost = reasons.iter().filter(|(_, count)| *count > 0);
    let text: Vec<String> = lost.map(|(name, count)| format!("{name} {count}")).collect();
    if text.is_empty() { "lost nothing".to_owned() } else { text.join(", ") }
}

fn arrived(counters: &Counters) -> u64 {
    counters.from_b4.packets + counters.from_internet.packets
}

fn drops(before: &Counters, now: &Counters) -> String {
    let mut reasons: Vec<(u64, &str)> = DropReason::ALL
        .iter()
        .map(|&reason| (now.dropped(reason) - before.dropped(reason), reason.name()))
        .filter(|&(count, _)| count > 0)
        .collect();
    reasons.sort_by_key(|&(count, _)| std::cmp::Reverse(count));
    let mut text = String::new();
    for (count, name) in reasons {
        let separator = if text.is_empty() { "" } else { ", " };
        let _ = write!(text, "{separator}{name} {count}");
    }
    if text.is_empty() { "none".to_owned() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::{Aftr, Config, Instant, Seed, TtlBy};
    use crate::wire::{Packet, Side};

    #[test]
    fn rates_and_drops_are_those_of_the_interval() {
        let config = Config::parse(
            "[softwire]\naftr-ipv6-addr = [\"2001:db8:aaaa::1\"]\nb4-prefixes = [\"2001:db8:b4::/48\"]\n\
             [[nat.external-ip-address-pool]]\npool-id = 1\nexternal-ip-pool = [\"198.51.100.1/32\"]\n",
        );
        let mut aftr =
            Aftr::new(&config.unwrap(), TtlBy::Engine, &Seed::from_number(1), Instant::from_secs(0));
        let mut at = |secs, short_from_b4, short_from_internet| {
            for (side, count) in [(Side::B4, short_from_b4), (Side::Internet, short_from_internet)] {
                for _ in 0..count {
                    aftr.packet(&mut Packet::copied_from(&[0], side), Instant::from_secs(secs));
                }
            }
            let (counters, gauges) = (aftr.counters().clone(), aftr.gauges());
            let at = Instant::from_secs(secs);
            Snapshot {
                at,
                counters,
                gauges,
                losses: Default::default(),
                strays: 0,
                device: Default::default(),
            }
        };
        let (first, second, third) = (at(10, 0, 50), at(20, 10, 20), at(30, 0, 0));
        let mut status = Status::default();
        assert_eq!(status.report(first, None, &[]), "0 subscribers, 0 mappings, 5 packets/s");
        let interval = status.since_last(&second);
        assert_eq!(interval.packets_per_second, 3);
        assert_eq!(interval.drops, "drop.x4.short 20, drop.v6.short 10");
        status.report(second, None, &[]);
        assert_eq!(status.since_last(&third).drops, "none");
    }

    #[test]
    fn the_journal_is_told_of_with_its_alarm_first() {
        let well = Health { durable: 7, pending: 1, lost: 0, syncs: 3, write_errors: 0, is_failing: false };
        assert_eq!(health(&well), "durable 7, waiting 1, lost 0, syncs 3, write_errors 0");
        let ill = Health { is_failing: true, lost: 2, write_errors: 9, ..well };
        assert_eq!(health(&ill), "FAILING, durable 7, waiting 1, lost 2, syncs 3, write_errors 9");
    }

    #[test]
    fn only_what_was_lost_is_named() {
        assert_eq!(losses(&DeviceCounters { sent: 7, ..DeviceCounters::default() }), "lost nothing");
        let lost = DeviceCounters { receive_dropped: 3, unresolved: 1, ..DeviceCounters::default() };
        assert_eq!(losses(&lost), "receive_dropped 3, unresolved 1");
    }
}
