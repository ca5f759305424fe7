//! A StorageClass for databases on Azure disks: retained, made where its pod is, in zones.
//!
//! # Source
//! The driver's parameters: `docs/driver-parameters.md` of azuredisk-csi-driver. Its zones are labels
//! `topology.disk.csi.azure.com/zone` with the region before the number.

use serde_json::{Map, Value, json};

use super::{Content, File, Generated, metadata};

/// Kinds of disks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sku {
    /// SSD, one zone.
    Premium,
    /// SSD, copied to three zones; attaches in each of them.
    PremiumZoneRedundant,
    /// SSD of the second generation, one zone; no host cache.
    PremiumV2,
}

impl Sku {
    fn name(self) -> &'static str {
        match self {
            Self::Premium => "Premium_LRS",
            Self::PremiumZoneRedundant => "Premium_ZRS",
            Self::PremiumV2 => "PremiumV2_LRS",
        }
    }
}

/// What is asked for.
#[derive(Clone, Debug)]
pub struct Wish {
    /// Name of the class.
    pub name: String,
    /// Kind of disks.
    pub sku: Sku,
    /// Zones as nodes call them (`eastus-1`).
    pub zones: Vec<String>,
}

/// A class that cannot be made.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum WishError {
    /// Not a zone of Azure.
    #[error("read the zone {0:?}: nodes call it by region and number, such as eastus-1")]
    Zone(String),
}

/// The class.
///
/// # Errors
/// A zone is not one.
pub fn of_wish(wish: &Wish) -> Result<Generated, WishError> {
    if let Some(zone) = wish.zones.iter().find(|zone| !is_zone(zone)) {
        return Err(WishError::Zone(zone.clone()));
    }
    let mut parameters = Map::new();
    parameters.insert("skuName".to_owned(), json!(wish.sku.name()));
    // A host's cache of writes would lose what the disk has acknowledged; one of reads is safe where
    // the disk can have one.
    let cache = if wish.sku == Sku::PremiumV2 {
        "None"
    } else {
        "ReadOnly"
    };
    parameters.insert("cachingMode".to_owned(), json!(cache));
    let mut class = json!({
        "apiVersion": "storage.k8s.io/v1",
        "kind": "StorageClass",
        "metadata": metadata(&wish.name, None),
        "provisioner": "disk.csi.azure.com",
        "parameters": parameters,
        // A claim that is deleted by mistake, or with its set, leaves its disk.
        "reclaimPolicy": "Retain",
        // The disk is made in the zone that the pod was given, not before.
        "volumeBindingMode": "WaitForFirstConsumer",
        "allowVolumeExpansion": true,
    });
    if let (false, Some(fields)) = (wish.zones.is_empty(), class.as_object_mut()) {
        fields.insert("allowedTopologies".to_owned(), topologies(&wish.zones));
    }
    let mut made = Generated::of(File {
        name: "storage-class.yaml".to_owned(),
        about: vec!["Disks that stay when their claim goes; kubectl apply -f FILE".to_owned()],
        content: Content::Kubernetes(vec![class]),
    });
    made.notes.push(
        "a class applies to claims made after it; disks that are there keep their policy: \
         kubectl patch pv NAME -p '{\"spec\":{\"persistentVolumeReclaimPolicy\":\"Retain\"}}'"
            .to_owned(),
    );
    if wish.sku != Sku::PremiumZoneRedundant {
        made.notes.push(
            "a disk of this kind attaches in its own zone alone: the new node of an upgrade must come up there"
                .to_owned(),
        );
    }
    Ok(made)
}

fn topologies(zones: &[String]) -> Value {
    json!([{ "matchLabelExpressions": [{ "key": "topology.disk.csi.azure.com/zone", "values": zones }] }])
}

fn is_zone(zone: &str) -> bool {
    zone.rsplit_once('-').is_some_and(|(region, number)| {
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
        !region.is_empty() && region.chars().all(plain) && matches!(number, "1" | "2" | "3")
    })
}

/// Zones of the nodes in the input.
pub fn zones<'a>(objects: impl IntoIterator<Item = &'a crate::manifest::Object>) -> Vec<String> {
    let mut zones: Vec<String> = objects
        .into_iter()
        .filter(|object| &*object.kind == "Node")
        .filter_map(|object| object.body.as_deref())
        .filter_map(|body| {
            body.pointer("/metadata/labels/topology.kubernetes.io~1zone")?
                .as_str()
        })
        // A regional pool's nodes have a fault domain's number, which is no zone.
        .filter(|zone| is_zone(zone))
        .map(str::to_owned)
        .collect();
    zones.sort();
    zones.dedup();
    zones
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_class_retains_and_stays_in_its_zones() {
        let wish = |zones: &[&str]| Wish {
            name: "db".to_owned(),
            sku: Sku::PremiumV2,
            zones: zones.iter().map(|zone| (*zone).to_owned()).collect(),
        };
        let made = of_wish(&wish(&["eastus-1", "eastus-2"])).unwrap();
        let Content::Kubernetes(objects) = &made.files[0].content else {
            panic!("objects");
        };
        assert_eq!(objects[0]["reclaimPolicy"], "Retain");
        assert_eq!(objects[0]["parameters"]["cachingMode"], "None");
        assert_eq!(
            objects[0]["allowedTopologies"][0]["matchLabelExpressions"][0]["values"],
            json!(["eastus-1", "eastus-2"])
        );
        assert_eq!(of_wish(&wish(&["1"])), Err(WishError::Zone("1".to_owned())));
        assert_eq!(
            of_wish(&wish(&["eastus-4"])),
            Err(WishError::Zone("eastus-4".to_owned()))
        );
    }
}
