//! What the snapshot says of a cluster.

use ferriswheel_plan::policy::KafkaSpec;
use ferriswheel_plan::world::{self, KafkaMember};

use super::session;
use crate::collect::CollectError;
use crate::databases::kafka::facts;
use crate::databases::session::chain;
use crate::world::{Outside, members};

/// Asks every broker.
pub(crate) async fn collect(
    outside: &Outside,
    spec: &KafkaSpec,
) -> Result<world::Kafka, CollectError> {
    let pods = members(&outside.kube, &spec.stateful_set).await?;
    let asked = pods.iter().map(|member| {
        let session = session(outside, spec, member);
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
            (member.pod.name.clone(), KafkaMember { unreachable, facts })
        }
    });
    Ok(world::Kafka {
        stateful_set: spec.stateful_set.clone(),
        members: futures::future::join_all(asked).await.into_iter().collect(),
    })
}
