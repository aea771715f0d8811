//! What a run says: tables of medians for people, every round for machines.

use serde::Serialize;

use super::forwarders::Kind;
use super::meters::{Cpus, Softirqs};
use super::results::{QualityScene, Results, Row, Share, ThroughputScene};
use super::stand::Way;
use super::table::{Style, Table, count, percent};

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

/// One document: where, how, and every round.
pub(super) fn json(about: &About, results: &Results) -> anyhow::Result<String> {
    #[derive(Serialize)]
    struct Document<'a> {
        about: &'a About,
        #[serde(flatten)]
        results: &'a Results,
    }
    Ok(serde_json::to_string_pretty(&Document { about, results })?)
}

/// The tables, with what must be known to read them.
pub(super) fn text(about: &About, results: &Results, kinds: &[Kind], style: Style) -> String {
    let mut parts = vec![introduction(about, results, kinds)];
    parts.extend(results.throughput.iter().map(|scene| throughput(scene, kinds).render(style)));
    parts.extend(results.quality.iter().map(|scene| quality(scene).render(style)));
    parts.push(new_flows(results).render(style));
    if !results.tcp.is_empty() {
        parts.push(tcp(about, results).render(style));
    }
    parts.push(NOTES.into());
    parts.join("\n")
}

const NOTES: &str = "\
CPU/packet: time of the forwarder's own threads for each packet that arrived, and of those that the kernel has
for it (NAPI of a tun with offload, on any CPU); where the kernel forwards, what the senders take more than when
they are alone, and ksoftirqd. It contains the kernel's way to the receiver.
per core: what one CPU does at that cost. busy: how much of a CPU those threads had; far below 100 %
with loss means that something else ran on it. Loss under flood is what a full queue drops; it says nothing
about the rate without loss.
Receivers are AF_PACKET and drop at once; the senders' own cost and rate, alone, stand in the last row: a
forwarder that loses nothing may be limited by them.
TCP with a softwire goes through a B4 in user space, which may be what limits: bare-tun is behind the same. Where the kernel forwards there is no B4 and no tunnel. bare-ring carries no TCP: what a
local stack sends has no checksum yet, and up to 64 KiB.
";

fn introduction(about: &About, results: &Results, kinds: &[Kind]) -> String {
    let mut lines = vec![
        format!(
            "aftr {} on Linux {}, {}, {} CPUs: senders on {:?}, forwarders on {:?}, the rest on [{}]; load before: {:.1}.",
            about.version,
            about.kernel,
            about.processor,
            about.cpus,
            about.sender_cpus,
            about.forwarder_cpus,
            about.other_cpu,
            about.load
        ),
        format!(
            "{} flows of {} B4s; medians of {} rounds of {} s, in which the forwarders take turns.",
            about.flows, about.b4s, about.rounds, about.seconds
        ),
    ];
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
    lines.extend(kinds.iter().map(|kind| format!("  {:width$}  {}", kind.name(), kind.describe())));
    lines.extend(about.target.clone());
    lines.extend(results.skipped.iter().map(|why| format!("  SKIPPED: {why}")));
    lines.push(String::new());
    lines.join("\n")
}

