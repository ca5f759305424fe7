//! Objects as the API server has them, for checks that need no cluster afterwards.
//!
//! Everything is listed page by page, at the version that the server prefers, and left as JSON: whoever reads it later may
//! know more than this program. Of Secrets only Helm's release records are asked for.

use std::time::Duration;

use http::Request;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{APIGroupList, APIResourceList};
use kube::Client;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{RequestError, request};

/// Objects of a page. kubectl's own number: small enough for any API server, large enough that the
/// round trips do not count.
const PAGE: u32 = 500;

/// Tries of one request that failed for a passing reason.
const TRIES: u32 = 4;

/// Pause before it is tried again.
const AGAIN: Duration = Duration::from_secs(1);

/// A list whose continuation expired (about five minutes after it began) is begun anew so often.
const STARTS: u32 = 3;

/// Built-in kinds, as (group, plural): what the checks read, and whatever an upgrade may touch.
const BUILT_IN: [(&str, &[&str]); 13] = [
    (
        "",
        &[
            "configmaps",
            "events",
            "limitranges",
            "namespaces",
            "nodes",
            "persistentvolumeclaims",
            "persistentvolumes",
            "pods",
            "replicationcontrollers",
            "resourcequotas",
            "serviceaccounts",
            "services",
        ],
    ),
    (
        "admissionregistration.k8s.io",
        &[
            "mutatingwebhookconfigurations",
            "validatingwebhookconfigurations",
        ],
    ),
    ("apiextensions.k8s.io", &["customresourcedefinitions"]),
    ("apiregistration.k8s.io", &["apiservices"]),
    (
        "apps",
        &["daemonsets", "deployments", "replicasets", "statefulsets"],
    ),
    ("autoscaling", &["horizontalpodautoscalers"]),
    ("batch", &["cronjobs", "jobs"]),
    ("discovery.k8s.io", &["endpointslices"]),
    (
        "flowcontrol.apiserver.k8s.io",
        &["flowschemas", "prioritylevelconfigurations"],
    ),
    (
        "networking.k8s.io",
        &["ingressclasses", "ingresses", "networkpolicies"],
    ),
    ("policy", &["poddisruptionbudgets"]),
    ("scheduling.k8s.io", &["priorityclasses"]),
    (
        "storage.k8s.io",
        &[
            "csidrivers",
            "csinodes",
            "storageclasses",
            "volumeattachments",
        ],
    ),
];

/// Groups of add-ons whose versions go with their releases; all that they list is read.
const ADD_ONS: [&str; 8] = [
    "acme.cert-manager.io",
    "cert-manager.io",
    "gateway.networking.k8s.io",
    "networking.istio.io",
    "security.istio.io",
    "snapshot.storage.k8s.io",
    "telemetry.istio.io",
    "trust.cert-manager.io",
];

/// Kinds that tell what goes on and not what is: a diagnosis reads them, and a check does not.
const OF_THE_MOMENT: [(&str, &str); 2] = [("", "events"), ("discovery.k8s.io", "endpointslices")];

/// A kind that can be listed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Resource {
    /// Group; empty for the core.
    pub group: String,
    /// Version that the server prefers.
    pub version: String,
    /// Name in paths.
    pub plural: String,
    /// Kind.
    pub kind: String,
}

impl Resource {
    /// `apiVersion` of its objects.
    pub fn api_version(&self) -> String {
        if self.group.is_empty() {
            self.version.clone()
        } else {
            format!("{}/{}", self.group, self.version)
        }
    }

    /// Plural and group, as kubectl writes them: `deployments.apps`.
    pub fn name(&self) -> String {
        if self.group.is_empty() {
            self.plural.clone()
        } else {
            format!("{}.{}", self.plural, self.group)
        }
    }

    /// Does it tell what goes on, which a check has no use for?
    pub fn is_of_the_moment(&self) -> bool {
        OF_THE_MOMENT.contains(&(self.group.as_str(), self.plural.as_str()))
    }

    fn path(&self) -> String {
        let root = if self.group.is_empty() { "api" } else { "apis" };
        format!("/{root}/{}/{}", self.api_version(), self.plural)
    }
}

/// Helm's release records, the only Secrets that are read.
pub fn helm_records() -> Resource {
    Resource {
        group: String::new(),
        version: "v1".to_owned(),
        plural: "secrets".to_owned(),
        kind: "Secret".to_owned(),
    }
}

/// Version of the server, and what of the known kinds it serves; sorted.
///
/// # Errors
/// The server does not answer, or does not say what it serves.
pub async fn resources(client: &Client) -> Result<(String, Vec<Resource>), RequestError> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Version {
        git_version: String,
    }
    let version: Version = get(client, "read the server's version", "/version").await?;
    let mut found = Vec::new();
    let core: APIResourceList = get(client, "list the core kinds", "/api/v1").await?;
    take(&core, "", "v1", &mut found);
    let groups: APIGroupList = get(client, "list the groups of kinds", "/apis").await?;
    for group in groups.groups {
        let known = BUILT_IN.iter().any(|(name, _)| *name == group.name)
            || ADD_ONS.contains(&group.name.as_str());
        let Some(preferred) = group.preferred_version.filter(|_| known) else {
            continue;
        };
        let path = format!("/apis/{}", preferred.group_version);
        let what = format!("list the kinds of {}", preferred.group_version);
        // An aggregated group whose server is down is a finding of its own, and no reason to stop.
        match get::<APIResourceList>(client, &what, &path).await {
            Ok(list) => take(&list, &group.name, &preferred.version, &mut found),
            Err(error) => tracing::warn!("{error}"),
        }
    }
    found.sort();
    Ok((version.git_version, found))
}

