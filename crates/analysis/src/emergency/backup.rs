//! Backups: how old, and whether one of them has been restored.
//!
//! A Job that completed says that a script ended with 0. That its output is a backup is known when
//! something has restored it: a Job whose name says so, that ended after the backup it restored.

use jiff::Timestamp;
use serde_json::Value;

use super::{Ask, Item, Part, State};
use crate::advise::Found;
use crate::manifest::Object;
use crate::resilience::values::{flag, int, text};

/// A backup, or the restore of one.
pub(super) struct Backup {
    namespace: String,
    name: String,
    /// What it is: `Job`, `VolumeSnapshot`, ...
    kind: String,
    /// When it was done.
    at: Timestamp,
    /// What it is of, where it says so.
    of: String,
    restores: bool,
}

/// Words in names of what makes backups.
const MAKES: &[&str] = &["backup", "dump", "snapshot", "basebackup"];
/// Words in names of what proves them.
const PROVES: &[&str] = &["restore", "verify-backup", "backup-verify", "backup-test"];

/// Everything in the input that is done.
pub(super) fn found(objects: &[Object]) -> Vec<Backup> {
    let mut found: Vec<Backup> = objects
        .iter()
        .filter_map(|object| one(object, object.body.as_deref()?))
        .collect();
    found.sort_by_key(|backup| std::cmp::Reverse(backup.at));
    found
}

fn one(object: &Object, body: &Value) -> Option<Backup> {
    let time = |path: &str| text(body, path)?.parse::<Timestamp>().ok();
    let name = object.name.to_string();
    let says = |words: &[&str]| words.iter().any(|word| name.contains(word));
    let (at, of, restores) = match &*object.kind {
        // Of its own or of its CronJob, both of which say it in the name.
        "Job" if int(body, "/status/succeeded").unwrap_or(0) > 0 => {
            let restores = says(PROVES);
            (restores || says(MAKES)).then_some(())?;
            (time("/status/completionTime")?, name.clone(), restores)
        }
        "CronJob" if says(PROVES) || says(MAKES) => (
            time("/status/lastSuccessfulTime")?,
            name.clone(),
            says(PROVES),
        ),
        "VolumeSnapshot" if flag(body, "/status/readyToUse") == Some(true) => {
            let claim = text(body, "/spec/source/persistentVolumeClaimName").unwrap_or_default();
            (time("/status/creationTime")?, claim.to_owned(), false)
        }
        "Backup" if matches!(text(body, "/status/phase"), Some("completed" | "Completed")) => {
            let of = text(body, "/spec/cluster/name").unwrap_or_default();
            let at = time("/status/stoppedAt").or_else(|| time("/status/completionTimestamp"))?;
            (at, of.to_owned(), false)
        }
        _ => return None,
    };
    Some(Backup {
        namespace: object.namespace.as_deref().unwrap_or_default().to_owned(),
        kind: object.kind.to_string(),
        name,
        at,
        of,
        restores,
    })
}

impl Backup {
    /// Is it of this database, by what it says? In the same namespace, by the name; a namespace with one
    /// backup and one database is not enough to conclude that they belong together.
    fn is_of(&self, found: &Found) -> bool {
        self.namespace == found.namespace && self.of.contains(&found.name)
    }

    fn words(&self) -> String {
        format!(
            "{} {}/{} of {}",
            self.kind, self.namespace, self.name, self.at
        )
    }
}

/// Age and proof of the last backup of a database.
pub(super) fn judge(found: &Found, all: &[Backup], ask: &Ask) -> Vec<Item> {
    let object = &found.object;
    let item =
        |state, seen: String, to_do: &str| Item::new(Part::Backup, object, state, seen, to_do);
    let Some(last) = all
        .iter()
        .find(|backup| !backup.restores && backup.is_of(found))
    else {
        return vec![item(
            State::Skipped,
            format!("no backup with {} in its name is in the input", found.name),
            "take one now, and restore it somewhere; say nothing of a backup that nobody has seen",
        )];
    };
    let age = ask.now.as_second().saturating_sub(last.at.as_second());
    let seen = format!("{}, {} h old", last.words(), age.div_euclid(3600));
    let aged = if age < 0 {
        item(
            State::Fail,
            format!("{seen}: it is of the future; a clock is wrong"),
            "set the clocks right",
        )
    } else if age > ask.max_backup_age {
        item(
            State::Fail,
            seen,
            "take one now: what was written since would be lost",
        )
    } else {
        item(State::Pass, seen, "")
    };
    let proof = all
        .iter()
        .find(|backup| backup.restores && backup.is_of(found));
    let proven = match proof {
        Some(restore) if restore.at >= last.at => item(
            State::Pass,
            format!("{} came after it", restore.words()),
            "",
        ),
        Some(restore) => item(
            State::Fail,
            format!("{} restored an older one", restore.words()),
            "restore the last one: the backup may have been broken since",
        ),
        None => item(
            State::Fail,
            "nothing in the input has restored it; a Completed Job is not a backup".to_owned(),
            "restore it into an empty server and look up what was written last; a Job whose name has `restore` and the database's name is taken as the proof",
        ),
    };
    vec![aged, proven]
}
