//! Addresses of some nodes of a cluster: `redis://[USER@]HOST[:PORT][,HOST[:PORT]...]`, `rediss://` with TLS.

use crate::system::SystemKind;

/// Where a client begins. The other nodes are asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seeds {
    /// ACL user; `None` is the default user.
    pub user: Option<String>,
    /// Connections are encrypted.
    pub tls: bool,
    /// Host and port of each.
    pub nodes: Vec<(String, u16)>,
}

/// Why the addresses were refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SeedsError {
    /// Another scheme.
    #[error("use the scheme of {0:?}: write redis://HOST:PORT,...")]
    Scheme(String),
    /// A password in the address would end up in files and process lists.
    #[error("use an address with a password in it: put the password into a file or REDISCLI_AUTH")]
    PasswordInside,
    /// Nothing to connect to.
    #[error("use an address without a host")]
    NoHost,
    /// No port.
    #[error("read the port of {0:?}")]
    Port(String),
}

impl Seeds {
    /// Reads the addresses.
    ///
    /// # Errors
    /// See [`SeedsError`].
    pub fn parse(text: &str) -> Result<Self, SeedsError> {
        let (tls, rest) = match text.split_once("://") {
            Some(("redis" | "valkey", rest)) => (false, rest),
            Some(("rediss" | "valkeys", rest)) => (true, rest),
            // Not the text itself: what stands before the mark may be a password.
            Some((scheme, _)) => {
                let scheme = scheme.chars().take_while(char::is_ascii_alphanumeric);
                return Err(SeedsError::Scheme(scheme.collect()));
            }
            None => (false, text),
        };
        let (user, hosts) = match rest.rsplit_once('@') {
            Some((user, _)) if user.contains(':') => return Err(SeedsError::PasswordInside),
            Some((user, hosts)) => (Some(user.to_owned()).filter(|u| !u.is_empty()), hosts),
            None => (None, rest),
        };
        let nodes = hosts
            .trim_end_matches('/')
            .split(',')
            .map(str::trim)
            .filter(|host| !host.is_empty())
            .map(|place| match place.rsplit_once(':') {
                Some((host, port)) if !host.is_empty() => Ok((
                    host.trim_matches(['[', ']']).to_owned(),
                    port.parse()
                        .map_err(|_| SeedsError::Port(place.to_owned()))?,
                )),
                Some(_) => Err(SeedsError::NoHost),
                None => Ok((place.to_owned(), SystemKind::Redis.port())),
            })
            .collect::<Result<Vec<_>, _>>()?;
        if nodes.is_empty() {
            return Err(SeedsError::NoHost);
        }
        Ok(Self { user, tls, nodes })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_name_nodes_and_perhaps_a_user() {
        let seeds = Seeds::parse("redis://app@redis-0.redis:6380,10.0.0.2,[fd00::1]:7000").unwrap();
        assert_eq!(seeds.user.as_deref(), Some("app"));
        assert_eq!(
            seeds.nodes,
            [
                ("redis-0.redis".to_owned(), 6380),
                ("10.0.0.2".to_owned(), 6379),
                ("fd00::1".to_owned(), 7000)
            ]
        );
        assert_eq!(Seeds::parse("h").unwrap().nodes, [("h".to_owned(), 6379)]);
        assert!(!seeds.tls && Seeds::parse("rediss://h").unwrap().tls);
    }

    #[test]
    fn a_password_in_an_address_is_refused_and_not_repeated() {
        for text in ["redis://:hunter2@h", "app:hunter2@h:1"] {
            let error = Seeds::parse(text).unwrap_err();
            assert_eq!(error, SeedsError::PasswordInside);
            assert!(!error.to_string().contains("hunter2"));
        }
        for wrong in ["", "redis://", "http://h", "h:port", ":6379"] {
            assert!(Seeds::parse(wrong).is_err(), "{wrong}");
        }
    }
}
