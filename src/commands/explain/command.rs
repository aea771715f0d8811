//! The command line of `aftr explain`.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use super::explanation::Explanation;
use super::input::{self, Captured, octets_of, packet_of};
use super::player::Player;
use super::{json, text};
use crate::commands::configuration::configuration;
use crate::commands::replay::{Ttl, merged, parse_seconds, side_of};
use crate::engine::{Instant, Seed};
use crate::io::pcap::Record;
use crate::wire::Side;

/// Arguments of `aftr explain`.
#[derive(Debug, clap::Args)]
#[command(
    override_usage = "aftr explain CONFIG --hex HEX [OPTIONS]\n       aftr explain CONFIG PCAP --packet N [OPTIONS]"
)]
#[command(group = clap::ArgGroup::new("what").required(true).args(["hex", "capture"]))]
pub struct Arguments {
    /// The configuration that the engine runs with
    #[arg(value_name = "CONFIG")]
    config: PathBuf,
    /// A capture of IP packets (pcap): those before the explained one are played first, with their times
    #[arg(value_name = "PCAP", requires = "packet")]
    capture: Option<PathBuf>,
    /// The packet of the capture to explain, from 1
    #[arg(long, value_name = "N", value_parser = parse_number, allow_negative_numbers = true)]
    #[arg(requires = "capture", conflicts_with = "hex")]
    packet: Option<usize>,
    /// The packet to explain, in hexadecimal digits from its IP header on
    #[arg(long, value_name = "HEX")]
    hex: Option<String>,
    /// The side that it came from; without this, IPv6 comes from a B4 and IPv4 from the Internet
    #[arg(long, value_enum, value_name = "SIDE")]
    side: Option<CameFrom>,
    /// Play this capture first; several are merged by time
    #[arg(long, value_name = "PCAP")]
    after: Vec<PathBuf>,
    /// With --hex, the packet comes this many seconds after the first one that is played; without this, at
    /// the moment of the last one
    #[arg(long, value_name = "SECONDS", value_parser = parse_seconds, allow_negative_numbers = true)]
    #[arg(conflicts_with = "capture")]
    at: Option<Instant>,
    /// The seed of every random choice
    #[arg(long, value_name = "NUMBER", default_value_t = 0)]
    seed: u64,
    /// Who takes one from the TTL of what crosses
    #[arg(long, value_enum, value_name = "WHO", default_value = "engine")]
    ttl: Ttl,
    /// For machines: one JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum CameFrom {
    /// The access network
    B4,
    /// The other one
    Internet,
}

/// Explains one packet.
///
/// # Errors
/// A configuration or a packet that is wrong, with its place and its cure.
pub fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    let config = configuration(&arguments.config, "CONFIG comes first, then PCAP or --hex")?;
    let mut played = merged(&arguments.after, &config)?;
    let (bytes, at, cut_off) = match (&arguments.hex, &arguments.capture) {
        (Some(hex), _) => (octets_of(hex)?, None, 0),
        (None, capture) => {
            let capture = capture.as_deref().unwrap_or(std::path::Path::new(""));
            let Captured { before, packet, frame } =
                packet_of(capture, arguments.packet.unwrap_or(1), &config)?;
            if let Some(frame) = frame {
                eprintln!("aftr: {}: the packet is in frame {frame}", capture.display());
            }
            played.extend(before);
            (packet.bytes, Some(packet.at), packet.cut_off)
        }
    };
    let side = input::side_of(arguments.side.map(Side::from), &bytes)?;
    let origin = played.first().map(|first| first.at).or(at).unwrap_or(Duration::ZERO);
    let moment = |record: &Duration| Instant::ZERO + record.saturating_sub(origin);
    let mut player = Player::new(&config, arguments.ttl.into(), &Seed::from_number(arguments.seed));
    for Record { at, bytes, .. } in &played {
        player.play(side_of(bytes), moment(at), bytes);
    }
    let at = at.as_ref().map(moment).or(arguments.at).unwrap_or(player.now());
    let explanation = Explanation { cut_off, ..player.explain(side, at, &bytes) };
    if arguments.json {
        println!("{}", serde_json::to_string_pretty(&json::explanation_json(&explanation))?);
    } else {
        print!("{}", text::explanation_text(&explanation));
    }
    Ok(ExitCode::SUCCESS)
}

fn parse_number(text: &str) -> Result<usize, String> {
    text.parse().map_err(|_| "it wants the number of a packet, from 1".to_owned())
}

impl From<CameFrom> for Side {
    fn from(side: CameFrom) -> Side {
        match side {
            CameFrom::B4 => Side::B4,
            CameFrom::Internet => Side::Internet,
        }
    }
}
