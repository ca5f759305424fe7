//! What Azure Resource Manager and `az` answer: clusters, pools, maintenance configurations, upgrade
//! profiles, usages, operations and entries of the activity log. They become objects whose API is the resource provider, and whose body has the
//! properties beside the names, which is how `az` prints them.

use serde_json::Value;

use super::{Context, Object, Want};

/// API of these objects.
pub(crate) const API: &str = "Microsoft.ContainerService";

/// The objects in an answer: a resource, a list of them, or usages. None when it is something else.
pub(super) fn objects(context: &Context, value: &Value, line: u32) -> Vec<Object> {
    let entries: &[Value] = match value {
        Value::Array(all) => all,
        Value::Object(fields) => match fields.get("value").or_else(|| fields.get("values")) {
            Some(Value::Array(all)) => all,
            _ => std::slice::from_ref(value),
        },
        _ => return Vec::new(),
    };
    entries
        .iter()
        .flat_map(|entry| resource(context, entry, line))
        .collect()
}

fn resource(context: &Context, value: &Value, line: u32) -> Vec<Object> {
    let text = |key: &str| value.get(key).and_then(Value::as_str).unwrap_or_default();
    let (id, name) = (text("id").to_ascii_lowercase(), text("name"));
    if value.get("limit").is_some() && value.get("currentValue").is_some() {
        let of = value.pointer("/name/value").and_then(Value::as_str);
        // A subnet's usage is named after the resource.
        let name = if id.contains("/subnets/") {
            id.rsplit("/subnets/").next().unwrap_or_default()
        } else {
            of.unwrap_or_default()
        };
        return vec![object(context, "Usage", name, None, line, value.clone())];
    }
    // Before the resources: an operation's id begins with its resource's.
    if value.get("startTime").is_some() && value.get("status").is_some_and(Value::is_string) {
        let of = id.split_once("/managedclusters/").map(|(_, rest)| rest);
        let cluster = of.and_then(|rest| rest.split('/').next());
        return vec![object(
            context,
            "Operation",
            name,
            cluster,
            line,
            value.clone(),
        )];
    }
    if value.get("eventTimestamp").is_some() && value.get("operationName").is_some() {
        let of = value
            .pointer("/operationName/value")
            .and_then(Value::as_str);
        return vec![object(
            context,
            "Activity",
            of.unwrap_or_default(),
            None,
            line,
            value.clone(),
        )];
    }
    let kind = text("type").to_ascii_lowercase();
    let path = id.split_once("/providers/microsoft.containerservice/managedclusters/");
    if !kind.starts_with("microsoft.containerservice/managedclusters") && path.is_none() {
        return Vec::new();
    }
    let body = flat(value);
    let cluster = path
        .and_then(|(_, rest)| rest.split('/').next())
        .unwrap_or_default();
    let below = path
        .and_then(|(_, rest)| rest.split_once('/'))
        .map_or("", |(_, rest)| rest);
    if below.contains("upgradeprofiles") || kind.contains("upgradeprofiles") {
        let pool = below
            .strip_prefix("agentpools/")
            .and_then(|rest| rest.split('/').next());
        return vec![object(
            context,
            "UpgradeProfile",
            pool.unwrap_or_default(),
            Some(cluster),
            line,
            body,
        )];
    }
    if below.starts_with("maintenanceconfigurations")
        || kind.ends_with("/maintenanceconfigurations")
    {
        return vec![object(
            context,
            "MaintenanceConfiguration",
            name,
            Some(cluster),
            line,
            body,
        )];
    }
    if below.starts_with("agentpools") || kind.ends_with("/agentpools") {
        return vec![object(
            context,
            "AgentPool",
            name,
            Some(cluster),
            line,
            body,
        )];
    }
    let mut found = Vec::new();
    for pool in body
        .get("agentPoolProfiles")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
    {
        let pool_name = pool.get("name").and_then(Value::as_str).unwrap_or_default();
        found.push(object(
            context,
            "AgentPool",
            pool_name,
            Some(&name.to_ascii_lowercase()),
            line,
            flat(pool),
        ));
    }
    found.push(object(context, "ManagedCluster", name, None, line, body));
    found
}

fn object(
    context: &Context,
    kind: &str,
    name: &str,
    cluster: Option<&str>,
    line: u32,
    body: Value,
) -> Object {
    let mut object = Object::named(
        context,
        API,
        kind,
        cluster.filter(|name| !name.is_empty()),
        name,
        line,
    );
    if context.want != Want::Names {
        object.body = Some(Box::new(body));
    }
    object
}

/// Properties beside the names.
fn flat(value: &Value) -> Value {
    let mut fields = value.as_object().cloned().unwrap_or_default();
    if let Some(Value::Object(properties)) = fields.remove("properties") {
        for (key, value) in properties {
            fields.entry(key).or_insert(value);
        }
    }
    Value::Object(fields)
}
