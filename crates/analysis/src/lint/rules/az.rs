//! az: commands, options and values.

use crate::lint::az::Az;
use crate::lint::kubectl::Kubectl;
use crate::lint::{Findings, Runbook, codes};

/// Names of maintenance configurations.
const CONFIGURATIONS: [&str; 3] = [
    "default",
    "aksManagedAutoUpgradeSchedule",
    "aksManagedNodeOSUpgradeSchedule",
];

/// Options whose value is a number in a range: group of the command, option, lowest, highest.
///
/// Traffic Manager's weights and priorities: 0 is refused, an endpoint is switched off by its
/// status. Drain and soak minutes and hours of a window: as AKS documents them.
const RANGES: [(&str, &str, i64, i64); 6] = [
    ("network traffic-manager endpoint", "--weight", 1, 1000),
    ("network traffic-manager endpoint", "--priority", 1, 1000),
    ("aks nodepool", "--drain-timeout", 5, 1440),
    ("aks nodepool", "--node-soak-duration", 0, 30),
    ("aks maintenance", "--duration", 4, 24),
    ("aks maintenance", "--start-hour", 0, 23),
];

/// Options with a closed set of values.
const CHOICES: [(&str, &str, &[&str]); 3] = [
    (
        "aks",
        "--auto-upgrade-channel",
        &["rapid", "stable", "patch", "node-image", "none"],
    ),
    (
        "aks",
        "--node-os-upgrade-channel",
        &["None", "Unmanaged", "NodeImage", "SecurityPatch"],
    ),
    (
        "aks nodepool",
        "--undrainable-node-behavior",
        &["Cordon", "Schedule"],
    ),
];

pub(super) fn ask(book: &Runbook<'_>, found: &mut Findings) {
    let preview = book.commands.calls.iter().any(|call| {
        let line = call.line();
        line.contains("extension add") && line.contains("aks-preview")
    });
    let defaults = book.commands.calls.iter().any(|call| {
        let line = call.line();
        line.starts_with("az configure") || line.starts_with("az config set defaults")
    });
    let mut drained: Option<(usize, String)> = None;
    for call in &book.commands.calls {
        if let Some(command) = Kubectl::of(call)
            && command.verb == "drain"
            && let Some(node) = command.args.first()
        {
            drained = Some((call.script, node.text.clone()));
        }
        let Some(az) = Az::of(call) else { continue };
        if az.flag(&["--help", "-h"]).is_some() {
            continue;
        }
        let of_preview = preview && az.path.starts_with("aks");
        if !of_preview {
            command(&az, defaults, found);
        }
        values(&az, found);
        pools(&az, found);
        maintenance(&az, found);
        exclusive(&az, found);
        records(&az, found);
        resources(&az, found);
        progress(&az, found);
        whole_pool(&az, drained.as_ref(), found);
        if let Some(flag) = az.flag(&["--enable-force-upgrade"]) {
            found.push(
                codes::FORCED_UPGRADE,
                flag.word.place,
                "a forced upgrade passes over the disruption budgets: every pod of a database may go at once",
                "clear what blocks the upgrade, or name --upgrade-override-until and let a person approve it",
            );
        }
    }
}

