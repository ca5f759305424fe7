//! One look at every broker of a cluster, and what follows from all of them together.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use ferriswheel_engine::actuator::WaitingOn;
use ferriswheel_plan::ids::ObjectRef;
use ferriswheel_plan::step::Lag;

use crate::databases::kafka::server::{Quorum, Server, ServerError, View};
use crate::databases::kafka::wire::WireServer;
use crate::steps::waiting;
use crate::systems::look::{present, said};
use crate::systems::{Stand, Standing};
use crate::world::{LOOK, MemberPod};

/// A broker that came back with another address is found there by every other one after this time.
/// Whoever is to fetch from it before that tries its former address for ten seconds and more, and writes
/// wait: 11 to 14 s, measured.
///
/// # Source
/// Java keeps an address for 30 s (`networkaddress.cache.ttl`), CoreDNS for 5 s (`ttl` of its plugin
/// `kubernetes`); 5 s more for the way there.
const FOUND: Duration = Duration::from_secs(40);

/// A member and what its broker says.
pub(super) struct Look {
    member: MemberPod,
    said: Result<Said, String>,
}

struct Said {
    node: i32,
    view: View,
    quorum: Quorum,
}

pub(super) async fn look(member: MemberPod, server: Arc<WireServer>) -> Look {
    let said = said(&member, ask(server.as_ref())).await;
    Look { member, said }
}

async fn ask(server: &dyn Server) -> Result<Said, ServerError> {
    server.open(LOOK).await?;
    Ok(Said {
        node: server.node(LOOK).await?,
        view: server.view(LOOK).await?,
        quorum: server.quorum(LOOK).await?,
    })
}

/// How many partitions a pod's broker leads, by the view that says most; `None` if somebody does not
/// answer.
pub(super) fn led_by(looks: &[Look], pod: &ObjectRef) -> Option<usize> {
    let said: Option<Vec<&Said>> = looks.iter().map(|look| look.said.as_ref().ok()).collect();
    let own = looks.iter().find(|look| look.member.pod == *pod)?;
    let node = own.said.as_ref().ok()?.node;
    said?.iter().map(|said| said.view.led_by(node)).max()
}

/// What all looks say together.
///
/// No broker leads the others, so that somebody else is told as who does: what a broker leads is led away right before
/// it moves, however much that is and whenever it has got it.
pub(super) fn standing(looks: &[Look], max_lag: Option<Lag>) -> Standing {
    let answers = || {
        looks
            .iter()
            .filter_map(|look| Some((look, look.said.as_ref().ok()?)))
    };
    let controller = answers().find_map(|(look, said)| {
        let is_it = said.quorum.leader == Some(said.node);
        let epoch = u64::try_from(said.quorum.epoch).unwrap_or(0);
        is_it.then(|| (look.member.pod.clone(), epoch))
    });
    let mut led_by = BTreeMap::new();
    for (look, _) in answers() {
        let pod = &look.member.pod;
        let mut others = answers().filter(|(other, _)| other.member.pod != *pod);
        if let Some((other, _)) = others.next() {
            led_by.insert(pod.clone(), other.member.pod.clone());
        }
    }
    Standing {
        stands: looks
            .iter()
            .map(|look| Stand {
                member: look.member.clone(),
                answers: look.said.is_ok(),
                whole: whole(looks, look, max_lag),
            })
            .collect(),
        leaders: controller.into_iter().collect(),
        led_by,
    }
}

