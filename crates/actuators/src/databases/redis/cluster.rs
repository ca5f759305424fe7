//! The cluster as one server sees it: the texts of `CLUSTER NODES`, `CLUSTER INFO` and `INFO`.
//!
//! Only reading; no server is asked here. What cannot be read is an error and never a default.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::slot::Range;

/// Identity of a node: 40 hexadecimal digits, kept in its nodes.conf.
pub type NodeId = String;

/// Fields of a text of `name:value` lines, as INFO and CLUSTER INFO print them.
pub fn fields(text: &str) -> BTreeMap<String, String> {
    text.lines()
        .filter_map(|line| line.trim_end().split_once(':'))
        .filter(|(name, _)| !name.starts_with('#'))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

/// Everybody whom a server knows, itself included.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct View {
    /// The server that was asked.
    pub me: NodeId,
    /// Nodes by identity.
    pub nodes: BTreeMap<NodeId, Node>,
}

/// A node in a view.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Node {
    /// Address; empty when the server knows none.
    pub ip: String,
    /// Port of clients.
    pub port: u16,
    /// Port of the cluster's bus.
    pub bus_port: u16,
    /// What the node announces as its host name.
    pub hostname: Option<String>,
    /// `master`, `slave`, `fail`, `fail?`, `handshake`, `noaddr`, ... without `myself`.
    pub flags: BTreeSet<String>,
    /// The primary of a replica.
    pub primary: Option<NodeId>,
    /// Configuration epoch of the node, or of its primary.
    pub epoch: u64,
    /// The bus connection to it stands.
    pub linked: bool,
    /// Slots that it serves.
    pub slots: Vec<Range>,
    /// Slots on their way (`[12->-ID]`, `[12-<-ID]`), as they were printed.
    pub moving: Vec<String>,
}

impl Node {
    /// Takes writes for its slots.
    pub fn is_primary(&self) -> bool {
        self.flags.contains("master")
    }

    /// A primary that serves slots, and so has a vote.
    pub fn votes(&self) -> bool {
        self.is_primary() && !self.slots.is_empty()
    }

    /// Neither failing, nor suspected, nor half-known.
    pub fn is_well(&self) -> bool {
        !["fail", "fail?", "handshake", "noaddr"]
            .iter()
            .any(|flag| self.flags.contains(*flag))
    }
}

impl View {
    /// Reads the answer to `CLUSTER NODES`.
    ///
    /// # Errors
    /// What could not be read, in words.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut me = None;
        let mut nodes = BTreeMap::new();
        for line in text.lines().filter(|line| !line.trim().is_empty()) {
            let (id, node, myself) =
                read(line).ok_or_else(|| format!("a line of CLUSTER NODES: {line:?}"))?;
            if myself {
                me = Some(id.clone());
            }
            nodes.insert(id, node);
        }
        Ok(Self {
            me: me.ok_or("CLUSTER NODES without a line of the server's own")?,
            nodes,
        })
    }

    /// The server that was asked, as it sees itself.
    pub fn myself(&self) -> Option<&Node> {
        self.nodes.get(&self.me)
    }

    /// Primaries that serve slots.
    pub fn voters(&self) -> impl Iterator<Item = (&NodeId, &Node)> {
        self.nodes.iter().filter(|(_, node)| node.votes())
    }

    /// Replicas of a primary.
    pub fn replicas_of<'a>(
        &'a self,
        primary: &'a str,
    ) -> impl Iterator<Item = (&'a NodeId, &'a Node)> {
        self.nodes
            .iter()
            .filter(move |(_, node)| node.primary.as_deref() == Some(primary))
    }
}

fn read(line: &str) -> Option<(NodeId, Node, bool)> {
    let mut words = line.split_whitespace();
    let id = words.next()?.to_owned();
    let (ip, port, bus_port, hostname) = address(words.next()?)?;
    let mut flags: BTreeSet<String> = words.next()?.split(',').map(str::to_owned).collect();
    let myself = flags.remove("myself");
    flags.remove("noflags");
    let primary = Some(words.next()?)
        .filter(|id| *id != "-")
        .map(str::to_owned);
    let (_ping, _pong) = (words.next()?, words.next()?);
    let epoch = words.next()?.parse().ok()?;
    let linked = words.next()? == "connected";
    let (mut slots, mut moving) = (Vec::new(), Vec::new());
    for word in words {
        if word.starts_with('[') {
            moving.push(word.to_owned());
        } else {
            let (from, to) = word.split_once('-').unwrap_or((word, word));
            slots.push((from.parse().ok()?, to.parse().ok()?));
        }
    }
    let node = Node {
        ip,
        port,
        bus_port,
        hostname,
        flags,
        primary,
        epoch,
        linked,
        slots,
        moving,
    };
    Some((id, node, myself))
}

