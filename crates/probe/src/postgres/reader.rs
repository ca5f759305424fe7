//! One reader: looks for what its writer was already promised.
//!
//! An answer must not miss a write that was acknowledged before the read was sent (stale), nor be
//! older than an earlier answer (a regression).

use std::sync::Arc;
use std::time::Duration;

use super::session::Session;
use crate::run::Shared;

pub(crate) async fn read(shared: Arc<Shared>, reader: usize) {
    let writer = reader % shared.config.writers.max(1);
    let number = i32::try_from(writer).unwrap_or(i32::MAX);
    let think = Duration::from_millis(shared.config.read_think_ms);
    let config = &shared.config;
    let mut session: Option<Session> = None;
    let mut seen: Option<i64> = None;
    while !shared.stopping() {
        let open = match session.take() {
            Some(open) if !open.is_closed() => open,
            _ => {
                let opened = tokio::select! {
                    opened = Session::open(&shared.read_dsn, config.connect_deadline(), config.statement_deadline()) => opened,
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
            (promised.and_then(|seq| i64::try_from(seq).ok()), now)
        });
        match open.highest(&shared.run_id, number).await {
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