/// The member is Ready for long enough to be found, takes part in everybody's view, every copy is in sync in its own view and its
/// own copies are in everybody's, and as a voter it is caught up, and so are those that are no members.
fn whole(looks: &[Look], look: &Look, max_lag: Option<Lag>) -> Result<String, WaitingOn> {
    let pod = &look.member.pod;
    let said = present(&look.member, &look.said)?;
    // Unknown, or by a clock that is behind the cluster's, is not long enough.
    let ready_for = look.member.ready_for.unwrap_or_default();
    if ready_for < FOUND {
        return Err(waiting(
            pod,
            format!(
                "it is Ready for {} s: others may still look for it where it was",
                ready_for.as_secs()
            ),
            format!("{} s are over", FOUND.as_secs()),
        ));
    }
    if let Some((name, partition)) = said.view.unwell() {
        return Err(waiting(
            pod,
            format!("it sees {name} {partition}"),
            "every copy is in sync",
        ));
    }
    for other in looks {
        let Ok(theirs) = &other.said else { continue };
        if !theirs.view.brokers.contains(&said.node) {
            return Err(waiting(
                pod,
                format!("{} does not see it take part", other.member.pod.name),
                "it is registered and unfenced everywhere",
            ));
        }
        let mut copies = theirs.view.partitions.iter();
        let behind = copies.find(|(_, partition)| {
            partition.replicas.contains(&said.node) && !partition.isr.contains(&said.node)
        });
        if let Some((name, partition)) = behind {
            return Err(waiting(
                pod,
                format!("{} sees {name} {partition}", other.member.pod.name),
                "its copies are in sync everywhere",
            ));
        }
    }
    let Some(leader) = said.quorum.leader else {
        return Err(waiting(
            pod,
            "it knows no active controller",
            "the metadata quorum has a leader",
        ));
    };
    if let Some(behind) = said.quorum.voters.get(&said.node)
        && max_lag.is_some_and(|most| !most.holds_millis(*behind))
    {
        return Err(waiting(
            pod,
            format!("as a voter it is {behind} ms behind"),
            "it has caught up",
        ));
    }
    if let Some((voter, ms)) = behind_apart(looks, said, max_lag) {
        return Err(waiting(
            pod,
            format!("voter {voter}, a controller of its own, is {ms} ms behind"),
            "every voter of the metadata quorum has caught up",
        ));
    }
    let copies = said.view.partitions.values();
    let copies = copies.filter(|p| p.replicas.contains(&said.node)).count();
    Ok(format!(
        "broker {}, {copies} copies in sync, {} of them lead, controller {leader}",
        said.node,
        said.view.led_by(said.node)
    ))
}