fn command(az: &Az<'_>, defaults: bool, found: &mut Findings) {
    if az.is_unknown() {
        let fix = az.nearest_command().map_or_else(
            || "`az --help` lists the commands".to_owned(),
            |near| format!("write az {near}"),
        );
        let fix = if az.path.starts_with("aks maintenance") {
            "write az aks maintenanceconfiguration add --name aksManagedNodeOSUpgradeSchedule --schedule-type Weekly --day-of-week Monday --interval-weeks 1 --start-time 00:00 --duration 4".to_owned()
        } else {
            fix
        };
        found.push(
            codes::AZ_COMMAND,
            az.call.place(),
            format!("there is no command az {}", az.path),
            fix,
        );
        return;
    }
    let Some(known) = az.known() else { return };
    for flag in &az.flags {
        if Az::has(known, flag.name) || flag.name.contains('$') {
            continue;
        }
        let fix = match (az.path.as_str(), flag.name) {
            ("aks nodepool update", "--auto-upgrade-channel") => {
                "channels belong to the cluster: az aks update --node-os-upgrade-channel SecurityPatch".to_owned()
            }
            (_, "--planned-maintenance-config" | "--schedule-config" | "--maintenance-window") => {
                "windows are objects of their own: az aks maintenanceconfiguration add --name ... --config-file ...".to_owned()
            }
            (_, "--max-blocked-nodes" | "--upgrade-strategy") => {
                "only the extension aks-preview has it: leave it out, or say `az extension add --name aks-preview` before".to_owned()
            }
            _ => Az::nearest(known, flag.name).map_or_else(
                || format!("`az {} --help` lists what there is", az.path),
                |near| format!("write {near}"),
            ),
        };
        found.push(
            codes::AZ_OPTION,
            flag.word.place,
            format!("az {} has no option {}", az.path, flag.name),
            fix,
        );
    }
    if az.flag(&["--ids"]).is_some()
        || az
            .call
            .args()
            .iter()
            .any(|word| word.text.starts_with('$') || word.text.starts_with("@"))
    {
        return;
    }
    let missing: Vec<&str> = known
        .iter()
        .filter(|one| one.required && !(defaults && one.names.contains(&"-g")))
        .filter(|one| {
            !az.flags.iter().any(|flag| {
                one.names.iter().any(|name| {
                    *name == flag.name
                        || (flag.name.starts_with("--") && name.starts_with(flag.name))
                        || (!flag.name.starts_with("--") && flag.name.get(..2) == Some(*name))
                })
            })
        })
        .filter_map(|one| one.names.first().copied())
        .collect();
    if !missing.is_empty() {
        found.push(
            codes::AZ_MISSING,
            az.call.place(),
            format!("az {} does not start without {}", az.path, missing.join(" and ")),
            if missing.contains(&"--type") {
                format!("add {} (of Traffic Manager: azureEndpoints, externalEndpoints or nestedEndpoints)", missing.join(" and "))
            } else {
                format!("add {}", missing.join(" and "))
            },
        );
    }
}

fn values(az: &Az<'_>, found: &mut Findings) {
    for (group, option, low, high) in RANGES {
        if !az.path.starts_with(group) {
            continue;
        }
        let Some(flag) = az.flag(&[option]) else {
            continue;
        };
        let value = flag.values.first().and_then(|text| super::number(text));
        if value.is_some_and(|value| !(low..=high).contains(&value)) {
            let fix = if option == "--weight" {
                "to take an endpoint out, write --endpoint-status Disabled (after the other one is Enabled and Online)".to_owned()
            } else {
                format!("write a number from {low} to {high}")
            };
            found.push(
                codes::AZ_VALUE,
                flag.word.place,
                format!("{option} takes {low} to {high}"),
                fix,
            );
        }
    }
    for (group, option, choices) in CHOICES {
        if !az.path.starts_with(group) || az.known().is_none_or(|known| !Az::has(known, option)) {
            continue;
        }
        let Some(flag) = az.flag(&[option]) else {
            continue;
        };
        let Some(value) = flag.values.first().filter(|value| !value.contains('$')) else {
            continue;
        };
        if !choices
            .iter()
            .any(|choice| choice.eq_ignore_ascii_case(value))
        {
            found.push(
                codes::AZ_VALUE,
                flag.word.place,
                format!("{option} does not take {value}"),
                format!("one of {}", choices.join(", ")),
            );
        }
    }
    let share = az
        .value(&["--max-surge"])
        .and_then(|text| text.strip_suffix('%'));
    let percent = share.and_then(super::number);
    if let (Some(flag), Some(101..)) = (az.flag(&["--max-surge"]), percent) {
        found.push(
            codes::AZ_VALUE,
            flag.word.place,
            "--max-surge takes at most 100%",
            "write a percentage from 1% to 100% (33% is what Microsoft advises), or a number of nodes",
        );
    }
    let number = |option: &str| {
        az.value(&[option])
            .and_then(|text| super::number(text.trim_end_matches('%')))
    };
    if number("--max-surge") == Some(0)
        && number("--max-unavailable").unwrap_or(0) == 0
        && let Some(flag) = az.flag(&["--max-surge"])
    {
        found.push(
            codes::AZ_VALUE,
            flag.word.place,
            "without a surge node and without one that may be unavailable no node can be upgraded",
            "write --max-surge 1, or --max-unavailable 1 beside --max-surge 0",
        );
    }
}

fn pools(az: &Az<'_>, found: &mut Findings) {
    if !az.path.starts_with("aks nodepool") {
        return;
    }
    let Some(flag) = az.flag(&["--name", "-n", "--nodepool-name"]) else {
        return;
    };
    let Some(name) = flag.values.first().filter(|name| !name.contains('$')) else {
        return;
    };
    let taken = name.len() <= 12
        && name.starts_with(|c: char| c.is_ascii_lowercase())
        && name
            .chars()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
    // A placeholder is no name.
    if !taken && !name.starts_with('_') {
        found.push(
            codes::AZ_VALUE,
            flag.word.place,
            format!("a pool cannot be named {name}: at most 12 small letters and digits, a letter first (6 for Windows)"),
            "choose a shorter name without dashes, such as statefulpool",
        );
    }
}

