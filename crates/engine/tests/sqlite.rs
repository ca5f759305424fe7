//! The journal file: durability of order, damage, fencing between processes, old formats.

#![expect(clippy::unwrap_used, reason = "a broken assumption fails the test")]

use std::path::{Path, PathBuf};

use ferriswheel_engine::actuator::OperationKey;
use ferriswheel_engine::journal::sqlite::SqliteJournal;
use ferriswheel_engine::journal::{AppendError, Journal, ReadError};
use ferriswheel_engine::record::{Entry, Request};
use ferriswheel_engine::state::State;
use ferriswheel_plan::ids::PlanId;
use ferriswheel_plan::step::StepId;
use jiff::Timestamp;
use rusqlite::Connection;

fn plan() -> PlanId {
    PlanId::new("0123456789abcdef")
}

fn now() -> Timestamp {
    "2026-11-21T00:00:00Z".parse().unwrap()
}

fn fill(path: &Path, records: u32) {
    let journal = SqliteJournal::open(path).unwrap();
    let epoch = journal
        .append(&plan(), 0, now(), Entry::Driving)
        .unwrap()
        .epoch;
    let step = StepId(1);
    journal
        .append(&plan(), epoch, now(), Entry::Started { step })
        .unwrap();
    for n in 3..=records {
        let key = OperationKey(format!("k{n}"));
        let entry = if n % 2 == 1 {
            Entry::Acting { step, key }
        } else {
            Entry::Settled {
                step,
                evidence: Default::default(),
            }
        };
        journal.append(&plan(), epoch, now(), entry).unwrap();
    }
}

fn edit(path: &Path, sql: &str) {
    Connection::open(path).unwrap().execute_batch(sql).unwrap();
}

#[test]
fn what_was_appended_is_read_back_by_another_process() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("journal.db");
    fill(&path, 9);
    let journal = SqliteJournal::open(&path).unwrap();
    let records = journal.after(0).unwrap();
    assert_eq!(records.len(), 9);
    assert_eq!(journal.after(7).unwrap(), records[7..]);
    assert_eq!(State::replay(&records).unwrap().seq, 9);
}

#[test]
fn damage_in_the_middle_is_refused_with_its_place() {
    for (sql, seq) in [
        (
            "UPDATE record SET body = replace(body, 'k3', 'k4') WHERE seq = 3",
            3,
        ),
        ("DELETE FROM record WHERE seq = 4", 5),
        ("UPDATE record SET digest = 'x' WHERE seq = 5", 5),
        ("UPDATE record SET body = '{}' WHERE seq = 2", 2),
        ("DELETE FROM record WHERE seq = 1", 2),
    ] {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("journal.db");
        fill(&path, 9);
        edit(&path, sql);
        match SqliteJournal::open(&path).map(|_| ()) {
            Err(ReadError::Damaged { seq: found, .. }) => assert_eq!(found, seq, "{sql}"),
            other => panic!("{sql}: {other:?}"),
        }
    }
}

#[test]
fn a_page_overwritten_on_disk_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("journal.db");
    fill(&path, 400);
    edit(&path, "PRAGMA wal_checkpoint(TRUNCATE)");
    let mut bytes = std::fs::read(&path).unwrap();
    let page = 4_096;
    assert!(bytes.len() > 6 * page);
    bytes[3 * page..4 * page].fill(0xA5);
    std::fs::write(&path, bytes).unwrap();
    match SqliteJournal::open(&path).map(|_| ()) {
        Err(ReadError::Damaged { seq, .. }) => assert!((1..400).contains(&seq), "at {seq}"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_torn_last_record_is_tolerated() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("journal.db");
    fill(&path, 9);
    edit(
        &path,
        "UPDATE record SET body = substr(body, 1, 20) WHERE seq = 9",
    );
    let journal = SqliteJournal::open(&path).unwrap();
    assert_eq!(journal.after(0).unwrap().len(), 8);
    let record = journal.append(&plan(), 0, now(), Entry::Driving).unwrap();
    assert_eq!((record.seq, record.epoch), (9, 2));
    assert_eq!(
        SqliteJournal::open(&path).unwrap().after(0).unwrap().len(),
        9
    );
}

#[test]
fn a_log_torn_at_any_byte_loses_at_most_its_tail() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("journal.db");
    let journal = SqliteJournal::open(&path).unwrap();
    let epoch = journal
        .append(&plan(), 0, now(), Entry::Driving)
        .unwrap()
        .epoch;
    journal
        .append(&plan(), epoch, now(), Entry::Started { step: StepId(1) })
        .unwrap();
    let wal = PathBuf::from(format!("{}-wal", path.display()));
    let whole = (std::fs::read(&path).unwrap(), std::fs::read(&wal).unwrap());
    for cut in (0..whole.1.len()).step_by(997) {
        let copy = directory.path().join(format!("cut{cut}.db"));
        std::fs::write(&copy, &whole.0).unwrap();
        std::fs::write(format!("{}-wal", copy.display()), &whole.1[..cut]).unwrap();
        let records = SqliteJournal::open(&copy).unwrap().after(0).unwrap();
        assert!(records.len() <= 2);
        assert!(State::replay(&records).is_ok());
    }
}

#[test]
fn a_file_that_is_no_journal_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("journal.db");
    std::fs::write(&path, vec![b'x'; 8_192]).unwrap();
    assert!(matches!(
        SqliteJournal::open(&path).map(|_| ()),
        Err(ReadError::Store(_))
    ));
}

#[test]
fn a_newer_format_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("journal.db");
    fill(&path, 3);
    edit(&path, "PRAGMA user_version = 7");
    assert!(matches!(
        SqliteJournal::open(&path).map(|_| ()),
        Err(ReadError::TooNew { found: 7, .. })
    ));
}

#[test]
fn of_two_processes_only_the_younger_driver_writes() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("journal.db");
    let first = SqliteJournal::open(&path).unwrap();
    let second = SqliteJournal::open(&path).unwrap();
    let old = first
        .append(&plan(), 0, now(), Entry::Driving)
        .unwrap()
        .epoch;
    let new = second
        .append(&plan(), 0, now(), Entry::Driving)
        .unwrap()
        .epoch;
    let entry = Entry::Started { step: StepId(1) };
    assert!(matches!(
        first.append(&plan(), old, now(), entry.clone()),
        Err(AppendError::Conflict {
            ours: 1,
            in_charge: 2
        })
    ));
    // A person's request needs no charge.
    first
        .append(
            &plan(),
            0,
            now(),
            Entry::Asked {
                request: Request::Pause,
            },
        )
        .unwrap();
    second.append(&plan(), new, now(), entry).unwrap();
    assert!(
        State::replay(&second.after(0).unwrap())
            .unwrap()
            .pause_asked
    );
}

#[test]
fn old_journals_replay() {
    let stored = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/journals/v1");
    let mut found = 0;
    for entry in std::fs::read_dir(&stored).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "db") {
            continue;
        }
        found += 1;
        let directory = tempfile::tempdir().unwrap();
        let copy = directory.path().join("journal.db");
        std::fs::copy(&path, &copy).unwrap();
        let records = SqliteJournal::open(&copy).unwrap().after(0).unwrap();
        let kinds: std::collections::BTreeSet<_> =
            records.iter().map(|record| record.entry.name()).collect();
        assert_eq!(
            kinds.len(),
            12,
            "every kind but one of the two ends: {kinds:?}"
        );
        assert!(State::replay(&records).unwrap().over, "{}", path.display());
    }
    assert!(found > 0, "no stored journal in {}", stored.display());
}