/// `ip:port@bus`, from Redis 7.0 on with `,hostname`, from 7.2 on with further `,name=value`.
fn address(word: &str) -> Option<(String, u16, u16, Option<String>)> {
    let mut parts = word.split(',');
    let (place, bus_port) = match parts.next()?.split_once('@') {
        Some((place, bus)) => (place, bus.parse().ok()?),
        None => return None,
    };
    let (ip, port) = place.rsplit_once(':')?;
    let hostname = parts
        .next()
        .filter(|name| !name.is_empty() && !name.contains('='))
        .map(str::to_owned);
    Some((ip.to_owned(), port.parse().ok()?, bus_port, hostname))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As Redis 7.0.15, and Valkey 9 with its further fields, print it.
    const NODES: &str = "\
07c37dfeb235213a872192d90877d0cd55635b91 127.0.0.1:30004@31004,redis-3.redis slave e7d1eecce10fd6bb5eb35b9f99a514335d9ba9ca 0 1426238317239 4 connected
67ed2db8d677e59ec4a4cefb06858cf2a1a89fa1 127.0.0.1:30002@31002,,shard-id=aa,tls-port=0 master - 0 1426238316232 2 connected 5461-10922 [93-<-e7d1eecce10fd6bb5eb35b9f99a514335d9ba9ca]
e7d1eecce10fd6bb5eb35b9f99a514335d9ba9ca fd00::7:30001@31001 myself,master - 0 0 1 connected 0-5460 5462
292f8b365bb7edb5e285caf0b7e6ddc7265d2f4f :0@0 slave,fail?,noaddr 67ed2db8d677e59ec4a4cefb06858cf2a1a89fa1 1426238316232 1426238316232 2 disconnected
";

    #[test]
    fn a_view_is_what_the_server_printed() {
        let view = View::parse(NODES).unwrap();
        assert!(view.me.starts_with("e7d1"));
        let me = view.myself().unwrap();
        assert_eq!(
            (me.ip.as_str(), me.port, me.bus_port),
            ("fd00::7", 30001, 31001)
        );
        assert_eq!(me.slots, [(0, 5460), (5462, 5462)]);
        assert!(me.votes() && me.is_well());
        let replicas: Vec<_> = view.replicas_of(&view.me).collect();
        assert_eq!(replicas.len(), 1);
        assert_eq!(replicas[0].1.hostname.as_deref(), Some("redis-3.redis"));
        let other = &view.nodes["67ed2db8d677e59ec4a4cefb06858cf2a1a89fa1"];
        assert_eq!((other.hostname.as_deref(), other.moving.len()), (None, 1));
        let lost = &view.nodes["292f8b365bb7edb5e285caf0b7e6ddc7265d2f4f"];
        assert!(!lost.is_well() && !lost.linked && lost.ip.is_empty());
        assert_eq!(view.voters().count(), 2);
    }

    #[test]
    fn what_cannot_be_read_is_an_error() {
        for wrong in [
            "",
            "abc",
            "abc 1.2.3.4:1 master - 0 0 1 connected",
            &NODES[..60],
        ] {
            assert!(View::parse(wrong).is_err(), "{wrong}");
        }
        let nobody = NODES.replace("myself,", "");
        assert!(View::parse(&nobody).is_err());
    }

    #[test]
    fn fields_are_lines_with_a_colon() {
        let read = fields("# Replication\r\nrole:master\r\nslave0:ip=1.2.3.4,port=1\r\n\r\n");
        assert_eq!(read["role"], "master");
        assert_eq!(read["slave0"], "ip=1.2.3.4,port=1");
        assert_eq!(read.len(), 2);
    }
}
