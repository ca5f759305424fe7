//! Addresses of some brokers of a cluster: `kafka://HOST[:PORT][,HOST[:PORT]...][/TOPIC]`.

use crate::system::SystemKind;

/// Beginning of the topics' names when the address names none.
const TOPIC: &str = "ferriswheel-probe";

/// Where a client begins. The other brokers are asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// Host and port of each.
    pub hosts: Vec<(String, u16)>,
    /// What the names of the runs' topics begin with.
    pub topic: String,
}

/// Why an address was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// Another scheme.
    #[error("use the scheme of the address: write kafka://HOST:PORT,...")]
    Scheme,
    /// Logins are not spoken.
    #[error("use an address with a user in it: a listener without a login is needed")]
    Login,
    /// Nothing to connect to.
    #[error("use an address without a host")]
    NoHost,
    /// No port.
    #[error("read the port of {0:?}")]
    Port(String),
    /// No name of a topic.
    #[error("use {0:?} as the beginning of a topic's name: letters, digits, `.`, `_` and `-`")]
    Topic(String),
}

impl Address {
    /// Reads an address.
    ///
    /// # Errors
    /// See [`AddressError`].
    pub fn parse(text: &str) -> Result<Self, AddressError> {
        let rest = text.strip_prefix("kafka://").ok_or(AddressError::Scheme)?;
        let (hosts, topic) = rest.split_once('/').unwrap_or((rest, ""));
        if hosts.contains('@') {
            return Err(AddressError::Login);
        }
        let hosts = hosts
            .split(',')
            .map(str::trim)
            .filter(|host| !host.is_empty())
            .map(|place| match place.rsplit_once(':') {
                Some((host, port)) if !host.is_empty() => Ok((
                    host.trim_matches(['[', ']']).to_owned(),
                    port.parse()
                        .map_err(|_| AddressError::Port(place.to_owned()))?,
                )),
                Some(_) => Err(AddressError::NoHost),
                None => Ok((place.to_owned(), SystemKind::Kafka.port())),
            })
            .collect::<Result<Vec<_>, _>>()?;
        if hosts.is_empty() {
            return Err(AddressError::NoHost);
        }
        let topic = if topic.is_empty() { TOPIC } else { topic };
        let fits = |c: char| c.is_ascii_alphanumeric() || ".-_".contains(c);
        if !topic.chars().all(fits) {
            return Err(AddressError::Topic(topic.to_owned()));
        }
        Ok(Self {
            hosts,
            topic: topic.to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_names_brokers_and_perhaps_a_topic() {
        let address =
            Address::parse("kafka://kafka-0.kafka:19092,10.0.0.2,[fd00::1]:1/a.b").unwrap();
        let host = |name: &str, port| (name.to_owned(), port);
        assert_eq!(
            address.hosts,
            [
                host("kafka-0.kafka", 19_092),
                host("10.0.0.2", 9_092),
                host("fd00::1", 1)
            ]
        );
        assert_eq!(address.topic, "a.b");
        assert_eq!(Address::parse("kafka://h").unwrap().topic, TOPIC);
    }

    #[test]
    fn what_cannot_be_used_is_refused_and_a_password_not_repeated() {
        let error = Address::parse("kafka://app:hunter2@h").unwrap_err();
        assert_eq!(error, AddressError::Login);
        assert!(!error.to_string().contains("hunter2"));
        for wrong in [
            "",
            "h",
            "kafka://",
            "kafka://h:port",
            "kafka://:1",
            "kafka://h/a b",
        ] {
            assert!(Address::parse(wrong).is_err(), "{wrong}");
        }
    }
}
