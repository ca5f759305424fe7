//! Options of `generate`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use ferriswheel_analysis::generate::cron::Right;
use ferriswheel_analysis::generate::monitoring::{Requests, Watched};
use ferriswheel_analysis::generate::storage::Sku;

use crate::connect::Connection;

/// Image of this program in the cluster.
const IMAGE: &str = concat!("ferriswheel:", env!("CARGO_PKG_VERSION"));

/// `key=value`, of labels.
fn label(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("a label is written key=value".to_owned()),
    }
}

/// What is there already.
#[derive(Debug, Args)]
pub struct Input {
    /// Manifests or a dump: directories, files or - for standard input
    #[arg(long, value_name = "PATH")]
    pub from: Vec<PathBuf>,
    /// The cluster of the kubeconfig, or of --sandbox; nothing of it is kept
    #[arg(long, conflicts_with = "from")]
    pub live: bool,
    #[command(flatten)]
    pub connection: Connection,
}

impl Input {
    /// Something is named to be read.
    pub fn is_given(&self) -> bool {
        self.live || !self.from.is_empty()
    }
}

/// One disruption budget for each set of pods that stand in for one another
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  ferriswheel generate budgets --live | kubectl apply --dry-run=server -f -
  ferriswheel generate budgets --from dump/ --out budgets/
  ferriswheel generate budgets --namespace search --name es-data --selector app=es,role=data --members 3 --database elasticsearch")]
pub struct BudgetsArgs {
    /// Every workload of it without a budget gets the one that fits it
    #[command(flatten)]
    pub input: Input,
    /// Namespace of a set that is in no input
    #[arg(long, value_name = "NAMESPACE", default_value = "default")]
    pub namespace: String,
    /// Name of its budget
    #[arg(long, value_name = "NAME", conflicts_with_all = ["from", "live"])]
    pub name: Option<String>,
    /// Labels of its pods, and of no others
    #[arg(
        long,
        value_name = "KEY=VALUE",
        value_parser = label,
        value_delimiter = ',',
        conflicts_with_all = ["from", "live"]
    )]
    pub selector: Vec<(String, String)>,
    /// How many pods it has
    #[arg(long, value_name = "PODS", conflicts_with_all = ["from", "live"])]
    pub members: Option<u32>,
    /// What it runs, as the image is called (postgres, mongo, kafka)
    #[arg(long, value_name = "DATABASE", conflicts_with_all = ["from", "live"])]
    pub database: Option<String>,
}

/// Patches with the probes, the pause before the end and the time to end in that are missing
#[derive(Debug, Args)]
#[command(after_help = "Example:
  ferriswheel generate probes --from manifests/ --target 1.36 --ready-path /health/ready --live-path /health/live --out patches/")]
pub struct ProbesArgs {
    #[command(flatten)]
    pub input: Input,
    /// Version of the cluster
    #[arg(long, value_name = "VERSION")]
    pub target: String,
    /// Path that answers when a service can serve; the port alone is asked without it
    #[arg(long, value_name = "PATH")]
    pub ready_path: Option<String>,
    /// Path that answers while the process is worth keeping; no liveness probe without it
    #[arg(long, value_name = "PATH")]
    pub live_path: Option<String>,
}

/// Kinds of disks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Disk {
    /// Premium_LRS: one zone
    Premium,
    /// Premium_ZRS: attaches in each of three zones
    PremiumZrs,
    /// PremiumV2_LRS: one zone, no host cache
    PremiumV2,
}

impl From<Disk> for Sku {
    fn from(disk: Disk) -> Self {
        match disk {
            Disk::Premium => Self::Premium,
            Disk::PremiumZrs => Self::PremiumZoneRedundant,
            Disk::PremiumV2 => Self::PremiumV2,
        }
    }
}

/// A StorageClass whose disks stay, in zones
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  ferriswheel generate storage-class --zones eastus-1,eastus-2,eastus-3
  ferriswheel generate storage-class --from dump/ --sku premium-zrs --name orders-retain")]