fn throughput(scene: &ThroughputScene, kinds: &[Kind]) -> Table {
    let title = format!("{}, packets of {} octets, as many as can be sent", from(&scene.ways), scene.size);
    let header =
        ["", "sent/s", "arrived/s", "lost", "busy", "CPU/packet", "per core", "to bare", "to routing"];
    let mut table = Table::new(title, &header);
    let compared = |kind: Option<Kind>, cost: f64| {
        let other = kind.and_then(|kind| scene.row(kind.name())).map(|row| scene.cost(row));
        other.filter(|_| cost > 0.0).map_or_else(|| "-".into(), |other| percent(other / cost))
    };
    for row in &scene.rows {
        let cost = scene.cost(row);
        let bare = kinds.iter().find(|kind| kind.name() == row.forwarder).and_then(|kind| kind.bare());
        let (offered, arrived) = (row.median(|round| round.offered), row.median(|round| round.arrived));
        let own = row.median(|round| round.forwarder_ns * round.arrived / 1e9);
        table.row(vec![
            row.forwarder.into(),
            count(offered),
            count(arrived),
            percent(row.median(|round| round.lost())),
            if own > 0.0 { percent(own) } else { "-".into() },
            if cost > 0.0 { format!("{cost:.0} ns") } else { "-".into() },
            if cost > 0.0 { count(1e9 / cost) } else { "-".into() },
            compared(bare, cost),
            compared(Some(Kind::Routing), cost),
        ]);
    }
    if scene.sender_alone.is_empty() {
        return table;
    }
    let alone = Row { forwarder: "sender alone", rounds: scene.sender_alone.clone() };
    let cost = alone.median(|round| round.sender_ns);
    let dash = || "-".to_owned();
    let offered = count(alone.median(|round| round.offered));
    let per_core = if cost > 0.0 { count(1e9 / cost) } else { dash() };
    table.row(vec![
        alone.forwarder.into(),
        offered,
        dash(),
        dash(),
        dash(),
        format!("{cost:.0} ns"),
        per_core,
        dash(),
        dash(),
    ]);
    table
}

fn quality(scene: &QualityScene) -> Table {
    let load = match scene.load {
        Share::Idle => "a thousand packets per second",
        Share::Half => "half of what the forwarder passed",
    };
    let title = format!("{}, {load}: loss, and time on the way", from(&[scene.way]));
    let header = ["", "packets/s", "lost", "doubled", "late", "p50", "p99", "p99.9", "longest"];
    let mut table = Table::new(title, &header);
    for row in &scene.rows {
        let micros = |figure: f64| format!("{figure:.0} us");
        let lost = row.median(|round| {
            let sent = round.sent.max(1) as f64;
            (round.sent as f64 - (round.arrived + round.overrun) as f64).max(0.0) / sent
        });
        table.row(vec![
            row.forwarder.into(),
            count(row.median(|round| round.rate)),
            format!("{:.2} %", lost * 100.0),
            count(row.median(|round| round.doubled as f64)),
            count(row.median(|round| round.late as f64)),
            micros(row.median(|round| round.p50)),
            micros(row.median(|round| round.p99)),
            micros(row.median(|round| round.p999)),
            micros(row.median(|round| round.longest)),
        ]);
    }
    table
}

fn new_flows(results: &Results) -> Table {
    let title = "From B4s, every packet opens a flow".to_owned();
    let mut table = Table::new(title, &["", "opened", "arrived", "flows/s", "CPU/flow", "per core"]);
    for row in &results.new_flows {
        let cost = row.median(|round| round.ns);
        table.row(vec![
            row.forwarder.into(),
            count(row.median(|round| round.opened as f64)),
            count(row.median(|round| round.arrived as f64)),
            count(row.median(|round| round.per_second)),
            if cost > 0.0 { format!("{cost:.0} ns") } else { "-".into() },
            if cost > 0.0 { count(1e9 / cost) } else { "-".into() },
        ]);
    }
    table
}

fn tcp(about: &About, results: &Results) -> Table {
    let title = format!("TCP payload in bit/s: one stream, and {}", about.streams);
    let mut table = Table::new(title, &["", "one up", "one down", "many up", "many down"]);
    for row in &results.tcp {
        table.row(vec![
            row.forwarder.into(),
            count(row.median(|round| round.one_up)),
            count(row.median(|round| round.one_down)),
            count(row.median(|round| round.many_up)),
            count(row.median(|round| round.many_down)),
        ]);
    }
    table
}

fn from(ways: &[Way]) -> &'static str {
    match ways {
        [Way::FromB4] => "From B4s",
        [Way::FromInternet] => "From the Internet",
        _ => "From both sides at once",
    }
}
