//! The table: on the terminal, and in `docs/performance.md` between two marks.

use crate::measure::{Expiry, Row};
use crate::packets::Transport;
use crate::peer;
use crate::workers::Figures;

const PAGE: &str = "docs/performance.md";
const START: &str = "<!-- engine: written by `cargo bench --bench engine -- --write` -->\n";
const END: &str = "<!-- engine: end -->\n";

pub(crate) const HEAD: &str = " mappings            from B4     to B4   instructions   new per s   bytes: used reserved     read   ratio";

pub(crate) fn line(row: &Row) -> String {
    let instructions = row.instructions.map_or("-".into(), |(up, down)| format!("{up} {down}"));
    format!(
        "{:>9} {} {:>4} {:>7.1} ns {:>6.1} ns {instructions:>14} {:>11.0} {:>13.0} {:>8.0} {:>5.1} ns {:>7.2}",
        row.size,
        row.shape.transport.name(),
        row.shape.length,
        row.from_b4,
        row.from_internet,
        row.new_per_second,
        row.bytes.resident,
        row.bytes.reserved,
        row.dependent_read,
        row.from_b4 / row.dependent_read,
    )
}

pub(crate) fn expiry(expiry: &Expiry) -> String {
    format!(
        "ending {} mappings and freeing their ports: {:.0} ns each, and packets waited {:.1} ms at most",
        expiry.mappings,
        expiry.ns_each,
        expiry.longest.as_secs_f64() * 1e3
    )
}

pub(crate) fn workers(figures: &Figures) -> String {
    format!(
        "{} mappings, UDP 46, both ways: one worker {:.2} M packets/s, two {:.2} M ({:.2} times); {} to a wrong one",
        figures.mappings,
        figures.one,
        figures.two,
        figures.two / figures.one,
        figures.strays,
    )
}

/// Puts the table into the page.
pub(crate) fn write(rows: &[Row], ended: &Expiry, pairs: &[Figures]) {
    let page = std::fs::read_to_string(PAGE).expect("the page");
    let (before, rest) = page.split_once(START).expect("the mark where the table starts");
    let (_, after) = rest.split_once(END).expect("the mark where it ends");
    let table: String = rows.iter().map(markdown).collect();
    let pairs: String = pairs.iter().map(pair).collect();
    let ended = capitalised(&expiry(ended));
    let page =
        format!("{before}{START}{MARKDOWN_HEAD}{table}\n{ended}.\n\n{WORKERS_HEAD}{pairs}{END}{after}");
    std::fs::write(PAGE, page).expect("a page that can be written");
}

const MARKDOWN_HEAD: &str = "\
| mappings | packet | from B4 / to B4, ns | VPP DS-Lite | VPP NAT44-EI | instructions | new per s | bytes each, used / reserved | one dependent read, ns | from B4 to that |
|---|---|---|---|---|---|---|---|---|---|
";

fn markdown(row: &Row) -> String {
    let is_udp = row.shape.transport == Transport::Udp;
    let peer = peer::of(row.size, row.shape.length).filter(|_| is_udp);
    let pair = |pair: Option<(u32, u32)>| pair.map_or("–".into(), |(up, down)| format!("{up} / {down}"));
    format!(
        "| {} | {} {} | **{:.0} / {:.0}** | {} | {} | {} | {:.1} M | {:.0} / {:.0} | {:.0} | {:.2} |\n",
        row.size,
        row.shape.transport.name(),
        row.shape.length,
        row.from_b4,
        row.from_internet,
        pair(peer.and_then(|peer| peer.ds_lite)),
        pair(peer.and_then(|peer| peer.nat44)),
        row.instructions.map_or("–".into(), |(up, down)| format!("{up} / {down}")),
        row.new_per_second / 1e6,
        row.bytes.resident,
        row.bytes.reserved,
        row.dependent_read,
        row.from_b4 / row.dependent_read,
    )
}

const WORKERS_HEAD: &str = "\
| mappings, UDP 46, both ways | one worker, M packets/s | two workers | times | packets to a wrong one |
|---|---|---|---|---|
";

fn pair(figures: &Figures) -> String {
    format!(
        "| {} | {:.2} | {:.2} | **{:.2}** | {} |\n",
        figures.mappings,
        figures.one,
        figures.two,
        figures.two / figures.one,
        figures.strays,
    )
}

fn capitalised(text: &str) -> String {
    let (first, rest) = text.split_at(1);
    first.to_uppercase() + rest
}
