//! Addresses of a pool: `memcached://HOST[:PORT][,HOST[:PORT]...]`.

use crate::system::SystemKind;

/// The servers that clients spread their keys over, under the names that decide whose a key is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Servers(pub Vec<(String, u16)>);

/// Why the addresses were refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// Another scheme.
    #[error("use the scheme of the address: write memcached://HOST:PORT,...")]
    Scheme,
    /// Servers that ask for a password are not spoken with yet.
    #[error("use an address with a user in it: servers that ask for a password cannot be measured")]
    User,
    /// Nothing to connect to.
    #[error("use an address without a host")]
    NoHost,
    /// No port.
    #[error("read the port of {0:?}")]
    Port(String),
    /// Two servers of one name would have the same keys.
    #[error("use the server {0:?} twice")]
    Twice(String),
}

impl Servers {
    /// Reads the addresses.
    ///
    /// # Errors
    /// See [`AddressError`].
    pub fn parse(text: &str) -> Result<Self, AddressError> {
        let rest = text
            .strip_prefix("memcached://")
            .ok_or(AddressError::Scheme)?;
        if rest.contains('@') {
            return Err(AddressError::User);
        }
        let mut servers = Vec::new();
        for place in rest
            .trim_end_matches('/')
            .split(',')
            .map(str::trim)
            .filter(|place| !place.is_empty())
        {
            let server = match place.rsplit_once(':') {
                Some(("", _)) => return Err(AddressError::NoHost),
                Some((host, port)) => (
                    host.to_owned(),
                    port.parse()
                        .map_err(|_| AddressError::Port(place.to_owned()))?,
                ),
                None => (place.to_owned(), SystemKind::Memcached.port()),
            };
            if servers.contains(&server) {
                return Err(AddressError::Twice(place.to_owned()));
            }
            servers.push(server);
        }
        if servers.is_empty() {
            return Err(AddressError::NoHost);
        }
        Ok(Self(servers))
    }
}

#[cfg(test)]
mod tests {
    use super::{AddressError, Servers};

    #[test]
    fn addresses_name_servers() {
        let servers = Servers::parse("memcached://a.cache:11211,10.0.0.2,c:7").unwrap();
        assert_eq!(
            servers.0,
            [
                ("a.cache".to_owned(), 11211),
                ("10.0.0.2".to_owned(), 11211),
                ("c".to_owned(), 7)
            ]
        );
    }

    #[test]
    fn what_is_no_pool_is_refused() {
        for (text, error) in [
            ("redis://a", AddressError::Scheme),
            ("memcached://", AddressError::NoHost),
            ("memcached://:1", AddressError::NoHost),
            ("memcached://me:secret@a", AddressError::User),
            ("memcached://a:x", AddressError::Port("a:x".to_owned())),
            (
                "memcached://a,a:11211",
                AddressError::Twice("a:11211".to_owned()),
            ),
        ] {
            assert_eq!(Servers::parse(text).unwrap_err(), error, "{text}");
        }
    }
}
