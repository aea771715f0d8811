//! The containerlab topology without containers: its nodes are network namespaces, its links are pairs of
//! interfaces, its mounted files and `exec` lines are the real ones. A topology that is broken fails here.
//!
//! A process must be alone to enter a user namespace, so this test has no harness.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::Path;
use std::process::{Child, Command};
use std::time::Duration;

use aftr::commands::lab::hosts;
use aftr::commands::lab::topology::{Node, Topology};
use anyhow::{Context, bail, ensure};
use serde_yaml_ng::Value;

const FOLDER: &str = "containerlab/overlapping-b4s";

fn main() {
    if std::env::args().any(|argument| argument == "--list") {
        return;
    }
    let tools = ["ip", "sysctl", "sh"];
    let missing = tools
        .iter()
        .find(|tool| Command::new("which").arg(tool).output().is_ok_and(|found| !found.status.success()));
    let skip = missing
        .map(|tool| format!("`{tool}` is missing"))
        .or_else(|| Topology::isolate().err().map(|e| format!("{e:#}")));
    if let Some(why) = skip {
        println!("SKIPPED: containerlab: {why}");
        assert!(std::env::var_os("AFTR_NOTHING_SKIPPED").is_none(), "nothing may be skipped here");
        println!("test result: ok. 0 passed; 0 failed; 1 ignored");
        return;
    }
    let mut lab = Lab::default();
    let outcome = lab.deploy().and_then(|()| lab.check());
    lab.destroy();
    match outcome {
        Ok(()) => println!("test {FOLDER} ... ok\n\ntest result: 1 passed; 0 failed"),
        Err(error) => {
            println!("test {FOLDER} ... FAILED: {error:#}\n\ntest result: 0 passed; 1 failed");
            std::process::exit(1);
        }
    }
}

/// A deployed topology.
#[derive(Default)]
struct Lab {
    nodes: BTreeMap<String, Node>,
    daemons: Vec<(String, Child)>,
}

impl Lab {
    fn deploy(&mut self) -> anyhow::Result<()> {
        let text = std::fs::read_to_string(format!("{FOLDER}/topology.clab.yml"))?;
        let document: Value = serde_yaml_ng::from_str(&text)?;
        let topology = &document["topology"];
        let nodes = topology["nodes"].as_mapping().context("topology.nodes")?;
        for name in nodes.keys() {
            let name = name.as_str().context("a node's name")?;
            self.nodes.insert(name.to_owned(), Node::new(name)?);
        }
        for link in topology["links"].as_sequence().context("topology.links")? {
            let ends: Vec<&str> = link["endpoints"]
                .as_sequence()
                .context("endpoints")?
                .iter()
                .filter_map(Value::as_str)
                .collect();
            self.link(&ends).with_context(|| format!("link {ends:?}"))?;
        }
        for (name, node) in nodes {
            let name = name.as_str().unwrap_or_default();
            let binds = strings(&node["binds"])?;
            for line in strings(&node["exec"])? {
                self.exec(name, &with_files(&line, &binds)?).with_context(|| format!("{name}: {line}"))?;
            }
        }
        Ok(())
    }

    /// `node:interface` at both ends.
    fn link(&self, ends: &[&str]) -> anyhow::Result<()> {
        let [one, other] = ends else { bail!("two endpoints are needed") };
        let split = |end: &str| -> anyhow::Result<(&Node, String)> {
            let (node, interface) = end.split_once(':').context("node:interface")?;
            Ok((self.nodes.get(node).context("an unknown node")?, interface.to_owned()))
        };
        let ((one, one_end), (other, other_end)) = (split(one)?, split(other)?);
        let other_path = other.path();
        shell(one, &format!("ip link add {one_end} type veth peer name {other_end} netns {other_path}"))?;
        shell(one, &format!("ip link set {one_end} up"))?;
        shell(other, &format!("ip link set {other_end} up"))
    }

    /// Runs a line as containerlab does after the links are there. What ends in `&` stays.
    fn exec(&mut self, name: &str, line: &str) -> anyhow::Result<()> {
        let node = &self.nodes[name];
        let Some(daemon) = line.strip_prefix("sh -c \"").and_then(|line| line.strip_suffix("&\"")) else {
            return shell(node, line);
        };
        // Logs go where the test's own output goes.
        let command = daemon.split('>').next().unwrap_or(daemon);
        let child = node.run(|| command_line(&format!("exec {command}")).spawn())??;
        self.daemons.push((format!("{name}: {command}"), child));
        Ok(())
    }

    fn check(&mut self) -> anyhow::Result<()> {
        let internet = Ipv4Addr::new(203, 0, 113, 1);
        for (identifier, lan) in (1..).zip(["lan-1", "lan-2"]) {
            let node = self.nodes.get(lan).context("a LAN node")?;
            let mut tries = (0..20).map(|_| {
                std::thread::sleep(Duration::from_millis(100));
                hosts::ping(node, internet, identifier, 64)
            });
            let answered = tries.find(|answer| answer.as_ref().is_ok_and(|echo| echo.from == internet));
            ensure!(answered.is_some(), "{lan} gets no answer from {internet}");
        }
        for (name, child) in &mut self.daemons {
            ensure!(child.try_wait()?.is_none(), "{name} has ended");
        }
        Ok(())
    }

    fn destroy(&mut self) {
        for (_, child) in &mut self.daemons {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn strings(list: &Value) -> anyhow::Result<Vec<String>> {
    let list = list.as_sequence().map_or(&[][..], Vec::as_slice);
    list.iter().map(|item| Ok(item.as_str().context("a text")?.to_owned())).collect()
}

/// A command with the files that are mounted into its node, where they are here.
fn with_files(line: &str, binds: &[String]) -> anyhow::Result<String> {
    let mut line = line.to_owned();
    for bind in binds {
        let (file, inside) = bind.split_once(':').context("file:place")?;
        let inside = inside.trim_end_matches(":ro");
        let here =
            Path::new(FOLDER).join(file).canonicalize().with_context(|| format!("mounted file {file}"))?;
        line = line.replace(inside, &here.to_string_lossy());
    }
    Ok(line)
}

fn shell(node: &Node, line: &str) -> anyhow::Result<()> {
    let status = node.run(|| command_line(line).status())??;
    ensure!(status.success(), "`{line}` failed");
    Ok(())
}

/// A shell that finds the built program.
fn command_line(line: &str) -> Command {
    let program = Path::new(env!("CARGO_BIN_EXE_aftr"));
    let folder = program.parent().map(|folder| folder.to_string_lossy().into_owned()).unwrap_or_default();
    let path = std::env::var("PATH").unwrap_or_default();
    let mut command = Command::new("sh");
    command.arg("-c").arg(line).env("PATH", format!("{folder}:{path}"));
    command
}