pub struct StorageClassArgs {
    /// Its name
    #[arg(long, value_name = "NAME", default_value = "database-retain")]
    pub name: String,
    /// Kind of disks
    #[arg(long, value_enum, default_value = "premium")]
    pub sku: Disk,
    /// Zones as nodes call them (eastus-1)
    #[arg(
        long,
        value_name = "ZONES",
        value_delimiter = ',',
        conflicts_with_all = ["from", "live"]
    )]
    pub zones: Vec<String>,
    /// The zones of its nodes
    #[command(flatten)]
    pub input: Input,
}

/// Forms of a pool on stdout.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum PoolForm {
    /// The az command
    Az,
    /// The deployment template
    Arm,
}

/// A node pool of their own for databases, as az command and as template
#[derive(Debug, Args)]
#[command(after_help = "Example:
  ferriswheel generate node-pool --resource-group production-rg --cluster aks-prod --name statefulpool --zones 1,2,3 --out pool/")]
pub struct NodePoolArgs {
    /// Resource group of the cluster
    #[arg(long, value_name = "NAME")]
    pub resource_group: String,
    /// The cluster
    #[arg(long, value_name = "NAME")]
    pub cluster: String,
    /// Name of the pool: at most 12 lower-case letters and digits
    #[arg(long, value_name = "NAME")]
    pub name: String,
    /// Machines; default: three, or one for each zone
    #[arg(long, value_name = "NODES")]
    pub count: Option<u32>,
    /// Their size
    #[arg(long, value_name = "SIZE", default_value = "Standard_D4s_v5")]
    pub vm_size: String,
    /// Zones by number
    #[arg(long, value_name = "ZONES", value_delimiter = ',')]
    pub zones: Vec<u8>,
    /// Version; default: that of the control plane
    #[arg(long, value_name = "VERSION")]
    pub kubernetes_version: Option<String>,
    /// Label of the nodes, and their taint
    #[arg(long, value_name = "KEY=VALUE", default_value = "workload=stateful")]
    pub workload: String,
    /// Minutes that a node may take to drain
    #[arg(long, value_name = "MINUTES", default_value_t = 60)]
    pub drain_timeout: u32,
    /// Windows nodes
    #[arg(long)]
    pub windows: bool,
    /// What is printed without --out
    #[arg(long, value_enum, default_value = "az")]
    pub form: PoolForm,
}

/// Forms of monitoring.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum MonitoringForm {
    /// PrometheusRule of the community's operator
    PrometheusRule,
    /// A rule file of Prometheus
    RuleFile,
    /// Rule groups of Azure's managed Prometheus, as template
    Azure,
    /// PodMonitor (or ServiceMonitor) in both API groups
    Monitors,
    /// A Grafana dashboard to import
    Dashboard,
}

/// A database that is watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Database {
    Postgres,
    Redis,
    Mongodb,
    Kafka,
    Elasticsearch,
    Mysql,
    Memcached,
}

impl Database {
    pub fn watched(self) -> Watched {
        match self {
            Self::Postgres => Watched::Postgres,
            Self::Redis => Watched::Redis,
            Self::Mongodb => Watched::Mongodb,
            Self::Kafka => Watched::Kafka,
            Self::Elasticsearch => Watched::Elasticsearch,
            Self::Mysql => Watched::Mysql,
            Self::Memcached => Watched::Memcached,
        }
    }
}

/// Rules, monitors and a dashboard, from one model
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  ferriswheel generate monitoring --form prometheus-rule --from dump/ --requests http_requests_total:code
  ferriswheel generate monitoring --form monitors --databases postgres --namespace db --selector app=pg
  ferriswheel generate monitoring --form dashboard --databases postgres,redis > dashboard.json")]
