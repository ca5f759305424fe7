//! Connection strings: one address, several with `target_session_attrs`, or a Service name.
//!
//! A string with several hosts is taken apart, so that each address has a connect deadline of its
//! own: a frozen first host must not hide the second for ever.

use std::fmt;
use std::time::Duration;

use tokio_postgres::Config;
use tokio_postgres::config::Host;

use crate::config::MemberAddress;
use crate::secret::Password;

/// Shown in `pg_stat_activity`.
const APPLICATION: &str = "ferriswheel-probe";

/// A parsed connection string; its password is elsewhere.
#[derive(Clone)]
pub struct Dsn {
    base: Config,
    hosts: Vec<Config>,
}

/// Why a connection string was refused.
#[derive(Debug, thiserror::Error)]
pub enum DsnError {
    /// Not a connection string.
    #[error("parse the connection string")]
    Syntax(#[source] tokio_postgres::Error),
    /// A password in the string would end up in files and process lists.
    #[error(
        "use a connection string with a password in it: put the password into a file or PGPASSWORD"
    )]
    PasswordInside,
    /// Nothing to connect to.
    #[error("use a connection string without a host")]
    NoHost,
    /// One port a host, or one for all.
    #[error("use {ports} ports for {hosts} hosts: give one, or one a host")]
    Ports {
        /// Hosts given.
        hosts: usize,
        /// Ports given.
        ports: usize,
    },
}

impl Dsn {
    /// Parses a URL or `key=value` words and adds the password.
    ///
    /// # Errors
    /// See [`DsnError`].
    pub fn parse(text: &str, password: Option<&Password>) -> Result<Self, DsnError> {
        let mut base: Config = text.parse().map_err(DsnError::Syntax)?;
        if base.get_password().is_some() {
            return Err(DsnError::PasswordInside);
        }
        base.application_name(APPLICATION);
        if let Some(password) = password {
            base.password(password.reveal());
        }
        let hosts = base.get_hosts().to_vec();
        let addresses = base.get_hostaddrs().to_vec();
        let ports = base.get_ports();
        let count = hosts.len().max(addresses.len());
        if count == 0 {
            return Err(DsnError::NoHost);
        }
        if ports.len() > 1 && ports.len() != count {
            return Err(DsnError::Ports {
                hosts: count,
                ports: ports.len(),
            });
        }
        let single = (0..count)
            .map(|i| {
                let mut config = without_hosts(&base);
                match hosts.get(i) {
                    Some(Host::Tcp(host)) => {
                        config.host(host);
                    }
                    Some(Host::Unix(path)) => {
                        config.host_path(path);
                    }
                    None => {}
                }
                if let Some(address) = addresses.get(i) {
                    config.hostaddr(*address);
                }
                config.port(ports.get(i).or(ports.first()).copied().unwrap_or(5432));
                config
            })
            .collect();
        Ok(Self {
            base,
            hosts: single,
        })
    }

    /// The same user and database at the address of one member.
    #[must_use]
    pub fn at(&self, member: &MemberAddress) -> Self {
        let mut config = without_hosts(&self.base);
        config.host(&member.host).port(member.port);
        config.target_session_attrs(tokio_postgres::config::TargetSessionAttrs::Any);
        Self {
            base: config.clone(),
            hosts: vec![config],
        }
    }

    /// One configuration an address, in the order of the string.
    pub(crate) fn hosts(&self, connect_deadline: Duration) -> impl Iterator<Item = Config> {
        self.hosts.iter().map(move |config| {
            let mut config = config.clone();
            config.connect_timeout(connect_deadline);
            config
        })
    }
}

fn without_hosts(base: &Config) -> Config {
    let mut config = Config::new();
    if let Some(user) = base.get_user() {
        config.user(user);
    }
    if let Some(password) = base.get_password() {
        config.password(password);
    }
    if let Some(dbname) = base.get_dbname() {
        config.dbname(dbname);
    }
    if let Some(options) = base.get_options() {
        config.options(options);
    }
    config
        .application_name(APPLICATION)
        .ssl_mode(base.get_ssl_mode())
        .target_session_attrs(base.get_target_session_attrs());
    config
}

impl fmt::Debug for Dsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dsn")
            .field("hosts", &self.base.get_hosts())
            .field("ports", &self.base.get_ports())
            .field("user", &self.base.get_user())
            .field("dbname", &self.base.get_dbname())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use tokio_postgres::config::SslMode;

    use super::*;

    fn hosts(text: &str) -> Vec<(Vec<Host>, Vec<u16>)> {
        Dsn::parse(text, None)
            .unwrap()
            .hosts(Duration::from_secs(1))
            .map(|c| (c.get_hosts().to_vec(), c.get_ports().to_vec()))
            .collect()
    }

    #[test]
    fn several_hosts_become_one_configuration_each() {
        let text =
            "postgres://app@pg-0:5432,pg-1:5433,pg-2:5434/orders?target_session_attrs=read-write";
        let found = hosts(text);
        assert_eq!(found.len(), 3);
        assert_eq!(found[2], (vec![Host::Tcp("pg-2".to_owned())], vec![5434]));
        let words = hosts("host=a,b port=6432 user=app dbname=orders");
        assert_eq!(words[1], (vec![Host::Tcp("b".to_owned())], vec![6432]));
    }

    #[test]
    fn a_password_in_the_string_is_refused_and_one_from_a_file_never_shown() {
        let error = Dsn::parse("postgres://app:hunter2@pg/orders", None).unwrap_err();
        assert!(matches!(error, DsnError::PasswordInside));
        assert!(!error.to_string().contains("hunter2"));
        let dsn = Dsn::parse("host=pg user=app", Some(&Password::new("hunter2"))).unwrap();
        assert!(!format!("{dsn:?}").contains("hunter2"));
        let member = MemberAddress {
            name: "a".into(),
            host: "h".into(),
            port: 1,
        };
        assert_eq!(
            dsn.at(&member).base.get_password(),
            Some("hunter2".as_bytes())
        );
    }

    #[test]
    fn the_way_to_be_secured_is_kept_for_every_address() {
        for (text, mode) in [
            ("host=a,b sslmode=require", SslMode::Require),
            ("host=a,b sslmode=disable", SslMode::Disable),
            ("host=a,b", SslMode::Prefer),
        ] {
            let dsn = Dsn::parse(text, None).unwrap();
            let modes: Vec<_> = dsn
                .hosts(Duration::from_secs(1))
                .map(|config| config.get_ssl_mode())
                .collect();
            assert_eq!(modes, [mode, mode], "{text}");
        }
        assert!(matches!(
            Dsn::parse("user=app", None),
            Err(DsnError::NoHost)
        ));
    }
}
