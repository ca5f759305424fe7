//! What the tests of the wire share: machines in memory, and a server over TLS on a free port.
#![allow(dead_code, reason = "each test binary uses its own part")]

pub mod az;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use ferriswheel_azure_emulator::{
    Emulator, Machine, MachineError, MachineSpec, Machines, Mode, PoolSeed, Seed, SystemClock,
    Timings,
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

/// Machines that only exist in a map: the contract of the wire is under test, not the nodes.
#[derive(Default)]
pub struct InMemory {
    pub machines: Mutex<BTreeMap<String, MachineSpec>>,
    pub sold_out: Mutex<bool>,
}

#[async_trait]
impl Machines for InMemory {
    async fn create(&self, machine: MachineSpec) -> Result<(), MachineError> {
        if *self.sold_out.lock().unwrap() {
            return Err(MachineError::NoCapacity(format!(
                "no {} in zone {:?}",
                machine.vm_size, machine.zone
            )));
        }
        self.machines
            .lock()
            .unwrap()
            .insert(machine.node_name.clone(), machine);
        Ok(())
    }

    async fn delete(&self, node_name: &str) -> Result<(), MachineError> {
        self.machines.lock().unwrap().remove(node_name);
        Ok(())
    }

    async fn list(&self) -> Result<Vec<Machine>, MachineError> {
        let machines = self.machines.lock().unwrap();
        let machine = |spec: &MachineSpec| Machine {
            node_name: spec.node_name.clone(),
            pool: spec.pool.clone(),
            zone: spec.zone.clone(),
            instance_id: spec.instance_id,
            address: Some(format!("10.224.0.{}", spec.instance_id + 3)),
        };
        Ok(machines.values().map(machine).collect())
    }

    async fn upgrade_control_plane(&self, _version: &str) -> Result<(), MachineError> {
        Ok(())
    }
}

/// The demo's shape: two System nodes at the control plane's version, three database nodes one minor behind.
pub fn seed() -> Seed {
    let mut seed = Seed::practice("practice", "1.36.3");
    seed.pools.push(PoolSeed::new(
        "syspool",
        Mode::System,
        2,
        &["1", "2"],
        "1.36.3",
    ));
    let mut db = PoolSeed::new("dbpool", Mode::User, 3, &["1", "2", "3"], "1.35.4");
    db.labels.insert("workload".into(), "database".into());
    db.taints.extend("workload=database:NoSchedule".parse());
    seed.pools.push(db);
    seed.timings = Timings {
        accept: Duration::from_millis(20),
        allocate: Duration::from_millis(20),
        control_plane: Duration::from_millis(50),
        ..Timings::default()
    };
    seed
}

pub async fn emulator(seed: Seed) -> anyhow::Result<(Emulator, Arc<InMemory>)> {
    let machines = Arc::new(InMemory::default());
    let emulator = Emulator::new(seed, machines.clone(), None, Arc::new(SystemClock))?;
    emulator.boot().await?;
    Ok((emulator, machines))
}

/// A served emulator; the server ends with this value's task.
pub struct Served {
    pub address: SocketAddr,
    pub ca_file: PathBuf,
    task: tokio::task::JoinHandle<()>,
}

impl Served {
    pub fn endpoint(&self) -> String {
        format!("https://{}", self.address)
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A certificate authority and a certificate for 127.0.0.1 signed by it, written into a directory.
pub struct Certificates {
    pub ca_file: PathBuf,
    pub certificate_file: PathBuf,
    pub key_file: PathBuf,
    pub public_key_file: PathBuf,
    pub ca_pem: String,
    certificate: rustls::pki_types::CertificateDer<'static>,
    key: KeyPair,
}

impl Certificates {
    pub fn new(dir: &Path) -> anyhow::Result<Self> {
        let ca_key = KeyPair::generate()?;
        let mut ca_params = CertificateParams::new(Vec::new())?;
        ca_params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        ca_params
            .distinguished_name
            .push(rcgen::DnType::CommonName, "practice CA");
        ca_params.key_usages = vec![
            rcgen::KeyUsagePurpose::KeyCertSign,
            rcgen::KeyUsagePurpose::CrlSign,
        ];
        let ca = ca_params.self_signed(&ca_key)?;
        let issuer = Issuer::from_params(&ca_params, &ca_key);
        let key = KeyPair::generate()?;
        let mut params =
            CertificateParams::new(vec!["127.0.0.1".to_owned(), "localhost".to_owned()])?;
        params.use_authority_key_identifier_extension = true;
        params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ServerAuth];
        let certificate = params.signed_by(&key, &issuer)?;
        let made = Self {
            ca_file: dir.join("ca.pem"),
            certificate_file: dir.join("server.pem"),
            key_file: dir.join("server.key"),
            public_key_file: dir.join("server.pub"),
            ca_pem: ca.pem(),
            certificate: certificate.der().clone(),
            key,
        };
        std::fs::write(&made.ca_file, &made.ca_pem)?;
        std::fs::write(&made.certificate_file, certificate.pem())?;
        std::fs::write(&made.key_file, made.key.serialize_pem())?;
        std::fs::write(&made.public_key_file, made.key.public_key_pem())?;
        Ok(made)
    }
}

/// Serves a router over TLS on a free port of 127.0.0.1 and writes the CA's certificate into `dir`.
pub async fn serve(router: axum::Router, dir: &Path) -> anyhow::Result<Served> {
    let certificates = Certificates::new(dir)?;
    let ca_file = certificates.ca_file.clone();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let chain = vec![certificates.certificate];
    let private = rustls::pki_types::PrivateKeyDer::try_from(certificates.key.serialize_der())
        .map_err(anyhow::Error::msg)?;
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, private)?;
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let task = tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (acceptor, router) = (acceptor.clone(), router.clone());
            tokio::spawn(async move {
                let Ok(tls) = acceptor.accept(stream).await else {
                    return;
                };
                let service = hyper_util::service::TowerToHyperService::new(router);
                let builder = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
                drop(builder.serve_connection(TokioIo::new(tls), service).await);
            });
        }
    });
    Ok(Served {
        address,
        ca_file,
        task,
    })
}
