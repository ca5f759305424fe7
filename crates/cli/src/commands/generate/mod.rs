//! `ferriswheel generate`: what a cluster wants before an upgrade, as files.

mod args;
mod write;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use clap::{Args, Subcommand};
use ferriswheel_analysis::deprecations::Target;
use ferriswheel_analysis::generate::{
    Content, File, Generated, budgets, cron, job, monitoring, pool, probes, storage,
};
use ferriswheel_analysis::manifest::{Object, Want};
use ferriswheel_plan::plan::Plan;

use crate::Output;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::gather;
use crate::input;
use args::{
    BudgetsArgs, Database, FeatureCheckArgs, Input, JobArgs, MonitoringArgs, MonitoringForm,
    NodePoolArgs, PoolForm, ProbesArgs, SecurityScanArgs, StorageClassArgs,
};

/// Write budgets, probes, storage classes, pools, rules, dashboards and Jobs; applies nothing
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  ferriswheel generate budgets --live | kubectl apply --dry-run=server -f -
  ferriswheel generate probes --from manifests/ --target 1.36 --out patches/
  ferriswheel generate storage-class --zones eastus-1,eastus-2,eastus-3
  ferriswheel generate node-pool --resource-group production-rg --cluster aks-prod --name statefulpool --zones 1,2,3
  ferriswheel generate monitoring --form azure --databases postgres --location eastus --workspace ID --cluster aks-prod
  ferriswheel generate monitoring --form dashboard --databases postgres,redis > dashboard.json
  ferriswheel generate job plan.json --pooler-config pgbouncer-config --out run/
  ferriswheel generate feature-check --target 1.36 --right shop/web:list:configmaps
  ferriswheel generate security-scan --image ghcr.io/aquasecurity/trivy:0.58.1

