//! Addresses of a MariaDB set: `mariadb://[USER@]HOST[:PORT][,...]/DATABASE`.

use crate::system::SystemKind;

/// Where a client begins, taken apart; without a password.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// User.
    pub user: Option<String>,
    /// Hosts and ports. One: whatever it leads to is written to. Several: the one that takes writes.
    pub hosts: Vec<(String, u16)>,
    /// Database of the writes.
    pub database: String,
}

/// Why an address was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// Another scheme.
    #[error("use the scheme of the address: write mariadb://USER@HOST:PORT/DATABASE")]
    Scheme,
    /// A password in the address would end up in files and process lists.
    #[error("use an address with a password in it: put the password into a file or MYSQL_PWD")]
    PasswordInside,
    /// Nothing to connect to, or a port that is no number.
    #[error("use an address without a host, or with a port that is no number")]
    NoHost,
    /// Nowhere to write.
    #[error("use an address without a database")]
    NoDatabase,
}

impl Address {
    /// Reads an address.
    ///
    /// # Errors
    /// See [`AddressError`].
    pub fn parse(text: &str) -> Result<Self, AddressError> {
        let rest = ["mariadb://", "mysql://"]
            .iter()
            .find_map(|scheme| text.strip_prefix(scheme))
            .ok_or(AddressError::Scheme)?;
        let (authority, database) = rest.split_once('/').unwrap_or((rest, ""));
        let (user, hosts) = match authority.rsplit_once('@') {
            Some((user, _)) if user.contains(':') => return Err(AddressError::PasswordInside),
            Some((user, hosts)) => (Some(user.to_owned()).filter(|u| !u.is_empty()), hosts),
            None => (None, authority),
        };
        let host = |text: &str| match text.rsplit_once(':') {
            Some((host, port)) => Some((host.to_owned(), port.parse().ok()?)),
            None => Some((text.to_owned(), SystemKind::Mariadb.port())),
        };
        let hosts: Option<Vec<(String, u16)>> = hosts.split(',').map(host).collect();
        let hosts = hosts
            .filter(|hosts| hosts.iter().all(|(host, _)| !host.is_empty()))
            .ok_or(AddressError::NoHost)?;
        if database.is_empty() {
            return Err(AddressError::NoDatabase);
        }
        Ok(Self {
            user,
            hosts,
            database: database.to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_names_hosts_a_database_and_perhaps_a_user() {
        let address =
            Address::parse("mariadb://app@mariadb-primary.shop,10.0.0.2:3307/shop").unwrap();
        assert_eq!(address.user.as_deref(), Some("app"));
        let hosts = [
            ("mariadb-primary.shop".to_owned(), 3306),
            ("10.0.0.2".to_owned(), 3307),
        ];
        assert_eq!(address.hosts, hosts);
        assert_eq!(address.database, "shop");
        assert_eq!(Address::parse("mysql://h/d").unwrap().user, None);
    }

    #[test]
    fn a_password_in_an_address_is_refused_and_not_repeated() {
        let error = Address::parse("mariadb://app:hunter2@h/shop").unwrap_err();
        assert_eq!(error, AddressError::PasswordInside);
        assert!(!error.to_string().contains("hunter2"));
        for wrong in [
            "",
            "h",
            "mariadb://h",
            "mariadb:///d",
            "mariadb://h:x/d",
            "redis://h/d",
        ] {
            assert!(Address::parse(wrong).is_err(), "{wrong}");
        }
    }
}
