//! The Service by which clients reach the primary without a pooler.

use crate::codes;
use crate::diagnostic::{Diagnostic, Findings};
use crate::ids::ObjectRef;
use crate::scope::DatabaseScope;
use crate::world::PrimaryService;

/// Refuses a Service whose selector does not single out the primary: the hand-over moves the labels
/// that it selects by, and clients follow those labels.
pub(super) fn gate(
    database: &DatabaseScope<'_>,
    service: Option<(&ObjectRef, &PrimaryService)>,
    primaries: &[u32],
) -> Findings {
    let mut findings = Findings::default();
    let Some((name, seen)) = service else {
        return findings;
    };
    let refuse = |message: String, evidence: Vec<String>, fix: String| {
        let mut diagnostic = Diagnostic::new(codes::SERVICE, name, message).fix(fix);
        diagnostic.evidence = evidence;
        diagnostic
    };
    let PrimaryService {
        role_labels: Some(labels),
    } = seen
    else {
        findings.refuse(refuse(
            format!("there is no Service {name}"),
            vec!["the API server has no Service of this name in this namespace".to_owned()],
            "name the Service that your clients use in `service`, or leave the field out"
                .to_owned(),
        ));
        return findings;
    };
    let asked: Vec<String> = labels.iter().map(|(k, v)| format!("{k}={v}")).collect();
    if asked.is_empty() {
        findings.refuse(refuse(
            "it selects every member, so its clients reach standbys too".to_owned(),
            vec!["its selector asks for nothing that the members do not all have".to_owned()],
            "select by a label that the primary alone carries (role: primary), or leave `service` out and let \
             clients name all members (target_session_attrs=read-write)"
                .to_owned(),
        ));
        return findings;
    }
    let selected: Vec<&str> = database
        .members
        .values()
        .filter(|member| {
            let has = |(key, value)| member.pod.labels.get(key) == Some(value);
            labels.iter().all(has)
        })
        .map(|member| member.name.name.as_str())
        .collect();
    // Nobody or several: said by the gate of the servers.
    let [primary] = primaries[..] else {
        return findings;
    };
    let Some(primary) = database.members.get(&primary) else {
        return findings;
    };
    if selected != [primary.name.name.as_str()] {
        let found = if selected.is_empty() {
            "no member".to_owned()
        } else {
            selected.join(", ")
        };
        findings.refuse(refuse(
            format!("it selects {found}, and the primary is {}", primary.name.name),
            vec![format!("its selector asks for {}", asked.join(","))],
            format!(
                "give the label to the primary alone: kubectl -n {} label pod {} --overwrite {}, and another value \
                 to the others",
                primary.name.namespace,
                primary.name.name,
                asked.join(" ")
            ),
        ));
    }
    findings
}
