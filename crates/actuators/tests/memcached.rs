//! Memcached servers as they are: what they say, and what is deleted before one of them leaves.

use std::sync::Arc;
use std::time::Duration;

use ferriswheel_actuators::databases::memcached::facts;
use ferriswheel_actuators::databases::memcached::leftovers::{self, Cleaned};
use ferriswheel_actuators::databases::memcached::ring::Ring;
use ferriswheel_actuators::databases::memcached::session::{ServerError, Session};
use ferriswheel_actuators::dial::{Direct, Target};
use ferriswheel_testbed::memcached::Server;

const DEADLINE: Duration = Duration::from_secs(10);

fn session(server: &Server) -> Session {
    let target = Target::at("pages", "memcached-0", "127.0.0.1", server.port);
    Session::new("memcached-0", target, Arc::new(Direct))
}

/// Keys with letters that a dump writes as numbers.
fn key(n: usize) -> String {
    format!("user:{n}/ä%")
}

#[tokio::test]
async fn what_others_have_of_a_leaving_member_is_deleted_and_nothing_else() {
    let servers: Vec<Server> = (0..3).map(|_| Server::start(&[])).collect();
    let names: Vec<String> = (0..3).map(|n| format!("memcached-{n}")).collect();
    let ring = Ring::of(&names, 11_211);
    let home = |n: usize| ring.server_of(key(n).as_bytes()).unwrap();
    // Every server has its own keys, and those of the second from when that one was away.
    for (n, server) in servers.iter().enumerate() {
        server.set((0..600).filter(|at| [1, n].contains(&home(*at))).map(key));
    }
    let sessions: Vec<Session> = servers.iter().map(session).collect();
    let others = [(0, &sessions[0]), (2, &sessions[2])];
    let delete = async |names: &[String]| {
        let ring = Ring::of(names, 11_211);
        leftovers::delete(&others, &ring, 3, 1).await.unwrap()
    };
    let of_the_leaving = (0..600).filter(|n| home(*n) == 1).count();
    assert!(of_the_leaving > 100);

    // By names that clients do not use nearly everything would be somebody else's.
    let strange: Vec<String> = (0..3).map(|n| format!("10.0.0.{n}")).collect();
    let left = delete(&strange).await;
    assert!(matches!(left, Cleaned::AnotherRing { .. }), "{left:?}");

    assert_eq!(delete(&names).await, Cleaned::Deleted(2 * of_the_leaving));
    for n in (0..600).step_by(7) {
        for (server, expected) in [(0, home(n) == 0), (1, home(n) == 1), (2, home(n) == 2)] {
            assert_eq!(servers[server].has(&key(n)), expected, "{n}");
        }
    }
    assert_eq!(delete(&names).await, Cleaned::Deleted(0));
}

#[tokio::test]
async fn a_server_says_what_it_has_and_what_it_finds() {
    let server = Server::start(&["-m", "32"]);
    server.set((0..50).map(key));
    let session = session(&server);
    let before = facts::sample(&session, DEADLINE).await.unwrap();
    for n in 0..100 {
        assert_eq!(server.has(&key(n)), n < 50);
    }
    let after = facts::sample(&session, DEADLINE).await.unwrap();
    assert_eq!(after.items, 50);
    let between = after.ever.since(before.ever);
    assert_eq!((between.gets, between.hits), (100, 50));

    let facts = facts::collect(&session).await.unwrap();
    assert_eq!((facts.items, facts.max_bytes), (50, 32 << 20));
    assert_eq!((facts.ever.gets, facts.ever.hits), (100, 50));
    assert_eq!(facts.lately.gets, 0);
    assert!(facts.window_ms >= 1_000 && facts.dump_enabled);
    assert_eq!(facts.version, session.version(DEADLINE).await.unwrap());
}

#[tokio::test]
async fn a_server_that_lists_no_keys_says_so() {
    let server = Server::start(&["-X"]);
    server.set((0..5).map(key));
    let session = session(&server);
    assert!(!facts::collect(&session).await.unwrap().dump_enabled);
    let refused = session.keys(|_| true, DEADLINE).await.unwrap_err();
    assert!(matches!(refused, ServerError::Refused { .. }), "{refused}");
    // The session stands after an answer that says no.
    session.version(DEADLINE).await.unwrap();
}

#[tokio::test]
async fn a_server_that_is_gone_is_told_from_one_that_refuses() {
    let server = Server::start(&[]);
    let session = session(&server);
    session.open(DEADLINE).await.unwrap();
    drop(server);
    let lost = session.version(DEADLINE).await.unwrap_err();
    assert!(matches!(lost, ServerError::Disconnected { .. }), "{lost}");
    let lost = session.open(DEADLINE).await.unwrap_err();
    assert!(matches!(lost, ServerError::Disconnected { .. }), "{lost}");
}
