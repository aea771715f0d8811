//! What a run says: tables of medians for people, every round for machines.

use serde::Serialize;

use super::about::{About, introduction, notes};
use super::figures::{LOSS, Quality};
use super::forwarders::Kind;
use super::results::{QualityScene, Results, Row, Share, ThroughputScene};
use super::stand::Way;
use super::table::{Style, Table, count, percent};

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
    let mut parts = vec![introduction(about, results, kinds, style)];
    parts.extend(results.throughput.iter().map(|scene| throughput(scene, kinds).render(style)));
    parts.extend(results.quality.iter().map(|scene| quality(scene).render(style)));
    parts.push(lossless(results).render(style));
    parts.push(new_flows(results, kinds).render(style));
    if !results.tcp.is_empty() {
        parts.push(tcp(about, results).render(style));
    }
    parts.push(notes(style));
    parts.join("\n")
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
    let cost = scene.sender_cost();
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
        let lost = row.median(Quality::lost);
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

fn lossless(results: &Results) -> Table {
    let names: Vec<&str> = results.lossless.iter().map(|scene| from(&[scene.way])).collect();
    let title = format!("The highest rate found at which at most {} of the packets are lost", percent(LOSS));
    let mut table = Table::new(title, &[&[""][..], &names].concat());
    for (at, row) in results.lossless.first().iter().flat_map(|scene| scene.rows.iter().enumerate()) {
        let rates = results.lossless.iter().map(|scene| scene.rows[at].median(|round| round.rate));
        table.row([row.forwarder.to_owned()].into_iter().chain(rates.map(count)).collect());
    }
    table
}

fn new_flows(results: &Results, kinds: &[Kind]) -> Table {
    let title = "From B4s, every packet opens a flow".to_owned();
    let mut table = Table::new(title, &["", "opened", "arrived", "flows/s", "CPU/flow", "per core"]);
    let alone = results.throughput.first().map_or(0.0, ThroughputScene::sender_cost);
    for row in &results.new_flows {
        let is_kernel = kinds.iter().any(|kind| kind.name() == row.forwarder && kind.is_kernel());
        let sender = if is_kernel { alone } else { 0.0 };
        let cost = (row.median(|round| round.ns) - sender).max(0.0);
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
