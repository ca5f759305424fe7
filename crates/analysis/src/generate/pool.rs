//! A node pool of their own for databases, as a command and as a deployment template.
//!
//! # Source
//! `az aks nodepool add` of azure-cli 2.91.0; agentPools of the API 2026-08-01, whose stable upgrade
//! settings are maxSurge, maxUnavailable, drainTimeoutInMinutes, nodeSoakDurationInMinutes and
//! undrainableNodeBehavior. `--max-blocked-nodes` is a preview's and is not used.

use serde_json::{Value, json};

use super::{Content, File, Generated};

/// Longest name of a pool of Linux nodes: the rest of a machine's name is AKS's.
const LINUX_NAME: usize = 12;
/// Longest name of a pool of Windows nodes.
const WINDOWS_NAME: usize = 6;

/// What is asked for.
#[derive(Clone, Debug)]
pub struct Wish {
    /// Resource group of the cluster.
    pub resource_group: String,
    /// The cluster.
    pub cluster: String,
    /// Name of the pool.
    pub name: String,
    /// Machines.
    pub count: u32,
    /// Their size.
    pub vm_size: String,
    /// Zones by number; empty for a regional pool.
    pub zones: Vec<u8>,
    /// Version; nothing for that of the control plane.
    pub version: Option<String>,
    /// Label and taint, `key=value`.
    pub workload: String,
    /// Minutes that a node may take to drain.
    pub drain_timeout: u32,
    /// Windows nodes.
    pub windows: bool,
}

/// A pool that AKS would not make, or that would not hold a database.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum WishError {
    /// The name is refused by AKS.
    #[error(
        "name the pool {name:?}: AKS takes lower-case letters and digits, a letter first, at most {most} (try {instead:?})"
    )]
    Name {
        /// The name.
        name: String,
        /// How many characters.
        most: usize,
        /// A name like it that AKS takes.
        instead: String,
    },
    /// Not a label's key and value.
    #[error("read {0:?}: the label and taint are written key=value")]
    Workload(String),
    /// Zones are 1, 2 and 3.
    #[error("read zone {0}: zones are 1, 2 and 3, each at most once")]
    Zone(u8),
    /// Fewer machines than zones.
    #[error("spread {count} machines over {zones} zones: a zone would have none")]
    Count {
        /// Machines.
        count: u32,
        /// Zones.
        zones: usize,
    },
    /// AKS takes 5 minutes to a day.
    #[error("wait {0} minutes for a drain: AKS takes 5 to 1440")]
    DrainTimeout(u32),
}

/// The pool.
///
/// # Errors
/// AKS would refuse it.
pub fn of_wish(wish: &Wish) -> Result<Generated, WishError> {
    check(wish)?;
    let mut made = Generated {
        files: vec![
            File {
                name: "node-pool.sh".to_owned(),
                about: vec![
                    "A pool of their own for databases; the template beside it is the same pool"
                        .to_owned(),
                ],
                content: Content::Command(command(wish)),
            },
            File {
                name: "node-pool.json".to_owned(),
                about: vec![format!(
                    "az deployment group create --resource-group {} --template-file node-pool.json",
                    wish.resource_group
                )],
                content: Content::Arm(template(wish)),
            },
        ],
        ..Generated::default()
    };
    if let Some((key, value)) = wish.workload.split_once('=') {
        made.notes.push(format!(
            "pods go there by nodeSelector {{ {key}: {value} }} and a toleration of {key}={value}:NoSchedule"
        ));
    }
    if wish.zones.is_empty() {
        made.notes.push(
            "a pool without zones: all members of a database may stand behind one failure"
                .to_owned(),
        );
    }
    Ok(made)
}

