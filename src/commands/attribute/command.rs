//! The command line of `aftr attribute`.

use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;

use super::{asker, batch, text};
use crate::attribution::fleet::{Address, Fleet};
use crate::attribution::query::{Answer, Archive, Question};
use crate::attribution::{Directory, note, note_fleet, parse_time};
use crate::commands::refusal::Refusal;
use crate::commands::ship::{Access, clickhouse};

/// Arguments of `aftr attribute`.
#[derive(Debug, clap::Args)]
#[command(
    override_usage = "aftr attribute ADDRESS PORT TIME --case REF [OPTIONS]\n       aftr attribute --batch FILE --case REF [OPTIONS]"
)]
pub struct Arguments {
    /// The external IPv4 address
    #[arg(value_name = "ADDRESS", required_unless_present = "batch", conflicts_with = "batch")]
    address: Option<Ipv4Addr>,
    /// The external port, or ICMP identifier; `-` where it is not known
    #[arg(value_name = "PORT", required_unless_present = "batch", value_parser = parse_port)]
    port: Option<Port>,
    /// The moment, as 2026-11-21T12:00:00Z; a fraction and an offset are allowed
    #[arg(value_name = "TIME", required_unless_present = "batch", value_parser = parse_time)]
    time: Option<u64>,
    /// tcp, udp, icmp, or a number
    #[arg(long, value_name = "PROTOCOL", value_parser = parse_protocol)]
    protocol: Option<u8>,
    /// How wrong the clock of whoever saw it may be, in seconds
    #[arg(long, value_name = "SECONDS", default_value = "1", value_parser = parse_uncertainty)]
    uncertainty: u64,
    /// The case that this is asked for; it is kept with the question
    #[arg(long, value_name = "REF")]
    case: Option<String>,
    /// Answer every line of a file: address,port,time,protocol,uncertainty; the last two may be left out
    #[arg(long, value_name = "FILE")]
    batch: Option<PathBuf>,
    /// For machines: one JSON object for each question
    #[arg(long)]
    json: bool,
    /// The directory of the journal; with --from only the record of queries is there
    #[arg(long, value_name = "DIR", default_value = "/var/lib/aftr/journal")]
    journal: PathBuf,
    /// Ask what was shipped: clickhouse://[user[:password]@]host[:port]/[database]; clickhouses:// with TLS
    #[arg(long, value_name = "URL")]
    from: Option<Address>,
    /// With --from: ask this AFTR only, and not each that may have had the address
    #[arg(long, value_name = "NAME", requires = "from")]
    aftr: Option<String>,
    #[command(flatten)]
    access: Access,
}

/// A port that is known or not.
#[derive(Debug, Clone, Copy)]
pub(super) struct Port(pub(super) Option<u16>);

/// Asks the journal or a fleet's tables, writes that down, and prints the answers.
///
/// # Errors
/// No case reference, a journal that cannot be read, a record of queries that cannot be written.
pub fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    let asker = asker(arguments.case.as_deref())?;
    let questions = questions(&arguments)?;
    let directory = Directory::new(&arguments.journal);
    let answers = match &arguments.from {
        None => ask_journal(&arguments, &directory, &questions)?,
        Some(from) => ask_fleet(&arguments, from, &questions)?,
    };
    let noted = match &arguments.from {
        None => note(&directory, &asker, &answers),
        Some(from) => note_fleet(&directory, &asker, &from.to_string(), &answers),
    };
    noted.with_context(|| {
        let audit = directory.audit();
        format!("cannot write the record of queries {}, so there is no answer", audit.display())
    })?;
    if arguments.json {
        answers.iter().for_each(|answer| println!("{}", answer.to_json()));
    } else if arguments.batch.is_some() {
        print!("{}", batch::csv(&answers));
    } else {
        answers.iter().for_each(|answer| print!("{}", text::answer_text(answer)));
    }
    Ok(ExitCode::SUCCESS)
}

fn ask_journal(
    arguments: &Arguments,
    directory: &Directory,
    questions: &[Question],
) -> anyhow::Result<Vec<Answer>> {
    let archive = Archive::open(directory)
        .with_context(|| format!("cannot read the journal {}", arguments.journal.display()))?;
    Ok(questions.iter().map(|question| archive.ask(question)).collect::<Result<_, _>>()?)
}

fn ask_fleet(arguments: &Arguments, from: &Address, questions: &[Question]) -> anyhow::Result<Vec<Answer>> {
    let fleet = Fleet::open(clickhouse(from, &arguments.access)?, arguments.aftr.as_deref())?;
    Ok(questions.iter().map(|question| fleet.ask(question)).collect::<Result<_, _>>()?)
}

fn questions(arguments: &Arguments) -> anyhow::Result<Vec<Question>> {
    if let Some(path) = &arguments.batch {
        let text =
            std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        return Ok(batch::questions(&text, arguments.uncertainty)?);
    }
    let (Some(address), Some(Port(port)), Some(time)) = (arguments.address, arguments.port, arguments.time)
    else {
        let why = "there is nothing to ask".to_owned();
        return Err(Refusal { why, cure: "give ADDRESS PORT TIME, or --batch FILE".to_owned() }.into());
    };
    let (uncertainty, protocol) = (arguments.uncertainty, arguments.protocol);
    Ok(vec![Question { address, port, time, uncertainty, protocol }])
}

pub(super) fn parse_port(text: &str) -> Result<Port, String> {
    match text {
        "-" => Ok(Port(None)),
        text => text
            .parse()
            .map(|port| Port(Some(port)))
            .map_err(|_| "write a port, 0 to 65535, or - when it is not known".to_owned()),
    }
}

pub(super) fn parse_protocol(text: &str) -> Result<u8, String> {
    match text {
        "tcp" => Ok(6),
        "udp" => Ok(17),
        "icmp" => Ok(1),
        text => text.parse().map_err(|_| "write tcp, udp, icmp, or a number up to 255".to_owned()),
    }
}

/// Seconds, with a fraction, as milliseconds.
pub(super) fn parse_uncertainty(text: &str) -> Result<u64, String> {
    /// A day: more is no uncertainty but another question.
    const MOST: f64 = 86_400.0;
    match text.parse::<f64>() {
        Ok(seconds) if (0.0..=MOST).contains(&seconds) => Ok((seconds * 1000.0).round() as u64),
        _ => Err(format!("write seconds, 0 to {MOST}")),
    }
}