fn maintenance(az: &Az<'_>, found: &mut Findings) {
    if !az.path.starts_with("aks maintenance") || az.path.ends_with("list") {
        return;
    }
    if let Some(flag) = az.flag(&["--name", "-n", "--config-name"])
        && let Some(name) = flag.values.first().filter(|name| !name.contains('$'))
        && !CONFIGURATIONS.contains(name)
        && !name.starts_with('_')
    {
        found.push(
            codes::AZ_VALUE,
            flag.word.place,
            format!("there is no maintenance configuration {name}: AKS reads three names alone"),
            format!("one of {}", CONFIGURATIONS.join(", ")),
        );
    }
    for option in ["--week-index", "--day-of-week", "--weekday"] {
        if let Some(flag) = az.flag(&[option])
            && flag.values.iter().any(|value| value.contains(','))
        {
            found.push(
                codes::AZ_VALUE,
                flag.word.place,
                format!("{option} takes one value"),
                "write one day; for more days use --config-file, or a daily schedule",
            );
        }
    }
}

fn exclusive(az: &Az<'_>, found: &mut Findings) {
    if az.path != "aks nodepool upgrade" || az.flag(&["--node-image-only"]).is_none() {
        return;
    }
    let others = [
        "--max-surge",
        "--drain-timeout",
        "--node-soak-duration",
        "--max-unavailable",
        "--undrainable-node-behavior",
        "--kubernetes-version",
        "-k",
    ];
    if let Some(flag) = az.flags.iter().find(|flag| others.contains(&flag.name)) {
        found.push(
            codes::AZ_EXCLUSIVE,
            flag.word.place,
            format!("az refuses {} beside --node-image-only", flag.name),
            "set it first with az aks nodepool update, then upgrade with --node-image-only alone",
        );
    }
}

fn records(az: &Az<'_>, found: &mut Findings) {
    if az.path == "network dns record-set cname set-record" && az.flag(&["--ttl"]).is_none() {
        found.push(
            codes::TTL,
            az.call.place(),
            "without --ttl the record gets a TTL of 3600 s, whatever it had: a rollback takes up to an hour",
            "say the TTL that the record has (az network dns record-set cname show --query TTL), such as --ttl 30",
        );
    }
}

fn resources(az: &Az<'_>, found: &mut Findings) {
    let flag = if az.path.starts_with("network traffic-manager endpoint") {
        az.flag(&["--target-resource-id"])
    } else if az.path.starts_with("fleet member") {
        az.flag(&["--member-cluster-id"])
    } else {
        None
    };
    let Some(flag) = flag else { return };
    let id = flag.values.first().copied().unwrap_or_default();
    let small = id.to_ascii_lowercase();
    if az.path.starts_with("fleet") {
        if small.starts_with('/') && !small.contains("/managedclusters/") && !small.contains('$') {
            found.push(
                codes::WRONG_RESOURCE,
                flag.word.place,
                "a member of a fleet is a managedClusters resource",
                "write /subscriptions/.../providers/Microsoft.ContainerService/managedClusters/NAME",
            );
        }
    } else if small.contains("/clusters/") || small.contains("/managedclusters/") {
        found.push(
            codes::WRONG_RESOURCE,
            flag.word.place,
            "Traffic Manager cannot lead to a cluster: its target is a public address with a DNS label, a web app or a name",
            "write the id of the ingress's public address, or an external endpoint with --target",
        );
    }
}

fn progress(az: &Az<'_>, found: &mut Findings) {
    let watched = az.call.polled || az.call.wrappers.iter().any(|name| name == "watch");
    let settings = az
        .value(&["--query"])
        .is_some_and(|query| query.contains("upgradeSettings"));
    if az.path == "aks nodepool show" && watched && settings {
        found.push(
            codes::NO_PROGRESS,
            az.call.place(),
            "upgradeSettings are what the upgrade was told; they do not change while it runs",
            "watch --query \"{state:provisioningState, image:nodeImageVersion, version:currentOrchestratorVersion}\"",
        );
    }
}

fn whole_pool(az: &Az<'_>, drained: Option<&(usize, String)>, found: &mut Findings) {
    let Some((_, node)) = drained.filter(|(script, _)| *script == az.call.script) else {
        return;
    };
    if az.path == "aks nodepool upgrade" {
        found.push(
            codes::WHOLE_POOL,
            az.call.place(),
            format!("this upgrades every node of the pool, not only {node} that was drained: the other members' nodes go in the same run"),
            "move the members to a pool that is upgraded already, or hand over and verify before the whole pool goes",
        );
    }
}
