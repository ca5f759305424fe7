//! Azure Resource Manager's own part: the token, the api-version, who is asked for what.

use std::sync::Arc;

use http::{Method, StatusCode};

use super::{Call, OPERATION_API_VERSION, Reply, clusters, login, pools, subscription};
use crate::emulator::Inner;
use crate::error::ArmError;
use crate::throttle::Class;

/// The newest stable and preview versions of Microsoft.ContainerService that this emulator knows.
const NEWEST_STABLE: &str = "2026-08-01";
const NEWEST_PREVIEW: &str = "2026-07-02-preview";

/// The first api-version that answers `operations/latest`; previews only.
const LATEST_OPERATION_SINCE: &str = "2024-01-02-preview";

pub(super) async fn route(inner: &Arc<Inner>, call: &Call) -> Result<Reply, ArmError> {
    login::authorize(inner, call)?;
    let version = api_version(call)?;
    let lower: Vec<&str> = call.lower.iter().map(String::as_str).collect();
    let (method, path) = (&call.method, lower.as_slice());
    match path {
        ["tenants"] => Ok(Reply::ok(subscription::tenants(inner))),
        ["subscriptions"] => Ok(Reply::ok(subscription::list(inner))),
        ["providers", namespace] => subscription::provider(inner, namespace),
        ["subscriptions", id, rest @ ..] => {
            if *id != inner.seed.subscription_id.to_ascii_lowercase() {
                let text = format!(
                    "The subscription '{}' could not be found.",
                    call.segments[1]
                );
                return Err(ArmError::front(
                    StatusCode::NOT_FOUND,
                    "SubscriptionNotFound",
                    text,
                ));
            }
            in_subscription(inner, call, method, rest, version).await
        }
        _ => Err(not_found(call)),
    }
}

async fn in_subscription(
    inner: &Arc<Inner>,
    call: &Call,
    method: &Method,
    path: &[&str],
    version: &str,
) -> Result<Reply, ArmError> {
    match (method, path) {
        (&Method::GET, []) => Ok(Reply::ok(subscription::show(inner))),
        (&Method::GET, ["locations"]) => Ok(Reply::ok(subscription::locations(inner))),
        (&Method::GET, ["providers"]) => Ok(Reply::ok(subscription::providers(inner))),
        (&Method::GET, ["providers", namespace]) => subscription::provider(inner, namespace),
        (&Method::GET, ["providers", "microsoft.features", ..]) => {
            Ok(Reply::ok(serde_json::json!({"value": []})))
        }
        (
            &Method::GET,
            [
                "providers",
                "microsoft.compute",
                "locations",
                location,
                "usages",
            ],
        ) => subscription::usages(inner, location),
        (&Method::GET, ["providers", "microsoft.compute", "skus"]) => {
            Ok(Reply::ok(subscription::skus(inner)))
        }
        (&Method::GET, ["providers", "microsoft.containerservice", "managedclusters"]) => {
            list_clusters(inner, version)
        }
        (
            &Method::GET,
            [
                "providers",
                "microsoft.containerservice",
                "locations",
                location,
                "kubernetesversions",
            ],
        ) => subscription::kubernetes_versions(inner, location),
        (
            &Method::GET,
            [
                "providers",
                "microsoft.containerservice",
                "locations",
                _,
                "operations",
                id,
            ],
        ) => {
            operation_version(version)?;
            clusters::operation(inner, id)
        }
        (
            &Method::GET,
            [
                "providers",
                "microsoft.containerservice",
                "locations",
                _,
                "operationresults",
                id,
            ],
        ) => {
            operation_version(version)?;
            clusters::operation_result(inner, call, id)
        }
        (&Method::GET, ["resourcegroups"]) => Ok(Reply::ok(subscription::resource_groups(inner))),
        (&Method::GET | &Method::HEAD, ["resourcegroups", group]) => {
            subscription::resource_group(inner, group)
        }
        (
            _,
            [
                "resourcegroups",
                group,
                "providers",
                "microsoft.containerservice",
                "managedclusters",
                rest @ ..,
            ],
        ) => {
            subscription::resource_group(inner, group)?;
            in_clusters(inner, call, method, rest, version).await
        }
        _ => Err(not_found(call)),
    }
}