/// A controller that is none of the brokers and not caught up: the quorum must bear the next broker's absence all the
/// same. While a broker does not answer nobody knows which voter it is.
fn behind_apart(looks: &[Look], said: &Said, max_lag: Option<Lag>) -> Option<(i32, u64)> {
    let most = max_lag?;
    let nodes: Option<Vec<i32>> = looks
        .iter()
        .map(|look| Some(look.said.as_ref().ok()?.node))
        .collect();
    let nodes = nodes?;
    let mut voters = said.quorum.voters.iter();
    voters
        .find(|(voter, ms)| !nodes.contains(voter) && !most.holds_millis(**ms))
        .map(|(voter, ms)| (*voter, *ms))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::time::Duration;

    use ferriswheel_plan::ids::{ObjectRef, Uid};
    use ferriswheel_plan::step::Lag;

    use super::{Look, Said, led_by, standing};
    use crate::databases::kafka::server::{Name, Partition, Quorum, View};
    use crate::world::MemberPod;

    fn pod(n: i32) -> ObjectRef {
        ObjectRef::new("db", format!("kafka-{n}"))
    }

    /// Three brokers, of which 1 is the active controller and each leads so many of the partitions.
    fn looks(leads: [usize; 3]) -> Vec<Look> {
        let mut view = View {
            brokers: [0, 1, 2].into(),
            ..View::default()
        };
        let leaders = (0..).zip(leads).flat_map(|(node, of)| vec![node; of]);
        for (number, leader) in (0..).zip(leaders) {
            let name = Name {
                topic: "orders".to_owned(),
                number,
            };
            let partition = Partition {
                leader: Some(leader),
                replicas: vec![0, 1, 2],
                isr: vec![0, 1, 2],
                ..Partition::default()
            };
            view.partitions.insert(name, partition);
        }
        let look = |node| Look {
            member: MemberPod {
                pod: pod(node),
                uid: Uid::new(format!("uid-{node}")),
                node: None,
                ip: Some("127.0.0.1".to_owned()),
                ready: true,
                ready_for: Some(Duration::from_secs(3_600)),
                terminating: false,
            },
            said: Ok(Said {
                node,
                view: view.clone(),
                quorum: Quorum {
                    leader: Some(1),
                    epoch: 7,
                    voters: BTreeMap::from([(0, 10), (1, 0), (2, 10)]),
                },
            }),
        };
        (0..3).map(look).collect()
    }

    fn said(look: &mut Look) -> &mut Said {
        match &mut look.said {
            Ok(said) => said,
            Err(why) => panic!("{why}"),
        }
    }

    const CLOSE: Option<Lag> = Some(Lag::Millis(2_000));

    #[test]
    fn no_broker_leads_the_others_whatever_it_has_got_since_it_was_drained() {
        let whole = standing(&looks([2, 2, 2]), CLOSE);
        assert_eq!(whole.whole(), 3);
        assert_eq!(whole.leaders, [(pod(1), 7)]);
        // Topics that were made meanwhile: more than its share of all partitions.
        let drained = looks([5, 3, 3]);
        assert_eq!(led_by(&drained, &pod(0)), Some(5));
        for standing in [whole, standing(&drained, CLOSE)] {
            assert!((0..3).all(|n| !standing.leads(&pod(n))));
            assert!((0..3).all(|n| standing.leader_of(&pod(n)).is_some()));
        }
    }

    #[test]
    fn who_does_not_answer_leaves_the_question_open() {
        let mut silent = looks([0, 3, 3]);
        assert_eq!(led_by(&silent, &pod(0)), Some(0));
        silent[2].said = Err("connection refused".to_owned());
        assert_eq!(led_by(&silent, &pod(0)), None);
        assert_eq!(standing(&silent, CLOSE).whole(), 2);
        assert_eq!(standing(&silent, CLOSE).leader_of(&pod(2)), None);
    }

    #[test]
    fn a_broker_is_whole_only_in_every_view() {
        let missing = |change: fn(&mut Vec<Look>)| {
            let mut looks = looks([2, 2, 2]);
            change(&mut looks);
            let standing = standing(&looks, CLOSE);
            let why = standing.awaited(&[&pod(2)]);
            why.map(|waiting| waiting.reason).unwrap_or_default()
        };
        assert_eq!(missing(|_| {}), "");
        let behind = missing(|looks| {
            for partition in said(&mut looks[0]).view.partitions.values_mut() {
                partition.isr = vec![0, 1];
            }
        });
        assert!(behind.starts_with("kafka-0 sees orders-0"), "{behind}");
        let fenced = missing(|looks| {
            said(&mut looks[1]).view.brokers.remove(&2);
        });
        assert_eq!(fenced, "kafka-1 does not see it take part");
        let voter = missing(|looks| {
            said(&mut looks[2]).quorum.voters.insert(2, 2_001);
        });
        assert_eq!(voter, "as a voter it is 2001 ms behind");
        let apart = missing(|looks| {
            said(&mut looks[2]).quorum.voters.insert(100, 2_001);
        });
        assert!(apart.starts_with("voter 100"), "{apart}");
        let close = missing(|looks| {
            said(&mut looks[2]).quorum.voters.insert(100, 2_000);
        });
        assert_eq!(close, "");
        let young = missing(|looks| {
            looks[2].member.ready_for = Some(Duration::from_secs(39));
        });
        assert!(young.starts_with("it is Ready for 39 s"), "{young}");
        let unknown = missing(|looks| looks[2].member.ready_for = None);
        assert!(unknown.starts_with("it is Ready for 0 s"), "{unknown}");
        assert!(missing(|looks| looks[2].member.ready = false).contains("not Ready"));
    }
}
