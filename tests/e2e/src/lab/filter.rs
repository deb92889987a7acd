//! What the kernel's packet filter does in a lab: drop silently, and count.
//!
//! Each namespace that needs it has one `nft` that stays and answers in less than a millisecond, so that a cut falls at
//! a known moment and counters can be read between two frames.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::Ipv4Addr;
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Stdio};

use serde_json::Value;

use super::net::Net;

/// One direction between two hosts: from, to.
pub(super) type Line = (Ipv4Addr, Ipv4Addr);

/// The lines that are cut at the bridge, and how many packets each has cost.
#[derive(Debug)]
pub(super) struct Cuts {
    nft: Nft,
    /// What lines had dropped when they were healed.
    healed: BTreeMap<Line, u64>,
}

impl Cuts {
    /// `hub`: the namespace of the bridge.
    pub(super) fn open(hub: &str) -> Result<Self, String> {
        let mut nft = Nft::open(hub)?;
        nft.ask(&[
            "add table bridge lab",
            "add set bridge lab cut { type ipv4_addr . ipv4_addr; counter; }",
            "add chain bridge lab forward { type filter hook forward priority 0; }",
            "add rule bridge lab forward ip saddr . ip daddr @cut drop",
            LIST_CUT,
        ])?;

        Ok(Self {
            nft,
            healed: BTreeMap::new(),
        })
    }

    /// Drops silently what goes along these lines, all from the same moment on.
    pub(super) fn cut(&mut self, lines: &[Line]) {
        self.change("add", lines);
    }

    /// Lets it through again.
    pub(super) fn heal(&mut self, lines: &[Line]) {
        let standing = self.standing();
        let cut: Vec<Line> = lines
            .iter()
            .copied()
            .filter(|line| standing.contains_key(line))
            .collect();
        if cut.is_empty() {
            return;
        }
        self.change("delete", &cut);
        for line in cut {
            *self.healed.entry(line).or_default() += standing[&line];
        }
    }

    /// Packets that were dropped on this line so far.
    pub(super) fn dropped(&mut self, line: Line) -> u64 {
        let before = self.healed.get(&line).copied().unwrap_or(0);

        before + self.standing().get(&line).copied().unwrap_or(0)
    }

    fn change(&mut self, verb: &str, lines: &[Line]) {
        let elements: Vec<String> = lines.iter().map(|(from, to)| format!("{from} . {to}")).collect();
        let command = format!("{verb} element bridge lab cut {{ {} }}", elements.join(", "));
        let listed = self.nft.must(&[&command, LIST_CUT]);
        let standing = cut_lines(&listed);
        let wanted = verb == "add";
        assert!(
            lines.iter().all(|line| standing.contains_key(line) == wanted),
            "{command} left {listed}"
        );
    }

    fn standing(&mut self) -> BTreeMap<Line, u64> {
        cut_lines(&self.nft.must(&[LIST_CUT]))
    }
}

fn cut_lines(listed: &Value) -> BTreeMap<Line, u64> {
    let sets = objects(listed, "set");
    let elements = sets.flat_map(|set| set["elem"].as_array().cloned().unwrap_or_default());

    elements
        .map(|element| {
            let element = &element["elem"];
            let end = |at: usize| {
                let text = element["val"]["concat"][at].as_str();
                text.and_then(|text| text.parse().ok())
                    .expect("nft lists addresses")
            };
            let packets = element["counter"]["packets"].as_u64();

            ((end(0), end(1)), packets.expect("every element counts"))
        })
        .collect()
}

/// Counters of what a host receives, kept by its kernel before any process sees it.
#[derive(Debug)]
pub struct Meter {
    nft: Nft,
}

impl Meter {
    /// `rules`: a name, and what nft matches for it.
    pub(super) fn open(namespace: &str, rules: &[(&str, String)]) -> Result<Self, String> {
        let mut nft = Nft::open(namespace)?;
        let mut commands = vec![
            "add table inet lab".to_owned(),
            "add chain inet lab input { type filter hook input priority 0; }".to_owned(),
        ];
        for (name, matched) in rules {
            commands.push(format!("add counter inet lab {name}"));
            commands.push(format!("add rule inet lab input {matched} counter name {name}"));
        }
        commands.push(LIST_COUNTERS.to_owned());
        let commands: Vec<&str> = commands.iter().map(String::as_str).collect();
        nft.ask(&commands)?;

        Ok(Self { nft })
    }

    /// Packets by the name of the rule that they matched.
    pub fn read(&mut self) -> BTreeMap<String, u64> {
        let listed = self.nft.must(&[LIST_COUNTERS]);
        let counters = objects(&listed, "counter").map(|counter| {
            let name = counter["name"].as_str().expect("a counter has a name").to_owned();
            (name, counter["packets"].as_u64().expect("a counter counts"))
        });

        counters.collect()
    }
}

/// The objects of one kind in a listing.
fn objects<'a>(listed: &'a Value, kind: &'a str) -> impl Iterator<Item = &'a Value> {
    let all = listed["nftables"].as_array().into_iter().flatten();

    all.filter_map(move |object| object.get(kind))
}

/// A conversation with an `nft` in a namespace.
#[derive(Debug)]
struct Nft {
    child: Child,
    say: ChildStdin,
    hear: BufReader<ChildStdout>,
}

impl Nft {
    fn open(namespace: &str) -> Result<Self, String> {
        let spawned = Net::inside(namespace, Path::new("sh"))
            .args(["-c", "exec nft -j -i 2>&1"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn();
        let mut child = spawned.map_err(|error| format!("nft: {error}"))?;
        let say = child.stdin.take().expect("it was piped");
        let hear = BufReader::new(child.stdout.take().expect("it was piped"));

        Ok(Self { child, say, hear })
    }

    /// Gives commands of which the last one lists something, and returns that. Each takes effect by itself; what nft
    /// says besides is an error.
    fn ask(&mut self, commands: &[&str]) -> Result<Value, String> {
        let asked = commands.join("\n") + "\n";
        self.say
            .write_all(asked.as_bytes())
            .map_err(|error| format!("nft does not listen: {error}"))?;
        let mut said = String::new();
        loop {
            let mut line = String::new();
            let length = self
                .hear
                .read_line(&mut line)
                .map_err(|error| error.to_string())?;
            match serde_json::from_str(&line) {
                Ok(listed) if said.is_empty() => return Ok(listed),
                Err(_) if length > 0 => said += &line,
                Ok(_) | Err(_) => return Err(format!("nft, asked to {asked:?}, said: {said}")),
            }
        }
    }

    fn must(&mut self, commands: &[&str]) -> Value {
        self.ask(commands).unwrap_or_else(|said| panic!("{said}"))
    }
}

impl Drop for Nft {
    fn drop(&mut self) {
        // What has ended already needs no end.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

const LIST_CUT: &str = "list set bridge lab cut";
const LIST_COUNTERS: &str = "list counters";
