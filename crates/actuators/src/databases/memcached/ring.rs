//! Whose a key is: the ring of md5 points on which libmemcached's weighted ketama puts servers of equal weight.
//!
//! # Source
//! `update_continuum` and `dispatch_host` in `libmemcached/hosts.cc` and `hash.cc`: 40 digests a server, of four points
//! each; the port is a part of a server's name unless it is the default one.

use md5::{Digest, Md5};

/// Digests a server: 160 points of four each.
const DIGESTS: u32 = 40;

/// Port that a server's name does not carry.
const DEFAULT_PORT: u16 = 11_211;

/// Servers on a ring.
#[derive(Clone, Debug)]
pub struct Ring {
    /// Points with the number of their server, ascending.
    points: Vec<(u32, usize)>,
}

impl Ring {
    /// A ring of servers by the names and the port that clients know.
    pub fn of(names: &[String], port: u16) -> Self {
        let mut points: Vec<(u32, usize)> = names
            .iter()
            .enumerate()
            .flat_map(|(server, name)| {
                let name = match port {
                    DEFAULT_PORT => name.clone(),
                    _ => format!("{name}:{port}"),
                };
                (0..DIGESTS)
                    .flat_map(move |n| quarters(format!("{name}-{n}").as_bytes()))
                    .map(move |point| (point, server))
            })
            .collect();
        points.sort_unstable();
        Self { points }
    }

    /// The server of a key, by its number; `None` on an empty ring.
    pub fn server_of(&self, key: &[u8]) -> Option<usize> {
        let [hash, ..] = quarters(key);
        let at = self.points.partition_point(|(point, _)| *point < hash);
        let next = self.points.get(at).or_else(|| self.points.first());
        next.map(|(_, server)| *server)
    }
}

/// The four numbers of a digest, each with its low byte first.
fn quarters(text: &[u8]) -> [u32; 4] {
    let digest: [u8; 16] = Md5::digest(text).into();
    let at = |n: usize| {
        u32::from_le_bytes([
            digest[4 * n],
            digest[4 * n + 1],
            digest[4 * n + 2],
            digest[4 * n + 3],
        ])
    };
    [at(0), at(1), at(2), at(3)]
}

#[cfg(test)]
mod tests {
    use super::Ring;

    fn places(names: &[&str], port: u16, keys: usize) -> String {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let ring = Ring::of(&names, port);
        (0..keys)
            .filter_map(|n| ring.server_of(format!("key:{n}").as_bytes()))
            .map(|server| server.to_string())
            .collect()
    }

    /// Where libmemcached 1.1.4 (pylibmc, `ketama_weighted`) put `key:0` and its successors on three real servers at the
    /// default port.
    #[test]
    fn keys_are_where_libmemcached_puts_them() {
        let expected = "0201220210122202002211112020200111020111122211121222012011202201";
        let found = places(
            &["127.0.0.1", "127.0.0.2", "127.0.0.3"],
            11_211,
            expected.len(),
        );
        assert_eq!(found, expected);
    }

    #[test]
    fn another_port_is_a_part_of_the_name() {
        let names = ["a", "b"];
        let with_it = ["a:7", "b:7"];
        assert_eq!(places(&names, 7, 40), places(&with_it, 11_211, 40));
        assert_ne!(places(&names, 7, 40), places(&names, 11_211, 40));
        assert_eq!(places(&[], 7, 40), "");
    }
}
