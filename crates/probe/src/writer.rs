//! One writer: a transaction with one new key, again and again, until the run stops.
//!
//! A key is sent once. After a broken connection the writer connects again at once; a connect
//! that fails is an error of its own and is followed by the stated back-off.

use std::sync::Arc;
use std::time::Duration;

use crate::accounting::Failure;
use crate::run::Shared;
use crate::system::{Client, Trouble, WriteKey};

pub(crate) async fn write(shared: Arc<Shared>, writer: usize) {
    let think = Duration::from_millis(shared.config.think_ms);
    let mut session: Option<Box<dyn Client>> = None;
    while !shared.stopping() {
        let mut open = match session.take() {
            Some(open) => open,
            None => match connect(&shared).await {
                Some(open) => open,
                None => continue,
            },
        };
        // Stamped inside the lock, so that a send is never later than its own attempt.
        let (seq, sent) = shared.record(|recorder, now| (recorder.attempt(writer), now));
        let result = open
            .write(WriteKey {
                run: &shared.run_id,
                writer,
                seq,
            })
            .await;
        match result {
            Ok(()) => shared.record(|recorder, now| recorder.acked(writer, seq, sent, now)),
            Err(trouble) => {
                let Trouble {
                    kind,
                    detail,
                    outcome,
                    broken,
                    hopeless: _,
                } = trouble;
                tracing::debug!(writer, seq, kind, detail, "write failed");
                let failure = Failure {
                    outcome,
                    kind: &kind,
                    detail: &detail,
                };
                shared.record(|recorder, now| recorder.failed(writer, seq, sent, now, failure));
                if broken {
                    continue;
                }
            }
        }
        session = Some(open);
        shared.pause(think).await;
    }
}

async fn connect(shared: &Shared) -> Option<Box<dyn Client>> {
    let config = &shared.config;
    let opened = tokio::select! {
        opened = shared.system.connect() => opened,
        () = shared.stopped() => return None,
    };
    match opened {
        Ok(session) => Some(session),
        Err(trouble) => {
            shared.record(|recorder, now| {
                recorder.connect_failed(now, &trouble.kind, &trouble.detail);
            });
            shared
                .pause(Duration::from_millis(config.reconnect_backoff_ms))
                .await;
            None
        }
    }
}