fn check(wish: &Wish) -> Result<(), WishError> {
    let most = if wish.windows {
        WINDOWS_NAME
    } else {
        LINUX_NAME
    };
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let is_name = wish.name.starts_with(|c: char| c.is_ascii_lowercase())
        && wish.name.chars().all(plain)
        && wish.name.len() <= most;
    if !is_name {
        let kept = wish.name.to_ascii_lowercase();
        let kept: String = kept
            .chars()
            .filter(|c| plain(*c))
            .skip_while(char::is_ascii_digit)
            .take(most)
            .collect();
        return Err(WishError::Name {
            name: wish.name.clone(),
            most,
            instead: if kept.is_empty() {
                "dbpool".to_owned()
            } else {
                kept
            },
        });
    }
    let good = |part: &str| {
        !part.is_empty()
            && part.len() <= 63
            && part
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '/'))
    };
    match wish.workload.split_once('=') {
        Some((key, value)) if good(key) && good(value) => {}
        _ => return Err(WishError::Workload(wish.workload.clone())),
    }
    for (i, zone) in wish.zones.iter().enumerate() {
        let again = wish.zones.iter().skip(i + 1).any(|other| other == zone);
        if !(1..=3).contains(zone) || again {
            return Err(WishError::Zone(*zone));
        }
    }
    if usize::try_from(wish.count).is_ok_and(|count| count < wish.zones.len().max(1)) {
        return Err(WishError::Count {
            count: wish.count,
            zones: wish.zones.len(),
        });
    }
    if !(5..=1440).contains(&wish.drain_timeout) {
        return Err(WishError::DrainTimeout(wish.drain_timeout));
    }
    Ok(())
}

/// A surge node for each zone: fewer, and a disk of a zone without one has nowhere to attach.
fn surge(wish: &Wish) -> String {
    wish.zones.len().max(1).to_string()
}

fn command(wish: &Wish) -> String {
    let zones: Vec<String> = wish.zones.iter().map(u8::to_string).collect();
    let mut options = vec![
        ("--resource-group", quoted(&wish.resource_group)),
        ("--cluster-name", quoted(&wish.cluster)),
        ("--name", wish.name.clone()),
        ("--mode", "User".to_owned()),
        ("--node-count", wish.count.to_string()),
        ("--node-vm-size", quoted(&wish.vm_size)),
    ];
    if wish.windows {
        options.push(("--os-type", "Windows".to_owned()));
    }
    if !zones.is_empty() {
        options.push(("--zones", zones.join(" ")));
    }
    if let Some(version) = &wish.version {
        options.push(("--kubernetes-version", quoted(version)));
    }
    options.push(("--labels", wish.workload.clone()));
    options.push(("--node-taints", format!("{}:NoSchedule", wish.workload)));
    options.push(("--max-surge", surge(wish)));
    options.push(("--drain-timeout", wish.drain_timeout.to_string()));
    // A node that does not drain stays cordoned and is kept, instead of going back to work half empty.
    options.push(("--undrainable-node-behavior", "Cordon".to_owned()));
    let lines: Vec<String> = options
        .into_iter()
        .map(|(name, value)| format!("  {name} {value}"))
        .collect();
    format!("az aks nodepool add \\\n{}\n", lines.join(" \\\n"))
}

/// For a shell, where it needs to be.
fn quoted(value: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    if !value.is_empty() && value.chars().all(plain) {
        value.to_owned()
    } else {
        format!("'{}'", value.replace('\'', "'\\''"))
    }
}

