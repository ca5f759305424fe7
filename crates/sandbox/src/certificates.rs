//! The certificates of a sandbox: made when it starts, worthless when it ends.

use std::net::IpAddr;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, KeyUsagePurpose, SanType, date_time_ymd,
};

/// A certificate could not be made.
#[derive(Debug, thiserror::Error)]
#[error("make the certificate of {subject}")]
pub struct Error {
    subject: String,
    #[source]
    source: rcgen::Error,
}

/// A certificate and its key, PEM.
#[derive(Clone)]
pub struct Pair {
    /// The certificate.
    pub cert: String,
    /// Its private key (PKCS#8).
    pub key: String,
}

/// A certificate authority.
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Authority {
    /// A new authority.
    ///
    /// # Errors
    /// The key could not be generated.
    pub fn new(name: &str) -> Result<Self, Error> {
        let fail = |source| Error {
            subject: name.to_owned(),
            source,
        };
        let mut params = params(name, None).map_err(fail)?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![
            KeyUsagePurpose::KeyCertSign,
            KeyUsagePurpose::CrlSign,
            KeyUsagePurpose::DigitalSignature,
        ];
        let key = KeyPair::generate().map_err(fail)?;
        Ok(Self {
            issuer: CertifiedIssuer::self_signed(params, key).map_err(fail)?,
        })
    }

    /// The authority's own certificate, PEM.
    #[must_use]
    pub fn certificate(&self) -> String {
        self.issuer.pem()
    }

    /// A client certificate: user `name` in `group`.
    ///
    /// # Errors
    /// The key could not be generated.
    pub fn client(&self, name: &str, group: Option<&str>) -> Result<Pair, Error> {
        self.issue(name, group, &[], &[], ExtendedKeyUsagePurpose::ClientAuth)
    }

    /// A server certificate for names and addresses.
    ///
    /// # Errors
    /// A name is not a DNS name, or the key could not be generated.
    pub fn server(&self, name: &str, names: &[&str], addresses: &[IpAddr]) -> Result<Pair, Error> {
        self.issue(
            name,
            None,
            names,
            addresses,
            ExtendedKeyUsagePurpose::ServerAuth,
        )
    }

    fn issue(
        &self,
        name: &str,
        group: Option<&str>,
        names: &[&str],
        addresses: &[IpAddr],
        usage: ExtendedKeyUsagePurpose,
    ) -> Result<Pair, Error> {
        let fail = |source| Error {
            subject: name.to_owned(),
            source,
        };
        let mut params = params(name, group).map_err(fail)?;
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![
            KeyUsagePurpose::DigitalSignature,
            KeyUsagePurpose::KeyEncipherment,
        ];
        params.extended_key_usages = vec![usage];
        params.use_authority_key_identifier_extension = true;
        for dns in names {
            let dns = (*dns).try_into().map_err(fail)?;
            params.subject_alt_names.push(SanType::DnsName(dns));
        }
        for address in addresses {
            params.subject_alt_names.push(SanType::IpAddress(*address));
        }
        let key = KeyPair::generate().map_err(fail)?;
        let certificate = params.signed_by(&key, &self.issuer).map_err(fail)?;
        Ok(Pair {
            cert: certificate.pem(),
            key: key.serialize_pem(),
        })
    }
}

/// The key pair that service account tokens are signed with: (private, public), PEM.
///
/// # Errors
/// The key could not be generated.
pub fn signing_keys() -> Result<(String, String), Error> {
    let key = KeyPair::generate().map_err(|source| Error {
        subject: "service account tokens".to_owned(),
        source,
    })?;
    Ok((key.serialize_pem(), key.public_key_pem()))
}

/// A subject, valid for longer than any sandbox runs and from before any clock that is a little off.
fn params(name: &str, group: Option<&str>) -> Result<CertificateParams, rcgen::Error> {
    let mut params = CertificateParams::new(Vec::new())?;
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    if let Some(group) = group {
        params
            .distinguished_name
            .push(DnType::OrganizationName, group);
    }
    params.not_before = date_time_ymd(2024, 1, 1);
    params.not_after = date_time_ymd(2060, 1, 1);
    Ok(params)
}
