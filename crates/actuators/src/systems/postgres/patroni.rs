//! Patroni beside the servers of a set: whether it is there, and what it says.

use std::collections::BTreeMap;
use std::sync::Arc;

use ferriswheel_plan::ids::DatabaseName;
use ferriswheel_plan::policy::PostgresSpec;
use ferriswheel_plan::step::StepKind;
use ferriswheel_plan::world::{Patroni, PatroniMember};

use crate::collect::CollectError;
use crate::databases::postgres::patroni::rest::{Login, Rest};
use crate::world::{LOOK, MemberPod, Outside, World, secret_key};

/// A session of Patroni's own, by its name.
///
/// # Source
/// `fallback_application_name` of its connections, in 3.0.2 and 4.1.5.
pub(super) fn is_patroni(application: &str) -> bool {
    application.to_ascii_lowercase().starts_with("patroni")
}

/// Whether the plan asks Patroni to hand this database over, or would.
pub(super) fn is_in_charge(world: &World, database: &DatabaseName) -> bool {
    let steps = world.plan.body.steps.iter();
    let mut kinds = steps.map(|step| &step.kind);
    kinds.any(|kind| match kind {
        StepKind::HandOver {
            database: of,
            terms,
            ..
        } => {
            of == database
                && terms
                    .postgres()
                    .is_some_and(|terms| terms.patroni.is_some())
        }
        _ => false,
    })
}

/// Asks the Patroni of every member, if the spec names it or its sessions show it.
pub(super) async fn collect(
    outside: &Outside,
    spec: &PostgresSpec,
    pods: &[MemberPod],
    agents: impl Iterator<Item = (&String, &String)>,
) -> Result<Option<Patroni>, CollectError> {
    let mut evidence: Vec<String> = agents
        .filter(|(_, agent)| is_patroni(agent))
        .map(|(member, agent)| format!("`{agent}` is connected to {member}"))
        .collect();
    if spec.patroni.is_some() {
        evidence.push("the spec names it".to_owned());
    }
    if evidence.is_empty() {
        return Ok(None);
    }
    let asked = spec.patroni.clone().unwrap_or_default();
    let login = match &asked.login {
        Some(secret) => Some(Login {
            user: secret_key(&outside.kube, secret, "username").await?,
            password: secret_key(&outside.kube, secret, "password").await?,
        }),
        None => None,
    };
    let rests: Vec<Rest> = pods
        .iter()
        .map(|member| {
            let target = member.target(asked.port);
            Rest::new(target, Arc::clone(&outside.dial), login.clone())
        })
        .collect();
    let answers = futures::future::join_all(rests.iter().map(|rest| rest.facts(LOOK))).await;
    let mut settings = None;
    for rest in &rests {
        settings = rest.settings(LOOK).await.ok();
        if settings.is_some() {
            break;
        }
    }
    let members: BTreeMap<String, PatroniMember> = rests
        .iter()
        .zip(answers)
        .map(|(rest, answer)| {
            let (facts, unreachable) = match answer {
                Ok(facts) => (Some(facts), None),
                Err(e) => (None, Some(e.to_string())),
            };
            (
                rest.member().to_owned(),
                PatroniMember { unreachable, facts },
            )
        })
        .collect();
    Ok(Some(Patroni {
        evidence,
        members,
        settings,
    }))
}
