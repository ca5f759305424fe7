//! One reader: looks for what its writer was already promised.
//!
//! An answer must not miss a write that was acknowledged before the read was sent (stale), nor be
//! older than an earlier answer (a regression).

use std::sync::Arc;
use std::time::Duration;

use crate::accounting::ledger::Sequence;
use crate::run::Shared;
use crate::system::Client;

pub(crate) async fn read(shared: Arc<Shared>, reader: usize) {
    let writer = reader % shared.config.writers.max(1);
    let think = Duration::from_millis(shared.config.read_think_ms);
    let config = &shared.config;
    let mut session: Option<Box<dyn Client>> = None;
    let mut seen: Option<Sequence> = None;
    while !shared.stopping() {
        let mut open = match session.take() {
            Some(open) if !open.is_closed() => open,
            _ => {
                let opened = tokio::select! {
                    opened = shared.system.connect_reader() => opened,
                    () = shared.stopped() => return,
                };
                match opened {
                    Ok(open) => open,
                    Err(_) => {
                        shared.record(|recorder, _| recorder.reads_mut().errors += 1);
                        shared
                            .pause(Duration::from_millis(config.reconnect_backoff_ms))
                            .await;
                        continue;
                    }
                }
            }
        };
        let (promised, sent) = shared.record(|recorder, now| {
            recorder.reads_mut().attempted += 1;
            let promised = recorder.ledger().writers()[writer].highest_acked();
            (promised, now)
        });
        match open.highest(&shared.run_id, writer, promised).await {
            Ok(found) => {
                shared.record(|recorder, now| {
                    let reads = recorder.reads_mut();
                    reads.ok += 1;
                    reads.stale += u64::from(found < promised);
                    reads.regressions += u64::from(found < seen);
                    reads.latency.record(now.saturating_sub(sent));
                });
                seen = seen.max(found);
                session = Some(open);
            }
            Err(trouble) => {
                shared.record(|recorder, _| recorder.reads_mut().errors += 1);
                if !trouble.broken {
                    session = Some(open);
                }
            }
        }
        shared.pause(think).await;
    }
}
