//! A certificate authority of one test, and a certificate for the members of its set.

/// Everything in PEM.
pub struct Authority {
    /// Its own certificate.
    pub ca: String,
    /// The members' certificate.
    pub certificate: String,
    /// Its key.
    pub key: String,
}

impl Authority {
    /// A new one; the certificate has these names and addresses.
    pub fn new(names: impl IntoIterator<Item = String>) -> Self {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        // With the members' name it would be taken for a certificate that signs itself.
        params
            .distinguished_name
            .push(rcgen::DnType::CommonName, "the authority of a test");
        let ca = params.self_signed(&key).unwrap();
        let issuer = rcgen::Issuer::new(params, key);
        let server = rcgen::KeyPair::generate().unwrap();
        let names: Vec<String> = names.into_iter().collect();
        let certificate = rcgen::CertificateParams::new(names)
            .unwrap()
            .signed_by(&server, &issuer)
            .unwrap();
        Self {
            ca: ca.pem(),
            certificate: certificate.pem(),
            key: server.serialize_pem(),
        }
    }
}
