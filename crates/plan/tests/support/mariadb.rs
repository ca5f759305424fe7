//! A MariaDB set of three servers in three zones, one minor behind: mariadb-0 leads.

use std::collections::BTreeMap;

use ferriswheel_plan::policy::Upgrade;
use ferriswheel_plan::world::*;

use super::{db, handing_over, parsed, spec_of, stateful_set_of, with_set};

const DATABASE: &str = r#"    - name: store
      mariadb:
        statefulSet: db/mariadb
        service: db/mariadb-primary
        admin: db/mariadb-admin
        replication: db/mariadb-replication
        application: db/mariadb-app
        database: store
"#;

pub fn text() -> String {
    spec_of("aks-store-1-36", DATABASE)
}

pub fn spec() -> Upgrade {
    parsed(&text())
}

pub fn hand_over_spec(to: Option<&str>) -> Upgrade {
    handing_over(&text(), to)
}

fn source() -> MariadbSource {
    MariadbSource {
        connection: String::new(),
        host: "mariadb-0.mariadb.db.svc.cluster.local".to_owned(),
        port: 3306,
        receives: "Yes".to_owned(),
        applies: "Yes".to_owned(),
        gtid: "Slave_Pos".to_owned(),
        behind_seconds: Some(0),
        delay_seconds: 0,
        errors: Vec::new(),
        filters: Vec::new(),
    }
}

fn facts(n: u32) -> MariadbFacts {
    let leads = n == 0;
    MariadbFacts {
        version: "10.11.19-MariaDB-0+deb12u1-log".to_owned(),
        server_id: u64::from(100 + n),
        domain: 0,
        read_only: !leads,
        log_bin: true,
        log_slave_updates: true,
        strict: true,
        wsrep_on: false,
        group: false,
        semi_sync_source: false,
        semi_sync_replica: false,
        binlog_state: GtidState::parse("0-101-900,0-100-1000").expect("a state"),
        binlog_pos: GtidPosition::parse("0-100-1000").expect("a position"),
        slave_pos: GtidPosition::parse("0-100-1000").expect("a position"),
        binlog_kept_seconds: 86_400,
        binlog_kept_bytes: 0,
        binlog_filters: Vec::new(),
        sources: if leads { Vec::new() } else { vec![source()] },
        longest: Some(MariadbActivity {
            user: "app".to_owned(),
            session: 40,
            ms: 3,
            statement: Some("INSERT INTO orders VALUES (1)".to_owned()),
        }),
        prepared: 0,
        locked: None,
        directory: "/var/lib/mysql/".to_owned(),
        user: "admin".to_owned(),
        forbidden: Vec::new(),
        unfenced_users: vec!["admin".to_owned(), "root".to_owned()],
    }
}

/// The practice cluster with a MariaDB set instead of PostgreSQL.
pub fn set() -> Snapshot {
    let mut world = with_set("mariadb", "store", &[1, 2, 3]);
    for (name, pod) in &mut world.pods {
        let role = if name.name == "mariadb-0" {
            "primary"
        } else {
            "replica"
        };
        pod.labels.insert("role".to_owned(), role.to_owned());
    }
    stateful_set(&mut world).entrypoint_text = vec!["exec mariadbd --read-only=1".to_owned()];
    let members: BTreeMap<String, MariadbMember> = (0..3)
        .map(|n| {
            let member = MariadbMember {
                unreachable: None,
                facts: Some(facts(n)),
            };
            (format!("mariadb-{n}"), member)
        })
        .collect();
    let labels = BTreeMap::from([("role".to_owned(), "primary".to_owned())]);
    world.databases.insert(
        "store".into(),
        Database::Mariadb(Mariadb {
            stateful_set: db("mariadb"),
            members,
            service: Some(PrimaryService {
                role_labels: Some(labels),
            }),
            application: "app".to_owned(),
        }),
    );
    world
}

pub fn mariadb(world: &mut Snapshot) -> &mut Mariadb {
    match world.databases.get_mut(&"store".into()) {
        Some(Database::Mariadb(mariadb)) => mariadb,
        other => panic!("{other:?} is no MariaDB"),
    }
}

pub fn server(world: &mut Snapshot, n: u32) -> &mut MariadbFacts {
    mariadb(world)
        .members
        .get_mut(&format!("mariadb-{n}"))
        .and_then(|member| member.facts.as_mut())
        .expect("it answers")
}

pub fn source_of(world: &mut Snapshot, n: u32) -> &mut MariadbSource {
    server(world, n).sources.first_mut().expect("a replica")
}

pub fn stateful_set(world: &mut Snapshot) -> &mut StatefulSet {
    stateful_set_of(world, "mariadb")
}