fn template(wish: &Wish) -> Value {
    let (key, value) = wish.workload.split_once('=').unwrap_or_default();
    let zones: Vec<String> = wish.zones.iter().map(u8::to_string).collect();
    let mut properties = json!({
        "mode": "User",
        "osType": if wish.windows { "Windows" } else { "Linux" },
        "type": "VirtualMachineScaleSets",
        "count": wish.count,
        "vmSize": wish.vm_size,
        "nodeLabels": { key: value },
        "nodeTaints": [format!("{}:NoSchedule", wish.workload)],
        "upgradeSettings": {
            "maxSurge": surge(wish),
            "drainTimeoutInMinutes": wish.drain_timeout,
            "undrainableNodeBehavior": "Cordon",
        },
    });
    if let Some(fields) = properties.as_object_mut() {
        if !zones.is_empty() {
            fields.insert("availabilityZones".to_owned(), json!(zones));
        }
        if let Some(version) = &wish.version {
            fields.insert("orchestratorVersion".to_owned(), json!(version));
        }
    }
    json!({
        "$schema": "https://schema.management.azure.com/schemas/2019-04-01/deploymentTemplate.json#",
        "contentVersion": "1.0.0.0",
        "resources": [{
            "type": "Microsoft.ContainerService/managedClusters/agentPools",
            "apiVersion": "2026-08-01",
            "name": format!("{}/{}", wish.cluster, wish.name),
            "properties": properties,
        }],
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wish() -> Wish {
        Wish {
            resource_group: "production-rg".to_owned(),
            cluster: "aks-prod".to_owned(),
            name: "statefulpool".to_owned(),
            count: 3,
            vm_size: "Standard_D4s_v5".to_owned(),
            zones: vec![1, 2, 3],
            version: Some("1.36.3".to_owned()),
            workload: "workload=stateful".to_owned(),
            drain_timeout: 60,
            windows: false,
        }
    }

    #[test]
    fn az_knows_every_option_of_the_command() {
        let made = of_wish(&wish()).unwrap();
        let script = format!("#!/bin/bash\nset -euo pipefail\n{}", made.files[0].text());
        let report = crate::lint::lint("pool.sh", script.as_bytes());
        assert_eq!(report.findings, []);
        assert_eq!(report.skipped, []);
        // The linter is not asleep.
        let wrong = script.replace("--max-surge", "--max-blocked-nodes");
        assert_ne!(crate::lint::lint("pool.sh", wrong.as_bytes()).findings, []);
        let wrong = script.replace("statefulpool", "stateful-pool");
        assert_ne!(crate::lint::lint("pool.sh", wrong.as_bytes()).findings, []);
    }

    #[test]
    fn names_that_aks_refuses_are_refused() {
        for (name, windows, instead) in [
            ("stateful-pool", false, "statefulpool"),
            ("Databases", false, "databases"),
            ("1st", false, "st"),
            ("statefulpools", false, "statefulpool"),
            ("winpool", true, "winpoo"),
            ("", false, "dbpool"),
        ] {
            let wish = Wish {
                name: name.to_owned(),
                windows,
                ..wish()
            };
            match of_wish(&wish) {
                Err(WishError::Name { instead: found, .. }) => assert_eq!(found, instead),
                other => panic!("{name}: {other:?}"),
            }
            assert!(
                of_wish(&Wish {
                    name: instead.to_owned(),
                    ..wish
                })
                .is_ok()
            );
        }
    }

    #[test]
    fn what_cannot_be_is_refused() {
        let with = |change: fn(&mut Wish)| {
            let mut wish = wish();
            change(&mut wish);
            of_wish(&wish).map(|_| ())
        };
        assert_eq!(with(|w| w.zones = vec![1, 1]), Err(WishError::Zone(1)));
        assert_eq!(with(|w| w.zones = vec![4]), Err(WishError::Zone(4)));
        assert_eq!(
            with(|w| w.count = 2),
            Err(WishError::Count { count: 2, zones: 3 })
        );
        assert_eq!(
            with(|w| w.drain_timeout = 4),
            Err(WishError::DrainTimeout(4))
        );
        assert!(matches!(
            with(|w| w.workload = "stateful".to_owned()),
            Err(WishError::Workload(_))
        ));
    }

    #[test]
    fn the_template_says_what_the_command_says() {
        let made = of_wish(&wish()).unwrap();
        let Content::Arm(template) = &made.files[1].content else {
            panic!("a template");
        };
        let resource = &template["resources"][0];
        assert_eq!(resource["name"], "aks-prod/statefulpool");
        assert_eq!(resource["properties"]["upgradeSettings"]["maxSurge"], "3");
        assert_eq!(
            resource["properties"]["availabilityZones"],
            json!(["1", "2", "3"])
        );
        assert_eq!(
            resource["properties"]["nodeTaints"],
            json!(["workload=stateful:NoSchedule"])
        );
    }
}
