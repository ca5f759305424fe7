//! The ring on which clients put servers and keys: libmemcached's weighted ketama, all weights equal.
//!
//! # Source
//! `update_continuum` in `libmemcached/hosts.cc`, `dispatch_host` in `hash.cc`: 160 points a server, four from each of
//! 40 md5 digests of its name and a number; the name has the port unless it is 11211.

use md5::{Digest, Md5};

const DIGESTS: u32 = 40;
const DEFAULT_PORT: u16 = 11_211;

/// Points with the number of their server, ascending.
#[derive(Clone, Debug)]
pub(crate) struct Ring(Vec<(u32, usize)>);

impl Ring {
    pub(crate) fn of(servers: &[(String, u16)]) -> Self {
        let mut points = Vec::new();
        for (number, (host, port)) in servers.iter().enumerate() {
            let name = match *port {
                DEFAULT_PORT => host.clone(),
                port => format!("{host}:{port}"),
            };
            for digest in 0..DIGESTS {
                let digest = Md5::digest(format!("{name}-{digest}"));
                let quarters = digest.chunks_exact(4).filter_map(number_of);
                points.extend(quarters.map(|point| (point, number)));
            }
        }
        points.sort_unstable();
        Self(points)
    }

    /// The server of a key among those that are there: the first one of them that comes after the key's place. Without
    /// a server nobody else's keys move.
    pub(crate) fn server_of(&self, key: &str, there: impl Fn(usize) -> bool) -> Option<usize> {
        let digest = Md5::digest(key);
        let hash = digest.get(..4).and_then(number_of)?;
        let at = self.0.partition_point(|(point, _)| *point < hash);
        let (before, after) = self.0.split_at(at);
        after
            .iter()
            .chain(before)
            .map(|(_, server)| *server)
            .find(|server| there(*server))
    }
}

/// Low byte first.
fn number_of(quarter: &[u8]) -> Option<u32> {
    quarter.try_into().ok().map(u32::from_le_bytes)
}

#[cfg(test)]
mod tests {
    use super::Ring;

    fn ring(names: &[&str], port: u16) -> Ring {
        let servers: Vec<_> = names
            .iter()
            .map(|name| ((*name).to_owned(), port))
            .collect();
        Ring::of(&servers)
    }

    /// Where libmemcached 1.1.4 (pylibmc, `ketama_weighted`) put `key:0` and its successors on three real servers.
    #[test]
    fn keys_are_where_libmemcached_puts_them() {
        let by_port: Vec<_> = (22_101..22_104)
            .map(|port| ("127.0.0.1".to_owned(), port))
            .collect();
        for (ring, expected) in [
            (
                Ring::of(&by_port),
                "2010210221112002002002202022200120120002122221112110222021001110",
            ),
            (
                ring(&["127.0.0.1", "127.0.0.2", "127.0.0.3"], 11211),
                "0201220210122202002211112020200111020111122211121222012011202201",
            ),
        ] {
            let found: String = (0..expected.len())
                .map(|n| {
                    ring.server_of(&format!("key:{n}"), |_| true)
                        .unwrap()
                        .to_string()
                })
                .collect();
            assert_eq!(found, expected);
        }
    }

    #[test]
    fn without_a_server_its_keys_alone_move() {
        let ring = ring(&["a", "b", "c"], 11211);
        let mut moved = 0;
        for n in 0..3_000 {
            let key = format!("key:{n}");
            let home = ring.server_of(&key, |_| true).unwrap();
            let then = ring.server_of(&key, |server| server != 0).unwrap();
            assert_ne!(then, 0);
            if home == 0 {
                moved += 1;
            } else {
                assert_eq!(home, then);
            }
        }
        assert!((700..1_300).contains(&moved), "{moved}");
        assert_eq!(ring.server_of("key", |_| false), None);
    }
}