pub struct MonitoringArgs {
    /// What is written
    #[arg(long, value_enum)]
    pub form: MonitoringForm,
    /// Databases beside the nodes and workloads, which are always watched
    #[arg(long, value_enum, value_delimiter = ',', value_name = "DATABASES")]
    pub databases: Vec<Database>,
    /// The databases in it
    #[command(flatten)]
    pub input: Input,
    /// Namespace of the objects, and of --databases
    #[arg(long, value_name = "NAMESPACE", default_value = "default")]
    pub namespace: String,
    /// Counter of requests of your applications, for the rule of their errors
    #[arg(long, value_name = "METRIC:LABEL")]
    pub requests: Option<Requests>,
    /// Region (form azure)
    #[arg(long, value_name = "REGION")]
    pub location: Option<String>,
    /// Resource id of the Azure Monitor workspace (form azure)
    #[arg(long, value_name = "ID")]
    pub workspace: Option<String>,
    /// The cluster whose data is judged (form azure)
    #[arg(long, value_name = "NAME")]
    pub cluster: Option<String>,
    /// Resource id of the action group that is told (form azure)
    #[arg(long, value_name = "ID")]
    pub action_group: Option<String>,
    /// Labels of the pods (form monitors); default: app.kubernetes.io/name=SYSTEM
    #[arg(long, value_name = "KEY=VALUE", value_parser = label, value_delimiter = ',')]
    pub selector: Vec<(String, String)>,
    /// Name of the exporter's port (form monitors)
    #[arg(long, value_name = "NAME", default_value = "metrics")]
    pub port: String,
    /// ServiceMonitor instead of PodMonitor (form monitors)
    #[arg(long)]
    pub services: bool,
}

/// The Job that carries a plan out in the cluster, with its rights
#[derive(Debug, Args)]
#[command(after_help = "Example:
  ferriswheel generate job plan.json --pooler-config pgbouncer-config --tenant TENANT --client-id CLIENT --out run/")]
pub struct JobArgs {
    /// The plan, read and approved
    pub plan: PathBuf,
    /// Namespace of the Job; default: that of the first database
    #[arg(long, value_name = "NAMESPACE")]
    pub namespace: Option<String>,
    /// Image of this program
    #[arg(long, value_name = "IMAGE", default_value = IMAGE)]
    pub image: String,
    /// ConfigMap with the poolers' configuration, which the run aims at the new primary
    #[arg(long, value_name = "NAME")]
    pub pooler_config: Vec<String>,
    /// Tenant of the managed identity
    #[arg(long, value_name = "ID", requires = "client_id")]
    pub tenant: Option<String>,
    /// Client id of the managed identity
    #[arg(long, value_name = "ID", requires = "tenant")]
    pub client_id: Option<String>,
    /// StorageClass of the journal's claim
    #[arg(long, value_name = "NAME")]
    pub storage_class: Option<String>,
}

/// A CronJob that tells every night what the target version would break
#[derive(Debug, Args)]
#[command(after_help = "Example:
  ferriswheel generate feature-check --target 1.36 --namespace ops --right shop/web:list:configmaps")]
pub struct FeatureCheckArgs {
    /// The version to upgrade to
    #[arg(long, value_name = "VERSION")]
    pub target: String,
    /// Namespace of the job
    #[arg(long, value_name = "NAMESPACE", default_value = "default")]
    pub namespace: String,
    /// Image of this program
    #[arg(long, value_name = "IMAGE", default_value = IMAGE)]
    pub image: String,
    /// Image of kubectl; default: registry.k8s.io/kubectl of the target
    #[arg(long, value_name = "IMAGE")]
    pub kubectl_image: Option<String>,
    /// A right that an account must have
    #[arg(long, value_name = "NAMESPACE/ACCOUNT:VERB:RESOURCE")]
    pub right: Vec<Right>,
}

/// A CronJob that scans the images that run for holes with a fix
#[derive(Debug, Args)]
#[command(after_help = "Example:
  ferriswheel generate security-scan --namespace ops --image ghcr.io/aquasecurity/trivy:0.58.1 --every 12")]
pub struct SecurityScanArgs {
    /// Image of trivy, with its version
    #[arg(long, value_name = "IMAGE")]
    pub image: String,
    /// Namespace of the job
    #[arg(long, value_name = "NAMESPACE", default_value = "default")]
    pub namespace: String,
    /// Hours between two scans
    #[arg(long, value_name = "HOURS", default_value_t = 6)]
    pub every: u8,
}
