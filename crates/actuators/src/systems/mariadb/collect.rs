//! What the snapshot says of a MariaDB set.

use ferriswheel_plan::policy::MariadbSpec;
use ferriswheel_plan::world::{self, MariadbMember, PrimaryService};

use super::{credentials, session};
use crate::collect::CollectError;
use crate::databases::mariadb::facts;
use crate::databases::session::chain;
use crate::world::{Outside, members, role_labels, user_name};

/// Asks every server.
pub(crate) async fn collect(
    outside: &Outside,
    spec: &MariadbSpec,
) -> Result<world::Mariadb, CollectError> {
    let credentials = credentials(outside, spec, &spec.admin).await?;
    let pods = members(&outside.kube, &spec.stateful_set).await?;
    let asked = pods.iter().map(|member| {
        let session = session(outside, spec, member, &credentials);
        async move {
            let answer = if member.ip.is_none() {
                Err("the pod has no address".to_owned())
            } else {
                facts::collect(&session).await.map_err(|e| chain(&e))
            };
            let (facts, unreachable) = match answer {
                Ok(facts) => (Some(facts), None),
                Err(why) => (None, Some(why)),
            };
            (
                member.pod.name.clone(),
                MariadbMember { unreachable, facts },
            )
        }
    });
    let members = futures::future::join_all(asked).await.into_iter().collect();
    let service = match &spec.service {
        Some(service) => Some(PrimaryService {
            role_labels: role_labels(outside.kube.clone(), &spec.stateful_set, service).await?,
        }),
        None => None,
    };
    Ok(world::Mariadb {
        stateful_set: spec.stateful_set.clone(),
        members,
        service,
        application: user_name(&outside.kube, &spec.application).await?,
    })
}
