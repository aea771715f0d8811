//! `aftr`: parses the command line and calls one command.

use std::process::ExitCode;

use aftr::commands::{attribute, b4, bench, check, exit_code, explain, journal, lab, replay, run};
use clap::{Parser, Subcommand};
use rustix::fs::Mode;

/// A DS-Lite AFTR (RFC 6333): terminates IPv4-in-IPv6 softwires from B4s and shares IPv4 addresses
/// among them.
#[derive(Debug, Parser)]
#[command(
    name = "aftr",
    version,
    arg_required_else_help = true,
    after_help = "Exit status: 0 done, 1 failed at work, 2 wrong command line or configuration, \
                  3 this host lacks something (the message says what, and the cure)."
)]
struct CommandLine {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the AFTR on this host
    Run(run::Arguments),
    /// Check a configuration and say what it makes: subscribers, ports, memory, advice
    Check(check::Arguments),
    /// Show everything working, in a network of its own; no root needed
    Lab(lab::Arguments),
    /// Measure this AFTR, or drive another: packets per second, CPU time, loss, latency, TCP
    Bench(bench::Arguments),
    /// Be a B4: for a host whose kernel has no ip6tnl
    B4(b4::Arguments),
    /// Run captures through the engine and say what becomes of each packet
    Replay(replay::Arguments),
    /// Explain one packet: every decision on its path, with its rule, and the verdict
    Explain(explain::Arguments),
    /// Say which subscriber held an external address and port at a moment, or why that cannot be said
    Attribute(attribute::Arguments),
    /// Check a journal, say what is in it, export it
    Journal(journal::Arguments),
}

fn main() -> ExitCode {
    // The journal, the record of queries and spools name subscribers: they are their owner's alone.
    rustix::process::umask(Mode::RWXG | Mode::RWXO);
    let outcome = match CommandLine::parse().command {
        Command::Run(arguments) => run::run(arguments),
        Command::Check(arguments) => check::run(arguments),
        Command::Lab(arguments) => lab::run(arguments),
        Command::Bench(arguments) => bench::run(arguments),
        Command::B4(arguments) => b4::run(arguments),
        Command::Replay(arguments) => replay::run(arguments),
        Command::Explain(arguments) => explain::run(arguments),
        Command::Attribute(arguments) => attribute::run(arguments),
        Command::Journal(arguments) => journal::run(arguments),
    };
    outcome.unwrap_or_else(|error| {
        eprintln!("aftr: {error:#}");
        exit_code(&error)
    })
}