What is left out, and what to know, is said on stderr; docs/generate.md has the reasons.")]
pub struct GenerateArgs {
    #[command(subcommand)]
    what: What,
    /// Write the files into this directory; what is there is not replaced
    #[arg(long, value_name = "DIR", global = true)]
    out: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
enum What {
    Budgets(BudgetsArgs),
    Probes(ProbesArgs),
    StorageClass(StorageClassArgs),
    NodePool(NodePoolArgs),
    Monitoring(MonitoringArgs),
    Job(JobArgs),
    FeatureCheck(FeatureCheckArgs),
    SecurityScan(SecurityScanArgs),
}

/// Carries out `generate`.
pub async fn run(args: &GenerateArgs, output: Output, quiet: bool) -> Result<Exit, Failure> {
    let to_stdout = args.out.is_none() && output == Output::Text;
    let made = match &args.what {
        What::Budgets(args) => budgets(args, quiet).await?,
        What::Probes(args) => probes(args, quiet).await?,
        What::StorageClass(args) => storage_class(args, quiet).await?,
        What::NodePool(args) => node_pool(args, to_stdout)?,
        What::Monitoring(args) => monitoring(args, quiet).await?,
        What::Job(args) => in_cluster(args)?,
        What::FeatureCheck(args) => feature_check(args)?,
        What::SecurityScan(args) => cron::security_scan(&cron::Scan {
            namespace: args.namespace.clone(),
            image: args.image.clone(),
            hours: args.every,
        })
        .map_err(|e| {
            refuse(
                &e,
                "name an image with its version, and hours that divide a day",
            )
        })?,
    };
    write::give(&made, args.out.as_deref(), output, quiet)?;
    Ok(Exit::Done)
}

fn refuse(error: &dyn std::error::Error, fix: &str) -> Failure {
    let failure = Failure::input(format!("failed to {error}")).fix(fix);
    match error.source() {
        Some(cause) => failure.evidence(cause.to_string()),
        None => failure,
    }
}

/// Objects of what was named, with what could not be read.
async fn read(input: &Input, made: &mut Generated, quiet: bool) -> Result<Vec<Object>, Failure> {
    let (reading, _) = if input.live {
        gather::read(&input.connection, None, Want::Bodies, quiet).await?
    } else {
        input::read(&input.from, Want::Bodies)?
    };
    for skipped in reading.skipped {
        made.notes
            .push(format!("skipped {}: {}", skipped.file, skipped.reason));
    }
    Ok(reading.objects)
}

fn with_notes(mut made: Generated, mut before: Generated) -> Generated {
    before.notes.append(&mut made.notes);
    made.notes = before.notes;
    made
}

async fn budgets(args: &BudgetsArgs, quiet: bool) -> Result<Generated, Failure> {
    if args.input.is_given() {
        let mut notes = Generated::default();
        let objects = read(&args.input, &mut notes, quiet).await?;
        return Ok(with_notes(budgets::of_objects(&objects), notes));
    }
    let (Some(name), Some(members)) = (&args.name, args.members) else {
        return Err(Failure::input("nothing says for which pods the budget is")
            .fix("say --live, --from with a dump, or --name, --selector and --members"));
    };
    budgets::of_wish(&budgets::Wish {
        namespace: args.namespace.clone(),
        name: name.clone(),
        selector: args.selector.iter().cloned().collect(),
        members: i64::from(members),
        database: args.database.clone(),
    })
    .map_err(|e| refuse(&e, "give it the members first, or leave the budget out"))
}

fn minor(target: &str) -> Result<u32, Failure> {
    Target::parse([target])
        .map(|target| target.minor)
        .map_err(|e| refuse(&e, "say --target 1.36, the version that you upgrade to"))
}

async fn probes(args: &ProbesArgs, quiet: bool) -> Result<Generated, Failure> {
    let wish = probes::Wish {
        minor: minor(&args.target)?,
        ready_path: args.ready_path.clone(),
        live_path: args.live_path.clone(),
    };
    if !args.input.is_given() {
        return Err(Failure::input("nothing says which workloads want probes")
            .fix("say --live, or --from with manifests or a dump"));
    }
    let mut notes = Generated::default();
    let objects = read(&args.input, &mut notes, quiet).await?;
    Ok(with_notes(probes::of_objects(&objects, &wish), notes))
}

async fn storage_class(args: &StorageClassArgs, quiet: bool) -> Result<Generated, Failure> {
    let mut notes = Generated::default();
    let mut zones = args.zones.clone();
    if args.input.is_given() {
        zones = storage::zones(&read(&args.input, &mut notes, quiet).await?);
        if zones.is_empty() {
            notes
                .notes
                .push("no node of the input is in a zone: the class is for all of them".to_owned());
        }
    }
    let wish = storage::Wish {
        name: args.name.clone(),
        sku: args.sku.into(),
        zones,
    };
    let made = storage::of_wish(&wish)
        .map_err(|e| refuse(&e, "say --zones eastus-1,eastus-2,eastus-3"))?;
    Ok(with_notes(made, notes))
}

fn node_pool(args: &NodePoolArgs, to_stdout: bool) -> Result<Generated, Failure> {
    let wish = pool::Wish {
        resource_group: args.resource_group.clone(),
        cluster: args.cluster.clone(),
        name: args.name.clone(),
        count: args
            .count
            .unwrap_or_else(|| u32::try_from(args.zones.len().max(3)).unwrap_or(3)),
        vm_size: args.vm_size.clone(),
        zones: args.zones.clone(),
        version: args.kubernetes_version.clone(),
        workload: args.workload.clone(),
        drain_timeout: args.drain_timeout,
        windows: args.windows,
    };
    let mut made = pool::of_wish(&wish)
        .map_err(|e| refuse(&e, "change it as the message says: AKS would refuse it"))?;
    if to_stdout {
        made.files
            .retain(|file| matches!(file.content, Content::Arm(_)) == (args.form == PoolForm::Arm));
    }
    Ok(made)
}

async fn monitoring(args: &MonitoringArgs, quiet: bool) -> Result<Generated, Failure> {
    let mut notes = Generated::default();
    let mut places: BTreeMap<monitoring::Watched, BTreeSet<String>> = args
        .databases
        .iter()
        .map(|database| {
            (
                Database::watched(*database),
                BTreeSet::from([args.namespace.clone()]),
            )
        })
        .collect();
    if args.input.is_given() {
        for (watched, namespaces) in monitoring::found(&read(&args.input, &mut notes, quiet).await?)
        {
            places.entry(watched).or_default().extend(namespaces);
        }
    }
    let watched: Vec<monitoring::Watched> = places.keys().copied().collect();
    let groups = monitoring::groups(&watched, args.requests.as_ref());
    let made = match args.form {
        MonitoringForm::PrometheusRule => monitoring::prometheus_rule(&groups, &args.namespace),
        MonitoringForm::RuleFile => monitoring::rule_file(&groups),
        MonitoringForm::Azure => {
            let (Some(location), Some(workspace), Some(cluster)) =
                (&args.location, &args.workspace, &args.cluster)
            else {
                return Err(Failure::input(
                    "a rule group of Azure lives in a region, for a workspace and a cluster",
                )
                .fix("say --location, --workspace and --cluster"));
            };
            monitoring::azure_rules(
                &groups,
                &monitoring::Azure {
                    location: location.clone(),
                    workspace: workspace.clone(),
                    cluster: cluster.clone(),
                    action_group: args.action_group.clone(),
                },
            )
        }
        MonitoringForm::Monitors => {
            if places.is_empty() {
                return Err(Failure::input("nothing says which databases are monitored")
                    .fix("say --databases postgres,redis, --live, or --from with a dump"));
            }
            let labels = args.selector.iter().cloned().collect();
            monitoring::monitors(&places, &labels, &args.port, args.services)
        }
        MonitoringForm::Dashboard => Generated {
            files: vec![File {
                name: "dashboard.json".to_owned(),
                about: vec!["Grafana: Dashboards, New, Import".to_owned()],
                content: Content::Dashboard(monitoring::dashboard(&watched)),
            }],
            ..Generated::default()
        },
    };
    Ok(with_notes(made, notes))
}

fn in_cluster(args: &JobArgs) -> Result<Generated, Failure> {
    let unreadable = |e: &dyn std::fmt::Display| {
        Failure::input(format!("{} is no plan: {e}", args.plan.display()))
            .fix("write one: ferriswheel plan upgrade.yaml --out plan.json")
    };
    let bytes = std::fs::read(&args.plan).map_err(|e| unreadable(&e))?;
    let plan: Plan = serde_json::from_slice(&bytes).map_err(|e| unreadable(&e))?;
    if !plan.is_intact().map_err(|e| Failure::unexpected(&e))? {
        return Err(unreadable(&"it was edited after it was made"));
    }
    let identity = args.tenant.clone().zip(args.client_id.clone());
    job::of_plan(
        &plan,
        &job::Wish {
            namespace: args.namespace.clone(),
            image: args.image.clone(),
            pooler_configs: args.pooler_config.clone(),
            identity,
            storage_class: args.storage_class.clone(),
        },
    )
    .map_err(|e| {
        refuse(
            &e,
            "say what is missing; kubectl -n NAMESPACE get configmaps shows the names",
        )
    })
}

fn feature_check(args: &FeatureCheckArgs) -> Result<Generated, Failure> {
    let minor = minor(&args.target)?;
    Ok(cron::feature_check(&cron::Features {
        namespace: args.namespace.clone(),
        minor,
        image: args.image.clone(),
        kubectl: args
            .kubectl_image
            .clone()
            .unwrap_or_else(|| format!("registry.k8s.io/kubectl:v1.{minor}.0")),
        rights: args.right.clone(),
    }))
}
