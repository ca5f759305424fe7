//! A look at one member, where it is the same for every system: who cannot be asked, and who is not whole whatever it
//! says.

use std::error::Error;

use ferriswheel_engine::actuator::WaitingOn;

use crate::databases::session::chain;
use crate::steps::waiting;
use crate::world::MemberPod;

/// What the server of a member says, unless nobody can be there to be asked.
pub(super) async fn said<T, E: Error>(
    member: &MemberPod,
    ask: impl Future<Output = Result<T, E>>,
) -> Result<T, String> {
    if member.ip.is_none() || member.terminating {
        return Err("the pod has no address or is being deleted".to_owned());
    }
    ask.await.map_err(|e| chain(&e))
}

/// What a member that is there says.
///
/// # Errors
/// It does not answer, or its pod is not Ready: it is not whole, whatever else.
pub(super) fn present<'l, T>(
    member: &MemberPod,
    said: &'l Result<T, String>,
) -> Result<&'l T, WaitingOn> {
    let pod = &member.pod;
    match said {
        Err(why) => Err(waiting(pod, why.clone(), "its server answers")),
        Ok(_) if !member.ready => Err(waiting(
            pod,
            "the pod is not Ready",
            "its readiness probe succeeds",
        )),
        Ok(said) => Ok(said),
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use ferriswheel_plan::ids::{ObjectRef, Uid};

    use super::{MemberPod, present, said};

    fn member() -> MemberPod {
        MemberPod {
            pod: ObjectRef::new("db", "kafka-0"),
            uid: Uid::new("uid"),
            node: None,
            ip: Some("127.0.0.1".to_owned()),
            ready: true,
            ready_for: None,
            terminating: false,
        }
    }

    #[tokio::test]
    async fn nobody_is_asked_who_cannot_be_there() {
        let answer = async |member: &MemberPod| {
            let ask = async { Ok::<_, io::Error>(7) };
            said(member, ask).await
        };
        assert_eq!(answer(&member()).await, Ok(7));
        let leaving = MemberPod {
            terminating: true,
            ..member()
        };
        let nowhere = MemberPod {
            ip: None,
            ..member()
        };
        for away in [leaving, nowhere] {
            assert!(answer(&away).await.unwrap_err().contains("being deleted"));
        }
        let silent = async { Err::<(), _>(io::Error::other("reset")) };
        assert_eq!(said(&member(), silent).await, Err("reset".to_owned()));
    }

    #[test]
    fn who_does_not_answer_or_is_not_ready_is_not_whole() {
        let why = |member: &MemberPod, said: Result<u8, &str>| {
            let said = said.map_err(str::to_owned);
            present(member, &said).copied().map_err(|on| on.reason)
        };
        assert_eq!(why(&member(), Ok(7)), Ok(7));
        let unready = MemberPod {
            ready: false,
            ..member()
        };
        assert_eq!(
            why(&unready, Ok(7)).unwrap_err(),
            "the pod is not Ready".to_owned()
        );
        assert_eq!(why(&unready, Err("reset")).unwrap_err(), "reset");
    }
}
