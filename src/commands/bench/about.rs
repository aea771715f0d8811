//! What must be known to read the figures: where and how a run was made, and how each of them is made.

use serde::Serialize;

use super::forwarders::Kind;
use super::meters::{Cpus, Softirqs};
use super::results::Results;
use super::table::Style;

/// Where and how a run was made.
#[derive(Debug, Serialize)]
pub(super) struct About {
    pub(super) version: &'static str,
    pub(super) kernel: String,
    pub(super) processor: String,
    /// CPUs that this process may use.
    pub(super) cpus: usize,
    pub(super) sender_cpus: [usize; 2],
    pub(super) forwarder_cpus: Vec<usize>,
    pub(super) other_cpu: usize,
    /// Processes that ran or waited for a CPU before the bench began, in the last minute.
    pub(super) load: f64,
    /// Whether ksoftirqd's CPU time can be read.
    pub(super) sees_ksoftirqd: bool,
    pub(super) b4s: u32,
    pub(super) flows: u32,
    pub(super) rounds: u32,
    pub(super) seconds: f64,
    pub(super) streams: usize,
    /// The AFTR that was driven, when it is none of this program's.
    pub(super) target: Option<String>,
}

impl About {
    /// Looks at this host.
    pub(super) fn this_host(cpus: &Cpus) -> About {
        let read = |path| std::fs::read_to_string(path).unwrap_or_default();
        let model = read("/proc/cpuinfo");
        let model = model.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
        let load = read("/proc/loadavg").split(' ').next().and_then(|load| load.parse().ok());
        About {
            version: env!("CARGO_PKG_VERSION"),
            kernel: rustix::system::uname().release().to_string_lossy().into_owned(),
            processor: model.map_or_else(|| "unknown".into(), |(_, name)| name.trim().to_owned()),
            cpus: std::thread::available_parallelism().map_or(1, usize::from),
            sender_cpus: cpus.senders,
            forwarder_cpus: cpus.forwarders.clone(),
            other_cpu: cpus.rest,
            load: load.unwrap_or(0.0),
            sees_ksoftirqd: Softirqs::find().are_visible(),
            b4s: 0,
            flows: 0,
            rounds: 0,
            seconds: 0.0,
            streams: 0,
            target: None,
        }
    }
}

/// How each figure is made.
const NOTES: &[(&str, &str)] = &[
    (
        "CPU/packet",
        "CPU time of the forwarder's own threads for each packet that arrived, and of those that the kernel has \
         for it (NAPI of a tun with offload, on any CPU), as the scheduler counts it; where the kernel forwards, \
         what the senders take more than when they are alone, and ksoftirqd. It contains the kernel's way to the \
         receiver.",
    ),
    (
        "per core",
        "what one CPU does at that cost; \"to bare\" and \"to routing\" compare it within the row's run.",
    ),
    (
        "busy",
        "how much of a CPU those threads had. Far below 100 % with loss: something else ran on their CPU. Below \
         100 % without loss: the senders were the limit; then compare CPU/packet, not arrived/s.",
    ),
    ("lost under flood", "what a full queue drops; it says nothing about the rate without loss."),
    (
        "sender alone",
        "the senders' rate and cost into an interface that drops at once. Senders and receivers are AF_PACKET; \
         what arrives is counted by the interface and dropped.",
    ),
    (
        "time on the way",
        "from just before a packet is handed to the kernel until its frame reaches the receiving interface, on \
         one clock; p50 to p99.9 of the packets in a round, median of the rounds.",
    ),
    (
        "the highest rate",
        "by halving between what was passed under flood and nothing (RFC 2544 section 26.1), packets of the first \
         size, a quarter of the time for each trial. On a busy machine it is what the others leave.",
    ),
    (
        "new flows",
        "UDP, each packet with a new source; from the first packet sent to the last that arrived, in namespaces \
         of their own. CPU/flow of what the kernel forwards is what the sender takes more than alone.",
    ),
    (
        "TCP",
        "the kernel's sockets at both ends. With a softwire there is a B4 in user space on the way, which may be \
         what limits: bare-tun is behind the same. Where the kernel forwards there is neither B4 nor tunnel. \
         bare-ring carries no TCP: what a local stack sends has no checksum yet, and up to 64 KiB.",
    ),
];

/// [`NOTES`], one after the other.
pub(super) fn notes(style: Style) -> String {
    let lines = NOTES.iter().map(|(term, note)| match style {
        Style::Terminal => wrapped(&format!("{term}: {note}")),
        Style::Markdown => format!("- **{term}**: {note}"),
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// Where and how, who forwards, and what was left out.
pub(super) fn introduction(about: &About, results: &Results, kinds: &[Kind], style: Style) -> String {
    let mut lines = vec![format!(
        "aftr {} on Linux {}, {}, {} CPUs: senders on {:?}, forwarders on {:?}, the rest on [{}]; load before: \
         {:.1}.",
        about.version,
        about.kernel,
        about.processor,
        about.cpus,
        about.sender_cpus,
        about.forwarder_cpus,
        about.other_cpu,
        about.load
    )];
    let rounds = if about.rounds == 1 {
        format!("one round of {} s", about.seconds)
    } else {
        format!(
            "medians of {} rounds of {} s, in which the forwarders take turns",
            about.rounds, about.seconds
        )
    };
    lines.push(format!("{} flows of {} B4s; {rounds}.", about.flows, about.b4s));
    if about.target.is_none() && about.forwarder_cpus.contains(&about.sender_cpus[0]) {
        lines.push(
            "There is one CPU for everything: rates are those of the whole, not of a forwarder.".into(),
        );
    }
    if !about.sees_ksoftirqd {
        lines.push("ksoftirqd is not visible here: what it forwards is counted for nobody.".into());
    }
    lines.push(String::new());
    let width = kinds.iter().map(|kind| kind.name().len()).max().unwrap_or(0);
    lines.extend(kinds.iter().map(|kind| match style {
        Style::Terminal => format!("  {:width$}  {}", kind.name(), kind.describe()),
        Style::Markdown => format!("- {}: {}", kind.name(), kind.describe()),
    }));
    let bullet = if style == Style::Terminal { "  " } else { "- " };
    lines.extend(about.target.iter().map(|target| format!("{bullet}{target}")));
    lines.extend(results.skipped.iter().map(|why| format!("{bullet}SKIPPED: {why}")));
    lines.push(String::new());
    lines.join("\n")
}

/// Lines of a terminal.
fn wrapped(text: &str) -> String {
    const WIDTH: usize = 110;
    let mut lines = String::new();
    let mut column = 0;
    for word in text.split(' ') {
        let length = word.chars().count();
        if column > 0 && column + 1 + length > WIDTH {
            lines.push_str("\n  ");
            column = 2;
        } else if column > 0 {
            lines.push(' ');
            column += 1;
        }
        lines.push_str(word);
        column += length;
    }
    lines
}
