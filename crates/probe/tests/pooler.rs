//! The probe through a real `PgBouncer` in transaction mode: a pause is a stall, never an error.

use std::os::unix::fs::chown;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use ferriswheel_probe::certificate::Verdict;
use ferriswheel_probe::config::RunConfig;
use ferriswheel_probe::controls::find_binaries;
use ferriswheel_probe::controls::server::Server;
use ferriswheel_probe::run::{FinishRequest, Probe};
use tokio_postgres::NoTls;

struct Pooler(Child);

impl Drop for Pooler {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Pooler {
    /// In the server's own directory, on a unix socket with port 6432, as the server's user.
    fn before(server: &Server) -> Self {
        let home = server.socket_dir();
        let ini = home.join("pgbouncer.ini");
        let owner = std::fs::metadata(home).map(|m| {
            use std::os::unix::fs::MetadataExt as _;
            (m.uid(), m.gid())
        });
        let text = format!(
            "[databases]\npostgres = host={0} port=5432 user=postgres\n[pgbouncer]\n\
             listen_addr =\nlisten_port = 6432\nunix_socket_dir = {0}\nauth_type = any\n\
             pool_mode = transaction\nadmin_users = postgres\ndefault_pool_size = 8\n",
            home.display()
        );
        let program = "/usr/sbin/pgbouncer";
        assert!(
            Path::new(program).exists(),
            "install it: apt-get install pgbouncer"
        );
        let mut command = match (std::fs::write(&ini, text), owner) {
            (Ok(()), Ok((0, _))) => Command::new(program),
            (Ok(()), Ok((uid, gid))) => {
                let _ = chown(&ini, Some(uid), Some(gid));
                let mut command = Command::new("setpriv");
                command.args([
                    format!("--reuid={uid}"),
                    format!("--regid={gid}"),
                    "--clear-groups".to_owned(),
                    "--pdeathsig=KILL".to_owned(),
                    program.to_owned(),
                ]);
                command
            }
            (written, owner) => panic!("{written:?} {owner:?}"),
        };
        let child = command
            .arg(&ini)
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        Self(child.unwrap_or_else(|error| panic!("start {program}: {error}")))
    }
}

async fn console(server: &Server, command: &str) {
    let dsn = format!(
        "host={} port=6432 user=postgres dbname=pgbouncer",
        server.socket_dir().display()
    );
    let (client, connection) = tokio_postgres::connect(&dsn, NoTls)
        .await
        .unwrap_or_else(|e| panic!("{e}"));
    let driver = tokio::spawn(connection);
    client
        .simple_query(command)
        .await
        .unwrap_or_else(|e| panic!("{command}: {e}"));
    driver.abort();
}

async fn until_acked(probe: &Probe, count: u64) {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(30);
    while probe.status().acked < count {
        assert!(
            tokio::time::Instant::now() < deadline,
            "{:?}",
            probe.status()
        );
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pause_stalls_writers_and_readers_and_fails_nobody() {
    let binaries = find_binaries(None).unwrap_or_else(|error| panic!("{error}"));
    let server = Server::create(&binaries).await.unwrap();
    let _pooler = Pooler::before(&server);
    let mut config = RunConfig::new(format!(
        "host={} port=6432 user=postgres dbname=postgres",
        server.socket_dir().display()
    ));
    config.readers = 2;
    config.limits.write_stall_ms = 60_000;
    let probe = Probe::start(config, None).await.unwrap();
    until_acked(&probe, 100).await;

    console(&server, "PAUSE").await;
    let paused = tokio::time::Instant::now();
    tokio::time::sleep(Duration::from_millis(300)).await;
    let held = paused.elapsed();
    console(&server, "RESUME").await;
    let acked = probe.status().acked;
    until_acked(&probe, acked + 100).await;

    // Through the pooler when no member is named, and directly: the same judgement.
    let through = probe
        .finish(&FinishRequest::of(Vec::new()))
        .await
        .certificate;
    let direct = probe
        .finish(&FinishRequest::of(vec![server.member("a")]))
        .await
        .certificate;
    for certificate in [&through, &direct] {
        assert_eq!(
            certificate.verdict,
            Verdict::Pass,
            "{:?}",
            certificate.reasons
        );
        assert_eq!(certificate.errors, 0, "{:?}", certificate.error_kinds);
        assert_eq!((certificate.reads.errors, certificate.reads.stale), (0, 0));
        let gap = certificate.longest_ack_gap_ms.unwrap();
        assert!(
            gap >= held.as_secs_f64() * 1e3 * 0.9,
            "{gap} against {held:?}"
        );
    }
    assert_eq!(through.members[0].digest, direct.members[0].digest);
}
