//! Which node serves which hash slot.

use redis::Value;

use super::node::text_of;

/// Slots of a cluster.
const SLOTS: u16 = 16_384;

/// A node as another one names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// Address; empty when the server says "where you asked".
    pub host: String,
    /// Port.
    pub port: u16,
    /// Node id.
    pub id: String,
}

/// Slots with their leader and its replicas.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Served {
    /// First slot.
    pub from: u16,
    /// Last slot.
    pub to: u16,
    /// Takes their writes.
    pub leader: Place,
    /// Follow it.
    pub replicas: Vec<Place>,
}

/// The answer to `CLUSTER SLOTS`.
pub(crate) fn parse(value: &Value) -> Option<Vec<Served>> {
    let Value::Array(entries) = value else {
        return None;
    };
    let mut served: Vec<Served> = entries.iter().map(entry).collect::<Option<_>>()?;
    served.sort_by_key(|range| range.from);
    Some(served)
}

fn entry(value: &Value) -> Option<Served> {
    let Value::Array(parts) = value else {
        return None;
    };
    let slot = |at: usize| match parts.get(at)? {
        Value::Int(slot) => u16::try_from(*slot).ok(),
        _ => None,
    };
    let mut places = parts.get(2..)?.iter().map(place);
    Some(Served {
        from: slot(0)?,
        to: slot(1)?,
        leader: places.next()??,
        replicas: places.collect::<Option<_>>()?,
    })
}

fn place(value: &Value) -> Option<Place> {
    let Value::Array(parts) = value else {
        return None;
    };
    Some(Place {
        // Nil or `?` where the server does not know its own name.
        host: parts
            .first()
            .and_then(text_of)
            .filter(|host| host != "?")
            .unwrap_or_default(),
        port: text_of(parts.get(1)?)?.parse().ok()?,
        id: text_of(parts.get(2)?)?,
    })
}

/// The slot of a key. Keys of the probe have no hash tag.
pub(crate) fn slot_of(key: &str) -> u16 {
    let sum = key.as_bytes().iter().fold(0u16, |mut sum, byte| {
        sum ^= u16::from(*byte) << 8;
        for _ in 0..8 {
            let carry = sum >> 15 == 1;
            sum <<= 1;
            if carry {
                sum ^= 0x1021;
            }
        }
        sum
    });
    sum % SLOTS
}

/// The shards of a cluster when a run began: the slots of each, by its first slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Layout {
    shards: Vec<Vec<(u16, u16)>>,
}

impl Layout {
    /// Shards as one node sees them.
    pub(crate) fn of(served: &[Served]) -> Self {
        let mut leaders: Vec<(&str, Vec<(u16, u16)>)> = Vec::new();
        for range in served {
            let slots = (range.from, range.to);
            match leaders.iter_mut().find(|(id, _)| *id == range.leader.id) {
                Some((_, ranges)) => ranges.push(slots),
                None => leaders.push((&range.leader.id, vec![slots])),
            }
        }
        Self {
            shards: leaders.into_iter().map(|(_, slots)| slots).collect(),
        }
    }

    /// Every slot has a leader.
    pub(crate) fn is_whole(&self) -> bool {
        let held: u32 = self
            .shards
            .iter()
            .flatten()
            .map(|(from, to)| u32::from(*to - *from) + 1)
            .sum();
        held == u32::from(SLOTS)
    }

    /// Names of the shards: their slots.
    pub(crate) fn names(&self) -> Vec<String> {
        self.shards
            .iter()
            .map(|ranges| {
                ranges
                    .iter()
                    .map(|(from, to)| format!("{from}-{to}"))
                    .collect::<Vec<_>>()
                    .join(",")
            })
            .collect()
    }

    /// Number of shards.
    pub(crate) fn len(&self) -> usize {
        self.shards.len()
    }

    /// Slots of a shard.
    pub(crate) fn slots(&self, shard: usize) -> &[(u16, u16)] {
        self.shards.get(shard).map_or(&[], Vec::as_slice)
    }

    /// The shard that has exactly these slots.
    pub(crate) fn shard_with(&self, slots: &[(u16, u16)]) -> Option<usize> {
        self.shards.iter().position(|ranges| ranges == slots)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(from: u16, to: u16, leader: &str) -> Served {
        Served {
            from,
            to,
            leader: Place {
                host: "h".to_owned(),
                port: 1,
                id: leader.to_owned(),
            },
            replicas: Vec::new(),
        }
    }

    #[test]
    fn slots_are_those_of_the_servers() {
        assert_eq!(slot_of("foo"), 12_182);
        assert_eq!(slot_of("123456789"), 0x31c3);
    }

    #[test]
    fn a_shard_is_all_slots_of_a_leader() {
        let served = [
            range(0, 10, "a"),
            range(11, 8_000, "b"),
            range(8_001, 8_001, "a"),
            range(8_002, 16_383, "c"),
        ];
        let layout = Layout::of(&served);
        assert_eq!(layout.names(), ["0-10,8001-8001", "11-8000", "8002-16383"]);
        assert!(layout.is_whole());
        assert!(!Layout::of(&served[..3]).is_whole());
        assert_eq!(layout.shard_with(&[(11, 8_000)]), Some(1));
        assert_eq!(layout.shard_with(&[(11, 8_001)]), None);
    }

    #[test]
    fn the_answer_of_a_server_is_read() {
        let text = |t: &str| Value::BulkString(t.as_bytes().to_vec());
        let node = |host: Value, id: &str| {
            Value::Array(vec![
                host,
                Value::Int(30_001),
                text(id),
                Value::Array(vec![]),
            ])
        };
        let value = Value::Array(vec![Value::Array(vec![
            Value::Int(0),
            Value::Int(5_460),
            node(text("127.0.0.1"), "a"),
            node(Value::Nil, "b"),
        ])]);
        let served = parse(&value).unwrap();
        assert_eq!((served[0].from, served[0].to), (0, 5_460));
        assert_eq!(served[0].leader.host, "127.0.0.1");
        assert_eq!(served[0].replicas[0].host, "");
        assert_eq!(parse(&Value::Okay), None);
    }
}
