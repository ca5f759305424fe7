//! What a server says of itself, for the snapshot: one read-only statement.

use std::time::Duration;

use ferriswheel_plan::world::PostgresFacts;

use super::server::ServerError;
use super::session::Session;

/// Deadline of the collection from one server.
const COLLECT: Duration = Duration::from_secs(10);

/// Facts of one server. Lag and `sync_state` are left for the caller, who sees both ends.
pub async fn collect(session: &Session) -> Result<(PostgresFacts, PrimaryView), ServerError> {
    session.open(COLLECT).await?;
    let unexpected = |what: String| ServerError::Unexpected {
        server: session.name().to_owned(),
        what,
    };
    let version = session.run("SHOW server_version_num", COLLECT).await?;
    let version: u32 = version
        .first()
        .and_then(|row| row.first()?.as_deref()?.parse().ok())
        .ok_or_else(|| unexpected("no server_version_num".to_owned()))?;
    let rows = session.run(&statement(version), COLLECT).await?;
    let text = rows
        .first()
        .and_then(|row| row.first()?.as_deref())
        .ok_or_else(|| unexpected("no facts".to_owned()))?;
    let answer: Answer = serde_json::from_str(text).map_err(|e| unexpected(e.to_string()))?;
    Ok((answer.facts, answer.view))
}

/// What only one end of the replication sees.
#[derive(Clone, Debug, serde::Deserialize)]
pub struct PrimaryView {
    /// Flushed position of a primary, as a number.
    pub flush: Option<String>,
    /// Replayed position of a standby.
    pub replay: Option<String>,
    /// `sync_state` by `application_name`.
    pub sync_states: std::collections::BTreeMap<String, String>,
    /// Agents that are connected, by `application_name`.
    pub agents: Vec<String>,
}

#[derive(serde::Deserialize)]
struct Answer {
    facts: PostgresFacts,
    view: PrimaryView,
}

/// # Source
/// `pg_replication_slots.failover` exists from PostgreSQL 17 on; before, no logical slot survives
/// a promotion.
fn statement(version: u32) -> String {
    let at_risk = if version >= 170_000 {
        "slot_type = 'logical' AND NOT failover"
    } else {
        "slot_type = 'logical'"
    };
    format!(
        "WITH me AS (SELECT pg_is_in_recovery() AS recovering, \
                            current_setting('data_directory') AS dir) \
SELECT json_build_object('facts', json_build_object(\
 'version_num', {version}, \
 'in_recovery', recovering, \
 'system_identifier', (SELECT system_identifier::text FROM pg_control_system()), \
 'timeline', CASE WHEN recovering \
    THEN coalesce((SELECT received_tli FROM pg_stat_wal_receiver), \
                  (SELECT timeline_id FROM pg_control_checkpoint())) \
    ELSE ('x' || substr(pg_walfile_name(pg_current_wal_insert_lsn()), 1, 8))::bit(32)::int END, \
 'data_directory', dir, \
 'streaming_from', CASE WHEN recovering THEN \
    (SELECT sender_host FROM pg_stat_wal_receiver WHERE status = 'streaming') END, \
 'slot', nullif(current_setting('primary_slot_name'), ''), \
 'lag_bytes', NULL, 'sync_state', NULL, \
 'replay_paused', CASE WHEN recovering THEN pg_is_wal_replay_paused() ELSE false END, \
 'apply_delay_ms', (SELECT setting::bigint FROM pg_settings WHERE name = 'recovery_min_apply_delay'), \
 'synchronous_standby_names', current_setting('synchronous_standby_names'), \
 'synchronous_commit', current_setting('synchronous_commit'), \
 'synchronous_names_source', (SELECT source FROM pg_settings WHERE name = 'synchronous_standby_names'), \
 'loose_commits', coalesce((SELECT json_agg(coalesce('role ' || rolname, 'every role') \
        || coalesce(' in database ' || datname, '')) \
    FROM pg_db_role_setting LEFT JOIN pg_roles r ON r.oid = setrole \
        LEFT JOIN pg_database d ON d.oid = setdatabase \
    WHERE EXISTS (SELECT FROM unnest(setconfig) AS one \
        WHERE one ~* '^synchronous_commit=(off|local|false|no|0)$')), '[]'), \
 'rewindable', current_setting('full_page_writes')::bool AND \
    (current_setting('wal_log_hints')::bool OR current_setting('data_checksums')::bool), \
 'capacity', (SELECT json_object_agg(name, setting::bigint) FROM pg_settings WHERE name IN \
    ('max_connections', 'max_worker_processes', 'max_prepared_transactions', \
     'max_locks_per_transaction', 'max_wal_senders')), \
 'free_wal_senders', current_setting('max_wal_senders')::bigint \
    - (SELECT count(*) FROM pg_stat_replication), \
 'free_slots', current_setting('max_replication_slots')::bigint \
    - (SELECT count(*) FROM pg_replication_slots), \
 'physical_slots', coalesce((SELECT json_object_agg(slot_name, active) \
    FROM pg_replication_slots WHERE slot_type = 'physical'), '{{}}'), \
 'logical_slots_at_risk', coalesce((SELECT json_agg(slot_name ORDER BY slot_name) \
    FROM pg_replication_slots WHERE {at_risk}), '[]'), \
 'prepared_transactions', coalesce((SELECT json_agg(gid ORDER BY gid) FROM pg_prepared_xacts), '[]'), \
 'oldest_transaction_ms', (SELECT greatest(0, max((extract(epoch FROM \
        clock_timestamp() - xact_start) * 1000)::bigint)) FROM pg_stat_activity \
    WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()), \
 'archiving', current_setting('archive_mode') <> 'off', \
 'archive_backlog', (SELECT count(*) FROM pg_ls_archive_statusdir() WHERE name LIKE '%.ready'), \
 'backup_running', EXISTS (SELECT 1 FROM pg_stat_progress_basebackup), \
 'recovery_conf', (pg_stat_file(dir || '/recovery.conf', true)).size IS NOT NULL, \
 'standby_signal', (pg_stat_file(dir || '/standby.signal', true)).size IS NOT NULL, \
 'unlogged_tables', (SELECT count(*) FROM pg_class \
    WHERE relpersistence = 'u' AND relkind IN ('r', 'm')), \
 'walinspect', EXISTS (SELECT 1 FROM pg_extension WHERE extname = 'pg_walinspect'), \
 'superuser', current_setting('is_superuser')::bool), \
'view', json_build_object(\
 'flush', CASE WHEN recovering THEN NULL ELSE pg_current_wal_flush_lsn()::text END, \
 'replay', CASE WHEN recovering THEN pg_last_wal_replay_lsn()::text END, \
 'sync_states', CASE WHEN recovering THEN '{{}}'::json ELSE coalesce((SELECT json_object_agg(\
    application_name, sync_state) FROM pg_stat_replication), '{{}}') END, \
 'agents', coalesce((SELECT json_agg(DISTINCT application_name) FROM pg_stat_activity \
    WHERE application_name ~* '^(patroni|repmgrd|pg_auto_failover|stolon|cnpg)'), '[]'))) \
FROM me"
    )
}