async fn in_clusters(
    inner: &Arc<Inner>,
    call: &Call,
    method: &Method,
    path: &[&str],
    version: &str,
) -> Result<Reply, ArmError> {
    let [name, rest @ ..] = path else {
        return if method == Method::GET {
            list_clusters(inner, version)
        } else {
            Err(no_such_method(call))
        };
    };
    check_container_service_version(version)?;
    if *name != inner.seed.cluster.to_ascii_lowercase() {
        if method == Method::PUT && rest.is_empty() {
            return Err(ArmError::unsupported("create clusters"));
        }
        let text = format!(
            "The Resource 'Microsoft.ContainerService/managedClusters/{name}' under resource group '{}' was not found. For \
             more details please go to https://aka.ms/ARMResourceNotFoundFix",
            inner.seed.resource_group
        );
        return Err(ArmError::front(
            StatusCode::NOT_FOUND,
            "ResourceNotFound",
            text,
        ));
    }
    match (method, rest) {
        (&Method::GET, []) => Ok(Reply::ok(clusters::show(inner))),
        (&Method::PUT, []) => {
            admit(inner, Class::PutCluster)?;
            clusters::put(inner, call)
        }
        (&Method::PATCH, []) => clusters::patch(inner, call),
        (&Method::DELETE, []) => Err(ArmError::unsupported("delete the cluster")),
        (&Method::GET, ["upgradeprofiles", "default"]) => {
            Ok(Reply::ok(clusters::upgrade_profile(inner)))
        }
        (&Method::GET, ["availableagentpoolversions"]) => {
            Ok(Reply::ok(clusters::available_versions(inner)))
        }
        (&Method::POST, ["abort"]) => pools::abort(inner, call, None),
        (&Method::POST, ["listclusterusercredential" | "listclusteradmincredential"]) => {
            clusters::credential(inner)
        }
        (&Method::GET, ["maintenanceconfigurations"]) => {
            Ok(Reply::ok(serde_json::json!({"value": []})))
        }
        (&Method::GET, ["operations", "latest"]) => latest(inner, version, None),
        (&Method::GET, ["agentpools"]) => {
            admit(inner, Class::List)?;
            Ok(Reply::ok(pools::list(inner)))
        }
        (_, ["agentpools", pool, rest @ ..]) => match (method, rest) {
            (&Method::GET, []) => pools::show(inner, pool),
            (&Method::PUT, []) => {
                admit(inner, Class::PutPool)?;
                pools::put(inner, call, pool)
            }
            (&Method::DELETE, []) => pools::delete(inner, call, pool),
            (&Method::GET, ["upgradeprofiles", "default"]) => pools::upgrade_profile(inner, pool),
            (&Method::GET, ["machines"]) => pools::machines(inner, pool).await,
            (&Method::GET, ["machines", machine]) => pools::machine(inner, pool, machine).await,
            (&Method::POST, ["deletemachines"]) => pools::delete_machines(inner, call, pool),
            (&Method::POST, ["abort"]) => pools::abort(inner, call, Some(pool)),
            (&Method::POST, ["upgradenodeimageversion"]) => {
                Err(ArmError::unsupported("upgrade node images"))
            }
            (&Method::GET, ["operations", "latest"]) => latest(inner, version, Some(pool)),
            _ => Err(not_found(call)),
        },
        _ => Err(not_found(call)),
    }
}

fn list_clusters(inner: &Inner, version: &str) -> Result<Reply, ArmError> {
    check_container_service_version(version)?;
    admit(inner, Class::List)?;
    Ok(Reply::ok(clusters::list(inner)))
}

fn admit(inner: &Inner, class: Class) -> Result<(), ArmError> {
    let now = inner.clock.now();
    inner
        .world()
        .throttle
        .admit(class, &inner.seed.subscription_id, now)
}

fn latest(inner: &Inner, version: &str, pool: Option<&str>) -> Result<Reply, ArmError> {
    if !version.ends_with("-preview") || version < LATEST_OPERATION_SINCE {
        let text = format!(
            "operations/latest needs a preview api-version, {LATEST_OPERATION_SINCE} or later."
        );
        return Err(ArmError::front(
            StatusCode::BAD_REQUEST,
            "NoRegisteredProviderFound",
            text,
        ));
    }
    clusters::latest_operation(inner, pool)
}

/// Every request names its api-version.
fn api_version(call: &Call) -> Result<&str, ArmError> {
    let Some(version) = call
        .parameter("api-version")
        .filter(|version| !version.is_empty())
    else {
        let text = "The api-version query parameter (?api-version=) is required for all requests.";
        return Err(ArmError::front(
            StatusCode::BAD_REQUEST,
            "MissingApiVersionParameter",
            text,
        ));
    };
    let date = version.strip_suffix("-preview").unwrap_or(version);
    let numbers = |range: std::ops::Range<usize>| {
        date.get(range)
            .is_some_and(|part| part.bytes().all(|byte| byte.is_ascii_digit()))
    };
    let formed = date.len() == 10
        && numbers(0..4)
        && numbers(5..7)
        && numbers(8..10)
        && date.matches('-').count() == 2;
    if formed {
        return Ok(version);
    }
    let text = format!(
        "The api-version '{version}' is invalid. The format is 'yyyy-MM-dd' or 'yyyy-MM-dd-preview'."
    );
    Err(ArmError::front(
        StatusCode::BAD_REQUEST,
        "InvalidApiVersionParameter",
        text,
    ))
}

fn check_container_service_version(version: &str) -> Result<(), ArmError> {
    let newest = if version.ends_with("-preview") {
        NEWEST_PREVIEW
    } else {
        NEWEST_STABLE
    };
    // Node pools as resources of their own came with 2019-02-01.
    if ("2019-02-01"..=newest).contains(&version) {
        return Ok(());
    }
    let text = format!(
        "No registered resource provider found for API version '{version}' for type 'managedClusters'. The newest supported \
         api-versions are '{NEWEST_STABLE}, {NEWEST_PREVIEW}'."
    );
    Err(ArmError::front(
        StatusCode::BAD_REQUEST,
        "NoRegisteredProviderFound",
        text,
    ))
}

/// An operation's URL carries a version of its own and is followed as it came.
fn operation_version(version: &str) -> Result<(), ArmError> {
    if version == OPERATION_API_VERSION {
        return Ok(());
    }
    let text = format!(
        "The operation URL was issued with api-version {OPERATION_API_VERSION} and must be followed as it is."
    );
    Err(ArmError::front(
        StatusCode::BAD_REQUEST,
        "InvalidApiVersionParameter",
        text,
    ))
}

fn not_found(call: &Call) -> ArmError {
    let text = format!(
        "No HTTP resource was found that matches the request '{} {}'.",
        call.method, call.path
    );
    ArmError::front(StatusCode::NOT_FOUND, "InvalidResourceType", text)
}

pub(super) fn no_such_method(call: &Call) -> ArmError {
    let text = format!("The resource does not support the method {}.", call.method);
    ArmError::front(
        StatusCode::METHOD_NOT_ALLOWED,
        "HttpMethodNotSupported",
        text,
    )
}
