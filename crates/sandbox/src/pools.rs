//! The node pools that a sandbox starts with.

use std::collections::BTreeMap;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::binaries::KUBERNETES_VERSION;
use crate::kubelet::config::Taint;

/// One pool.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pool {
    /// Name; 1 to 12 lower-case letters and digits, a letter first.
    pub name: String,
    /// Mode System instead of User.
    pub system: bool,
    /// Number of nodes.
    pub count: u32,
    /// Kubernetes version of the nodes, `1.35.4`.
    pub version: String,
    /// Zones, `1`, `2`, `3`; empty for none.
    pub zones: Vec<String>,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Taints.
    pub taints: Vec<Taint>,
}

/// A pool that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "read the pool '{text}': {why}; write it like \
     name=dbpool,mode=User,count=3,version=1.35.4,zones=1+2+3,label=workload:database,taint=workload:database:NoSchedule"
)]
pub struct Malformed {
    text: String,
    why: String,
}

/// The pools of the practice cluster: `syspool` at the control plane's version, `dbpool` one minor behind it, as after
/// the upgrade of an AKS control plane. `dbpool` is for databases by the label and the taint `workload=database`.
#[must_use]
pub fn practice() -> Vec<Pool> {
    let pool = |name: &str, system, version: &str, zones: &[&str]| Pool {
        name: name.to_owned(),
        system,
        count: u32::try_from(zones.len()).unwrap_or(0),
        version: version.to_owned(),
        zones: zones.iter().map(|zone| (*zone).to_owned()).collect(),
        labels: BTreeMap::new(),
        taints: Vec::new(),
    };
    let mut database = pool("dbpool", false, "1.35.4", &["1", "2", "3"]);
    database
        .labels
        .insert("workload".to_owned(), "database".to_owned());
    database.taints.push(Taint {
        key: "workload".to_owned(),
        value: "database".to_owned(),
        effect: "NoSchedule".to_owned(),
    });
    vec![
        pool("syspool", true, KUBERNETES_VERSION, &["1", "2"]),
        database,
    ]
}

impl FromStr for Pool {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        let fail = |why: String| Malformed {
            text: text.to_owned(),
            why,
        };
        let mut pool = Self {
            name: String::new(),
            system: false,
            count: 1,
            version: KUBERNETES_VERSION.to_owned(),
            zones: Vec::new(),
            labels: BTreeMap::new(),
            taints: Vec::new(),
        };
        for field in text.split(',') {
            let (key, value) = field
                .split_once('=')
                .ok_or_else(|| fail(format!("'{field}' has no '='")))?;
            match key {
                "name" => value.clone_into(&mut pool.name),
                "mode" => {
                    pool.system = match value {
                        "System" => true,
                        "User" => false,
                        _ => {
                            return Err(fail(format!("mode '{value}' is neither System nor User")));
                        }
                    }
                }
                "count" => {
                    pool.count = value
                        .parse()
                        .map_err(|_| fail(format!("count '{value}' is no number")))?;
                }
                "version" => value.clone_into(&mut pool.version),
                "zones" => pool.zones = value.split('+').map(str::to_owned).collect(),
                "label" => {
                    let (key, value) = value
                        .split_once(':')
                        .ok_or_else(|| fail(format!("label '{value}' has no ':'")))?;
                    pool.labels.insert(key.to_owned(), value.to_owned());
                }
                "taint" => {
                    let parts: Vec<&str> = value.split(':').collect();
                    let [key, value, effect] = parts.as_slice() else {
                        return Err(fail(format!("taint '{value}' is not key:value:effect")));
                    };
                    pool.taints.push(Taint {
                        key: (*key).to_owned(),
                        value: (*value).to_owned(),
                        effect: (*effect).to_owned(),
                    });
                }
                _ => return Err(fail(format!("'{key}' is unknown"))),
            }
        }
        if pool.name.is_empty() {
            return Err(fail("it has no name".to_owned()));
        }
        Ok(pool)
    }
}

#[cfg(test)]
mod tests {
    use super::{Pool, practice};

    #[test]
    fn a_pool_is_read_from_a_line() {
        let line = "name=dbpool,mode=User,count=3,version=1.35.4,zones=1+2+3,label=workload:database,taint=workload:database:NoSchedule";
        assert_eq!(line.parse::<Pool>().as_ref(), Ok(&practice()[1]));
    }

    #[test]
    fn an_unknown_field_is_named() {
        let error = "name=a,sise=3".parse::<Pool>().unwrap_err();
        assert!(error.to_string().contains("'sise' is unknown"), "{error}");
    }
}
