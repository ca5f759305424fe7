//! Addresses of a replica set: `mongodb://[USER@]HOST[:PORT][,...]/DATABASE[?OPTIONS]`.

use crate::system::SystemKind;

/// Database of the writes when the address names none.
const DATABASE: &str = "ferriswheel";

/// Where a client begins, taken apart so that the password stays out of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// User, known to the database `admin`.
    pub user: Option<String>,
    /// `host:port` of each member that is named.
    pub hosts: Vec<String>,
    /// Database of the writes.
    pub database: String,
    /// Options as they were given.
    options: String,
}

/// Why an address was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// Another scheme. Addresses by SRV records need a name server that this program does not ask.
    #[error(
        "use the scheme of the address: write mongodb://HOST:PORT,.../DATABASE?replicaSet=NAME"
    )]
    Scheme,
    /// A password in the address would end up in files and process lists.
    #[error(
        "use an address with a password in it: put the password into a file or MONGODB_PASSWORD"
    )]
    PasswordInside,
    /// Nothing to connect to.
    #[error("use an address without a host")]
    NoHost,
}

impl Address {
    /// Reads an address.
    ///
    /// # Errors
    /// See [`AddressError`].
    pub fn parse(text: &str) -> Result<Self, AddressError> {
        let rest = text
            .strip_prefix("mongodb://")
            .ok_or(AddressError::Scheme)?;
        let (place, options) = rest.split_once('?').unwrap_or((rest, ""));
        let (authority, database) = place.split_once('/').unwrap_or((place, ""));
        let (user, hosts) = match authority.rsplit_once('@') {
            Some((user, _)) if user.contains(':') => return Err(AddressError::PasswordInside),
            Some((user, hosts)) => (Some(user.to_owned()).filter(|u| !u.is_empty()), hosts),
            None => (None, authority),
        };
        let hosts: Vec<String> = hosts
            .split(',')
            .map(str::trim)
            .filter(|host| !host.is_empty())
            .map(|host| {
                if host.contains(':') {
                    host.to_owned()
                } else {
                    format!("{host}:{}", SystemKind::Mongodb.port())
                }
            })
            .collect();
        if hosts.is_empty() {
            return Err(AddressError::NoHost);
        }
        let database = if database.is_empty() {
            DATABASE
        } else {
            database
        };
        Ok(Self {
            user,
            hosts,
            database: database.to_owned(),
            options: options.to_owned(),
        })
    }

    /// For the driver, without user and password.
    pub(crate) fn uri(&self) -> String {
        format!(
            "mongodb://{}/{}?{}",
            self.hosts.join(","),
            self.database,
            self.options
        )
    }

    /// For the driver, of one member alone.
    pub(crate) fn direct(&self, host: &str) -> String {
        format!("mongodb://{host}/{}?directConnection=true", self.database)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_names_members_and_perhaps_a_user() {
        let address =
            Address::parse("mongodb://app@mongo-0.mongo,10.0.0.2:27018/shop?replicaSet=rs0")
                .unwrap();
        assert_eq!(address.user.as_deref(), Some("app"));
        assert_eq!(address.hosts, ["mongo-0.mongo:27017", "10.0.0.2:27018"]);
        assert_eq!(address.database, "shop");
        assert_eq!(
            address.uri(),
            "mongodb://mongo-0.mongo:27017,10.0.0.2:27018/shop?replicaSet=rs0"
        );
        assert_eq!(Address::parse("mongodb://h").unwrap().database, DATABASE);
    }

    #[test]
    fn a_password_in_an_address_is_refused_and_not_repeated() {
        let error = Address::parse("mongodb://app:hunter2@h/shop").unwrap_err();
        assert_eq!(error, AddressError::PasswordInside);
        assert!(!error.to_string().contains("hunter2"));
        for wrong in ["", "h", "mongodb+srv://h", "mongodb://", "redis://h"] {
            assert!(Address::parse(wrong).is_err(), "{wrong}");
        }
    }
}