fn take(list: &APIResourceList, group: &str, version: &str, found: &mut Vec<Resource>) {
    let wanted = BUILT_IN.iter().find(|(name, _)| *name == group);
    for resource in &list.resources {
        let listed = resource.verbs.iter().any(|verb| verb == "list");
        let asked = wanted.is_none_or(|(_, plurals)| plurals.contains(&resource.name.as_str()));
        if listed && asked && !resource.name.contains('/') {
            found.push(Resource {
                group: group.to_owned(),
                version: version.to_owned(),
                plural: resource.name.clone(),
                kind: resource.kind.clone(),
            });
        }
    }
}

/// What becomes of the objects of a list.
pub trait Sink {
    /// Why it could not take them.
    type Error;

    /// A list begins, perhaps anew: what came before of this kind does not count.
    ///
    /// # Errors
    /// As the implementation says.
    fn begin(&mut self, resource: &Resource) -> Result<(), Self::Error>;

    /// Objects, each with `apiVersion` and `kind`.
    ///
    /// # Errors
    /// As the implementation says.
    fn page(&mut self, objects: Vec<Value>) -> Result<(), Self::Error>;
}

/// A list could not be read or passed on.
#[derive(Debug, thiserror::Error)]
pub enum DumpError<E: std::error::Error + 'static> {
    /// The server.
    #[error(transparent)]
    Request(#[from] RequestError),
    /// The sink.
    #[error("keep what was read")]
    Sink(#[source] E),
}

/// Lists one kind into a sink; of Secrets only Helm's records.
///
/// # Errors
/// The server refuses (`403` for want of rights), or the sink does.
pub async fn list<S>(
    client: &Client,
    resource: &Resource,
    sink: &mut S,
) -> Result<(), DumpError<S::Error>>
where
    S: Sink,
    S::Error: std::error::Error + 'static,
{
    let mut starts = 0;
    'anew: loop {
        starts += 1;
        sink.begin(resource).map_err(DumpError::Sink)?;
        let mut next = String::new();
        loop {
            let page = match page(client, resource, &next).await {
                Ok(page) => page,
                Err(error) if error.status() == Some(410) && starts < STARTS => continue 'anew,
                Err(error) => return Err(error.into()),
            };
            let objects = page.items.into_iter().map(|item| named(item, resource));
            sink.page(objects.collect()).map_err(DumpError::Sink)?;
            match page.metadata.and_then(|metadata| metadata.next) {
                Some(token) if !token.is_empty() => next = token,
                _ => return Ok(()),
            }
        }
    }
}

/// Items of a typed list carry neither `apiVersion` nor `kind`.
fn named(mut item: Value, resource: &Resource) -> Value {
    if let Some(object) = item.as_object_mut() {
        object.insert("apiVersion".to_owned(), resource.api_version().into());
        object.insert("kind".to_owned(), resource.kind.clone().into());
    }
    item
}

#[derive(Deserialize)]
struct Page {
    #[serde(default)]
    items: Vec<Value>,
    metadata: Option<Metadata>,
}

#[derive(Deserialize)]
struct Metadata {
    #[serde(rename = "continue")]
    next: Option<String>,
}

async fn page(client: &Client, resource: &Resource, next: &str) -> Result<Page, RequestError> {
    let mut query = url::form_urlencoded::Serializer::new(String::new());
    query.append_pair("limit", &PAGE.to_string());
    if !next.is_empty() {
        query.append_pair("continue", next);
    }
    if *resource == helm_records() {
        query.append_pair("fieldSelector", "type=helm.sh/release.v1");
    }
    let path = format!("{}?{}", resource.path(), query.finish());
    get(client, &format!("list {}", resource.name()), &path).await
}

/// A GET that is tried again when the server was busy or away.
async fn get<T: DeserializeOwned>(
    client: &Client,
    what: &str,
    path: &str,
) -> Result<T, RequestError> {
    let mut tries = 0;
    loop {
        tries += 1;
        let asked = Request::get(path)
            .body(Vec::new())
            .map_err(kube::Error::HttpError);
        let answer = request(what, async { client.request(asked?).await }).await;
        match answer {
            Err(error) if error.is_passing() && error.status() != Some(409) && tries < TRIES => {
                tokio::time::sleep(AGAIN).await;
            }
            answer => return answer,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_asked_for_and_can_be_listed_is_taken() {
        let list: APIResourceList = serde_json::from_value(serde_json::json!({
            "groupVersion": "v1", "resources": [
                {"name": "pods", "kind": "Pod", "namespaced": true, "singularName": "", "verbs": ["get", "list"]},
                {"name": "pods/log", "kind": "Pod", "namespaced": true, "singularName": "", "verbs": ["get"]},
                {"name": "secrets", "kind": "Secret", "namespaced": true, "singularName": "", "verbs": ["list"]},
                {"name": "bindings", "kind": "Binding", "namespaced": true, "singularName": "", "verbs": ["create"]},
            ],
        }))
        .unwrap();
        let mut found = Vec::new();
        take(&list, "", "v1", &mut found);
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!(found[0].path(), "/api/v1/pods");
        assert_eq!(found[0].name(), "pods");
        let mut found = Vec::new();
        take(&list, "cert-manager.io", "v1", &mut found);
        assert_eq!(found[0].path(), "/apis/cert-manager.io/v1/pods");
    }
}
