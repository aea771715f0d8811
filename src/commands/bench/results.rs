//! What a run has found: every round of every measurement, and the medians that are compared.

use serde::Serialize;

use super::figures::{Lossless, NewFlows, Quality, Throughput};
use super::stand::Way;

/// Everything that a run has found.
#[derive(Debug, Default, Serialize)]
pub(super) struct Results {
    pub(super) throughput: Vec<ThroughputScene>,
    pub(super) new_flows: Vec<Row<NewFlows>>,
    pub(super) quality: Vec<QualityScene>,
    pub(super) lossless: Vec<LosslessScene>,
    pub(super) tcp: Vec<Row<TcpRates>>,
    /// What could not be measured on this host, and why.
    pub(super) skipped: Vec<String>,
}

/// One direction, or both at once, with packets of one size.
#[derive(Debug, Serialize)]
pub(super) struct ThroughputScene {
    pub(super) ways: Vec<Way>,
    /// Octets of an inner packet.
    pub(super) size: usize,
    /// The senders, when the kernel drops at once what they send.
    pub(super) sender_alone: Vec<Throughput>,
    pub(super) rows: Vec<Row<Throughput>>,
}

/// One direction at one share of what each forwarder can.
#[derive(Debug, Serialize)]
pub(super) struct QualityScene {
    pub(super) way: Way,
    pub(super) load: Share,
    pub(super) rows: Vec<Row<Quality>>,
}

/// One direction at the highest rate that loses next to nothing.
#[derive(Debug, Serialize)]
pub(super) struct LosslessScene {
    pub(super) way: Way,
    pub(super) rows: Vec<Row<Lossless>>,
}

/// How much is sent where loss and latency are looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Share {
    /// A thousand packets per second.
    Idle,
    /// Half of what this forwarder passed in this run.
    Half,
}

/// The rounds of one forwarder.
#[derive(Debug, Serialize)]
pub(super) struct Row<T> {
    pub(super) forwarder: &'static str,
    pub(super) rounds: Vec<T>,
}

/// Bits per second of TCP payload.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub(super) struct TcpRates {
    pub(super) one_up: f64,
    pub(super) one_down: f64,
    pub(super) many_up: f64,
    pub(super) many_down: f64,
}

impl<T> Row<T> {
    pub(super) fn of(forwarder: &'static str) -> Row<T> {
        Row { forwarder, rounds: Vec::new() }
    }

    /// The median of a figure over the rounds.
    pub(super) fn median(&self, figure: impl Fn(&T) -> f64) -> f64 {
        median(self.rounds.iter().map(figure))
    }
}

impl ThroughputScene {
    /// What a row's forwarder costs for each packet, in nanoseconds of CPU time: its threads, or, where the
    /// kernel forwards, what the senders take more than when they are alone, with ksoftirqd. Zero when it is not known.
    pub(super) fn cost(&self, row: &Row<Throughput>) -> f64 {
        let own = row.median(|round| round.forwarder_ns);
        // Of what forwards elsewhere the cost is not known here.
        if own > 0.0 || self.sender_alone.is_empty() {
            return own;
        }
        (row.median(|round| round.sender_ns) - self.sender_cost()).max(0.0)
            + row.median(|round| round.softirq_ns)
    }

    /// What a packet costs the senders when they are alone, in nanoseconds of CPU time.
    pub(super) fn sender_cost(&self) -> f64 {
        median(self.sender_alone.iter().map(|round| round.sender_ns))
    }

    /// A row by its forwarder's name.
    pub(super) fn row(&self, forwarder: &str) -> Option<&Row<Throughput>> {
        self.rows.iter().find(|row| row.forwarder == forwarder)
    }
}

/// The middle of some figures, or of the two in the middle; zero of none.
pub(super) fn median(figures: impl Iterator<Item = f64>) -> f64 {
    let mut figures: Vec<f64> = figures.collect();
    figures.sort_by(f64::total_cmp);
    let Some(last) = figures.len().checked_sub(1) else { return 0.0 };
    f64::midpoint(figures[last / 2], figures[last.div_ceil(2)])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_kernel_forwards_costs_what_the_sender_takes_more_than_alone() {
        let round = |sender_ns, forwarder_ns| Throughput { sender_ns, forwarder_ns, ..Throughput::default() };
        let scene = ThroughputScene {
            ways: vec![Way::FromB4],
            size: 46,
            sender_alone: vec![round(200.0, 0.0), round(300.0, 0.0), round(210.0, 0.0)],
            rows: vec![
                Row {
                    forwarder: "kernel",
                    rounds: vec![round(600.0, 0.0), round(900.0, 0.0), round(610.0, 0.0)],
                },
                Row { forwarder: "user", rounds: vec![round(500.0, 700.0)] },
            ],
        };
        assert!((scene.cost(&scene.rows[0]) - 400.0).abs() < 1e-6);
        assert!((scene.cost(&scene.rows[1]) - 700.0).abs() < 1e-6);
        assert!(scene.row("user").is_some() && scene.row("nobody").is_none());
    }

    #[test]
    fn the_median_is_the_middle() {
        assert!((median([3.0, 1.0, 2.0].into_iter()) - 2.0).abs() < 1e-9);
        assert!((median([4.0, 1.0, 2.0, 9.0].into_iter()) - 3.0).abs() < 1e-9);
        assert!(median([].into_iter()).abs() < 1e-9);
    }
}
