//! Debian's Memcached on a free port of 127.0.0.1.

use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A running server, gone with the value.
pub struct Server {
    process: Child,
    /// Its port on 127.0.0.1.
    pub port: u16,
}

impl Server {
    /// Starts an empty server with these options beside its address.
    pub fn start(options: &[&str]) -> Self {
        let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = free.local_addr().unwrap().port();
        drop(free);
        // It refuses to be root, and would forget by itself whose end is its end.
        let process = Command::new("setpriv")
            .args(["--reuid=nobody", "--regid=nogroup", "--clear-groups"])
            .args(["--pdeathsig", "KILL", "--", "memcached"])
            .args(["-l", "127.0.0.1", "-U", "0", "-t", "1", "-p"])
            .arg(port.to_string())
            .args(options)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("apt-get install memcached");
        let mut server = Self { process, port };
        let end = Instant::now() + Duration::from_secs(30);
        while TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err() {
            assert!(
                server.process.try_wait().unwrap().is_none(),
                "memcached has ended"
            );
            assert!(Instant::now() < end, "memcached does not answer");
            std::thread::sleep(Duration::from_millis(10));
        }
        server
    }

    /// Sets keys.
    pub fn set(&self, keys: impl Iterator<Item = String>) {
        let mut lines = self.session();
        for key in keys {
            let answer = lines.ask(&format!("set {key} 0 0 1\r\nx\r\n"));
            assert_eq!(answer, "STORED");
        }
    }

    /// Whether it has a key.
    pub fn has(&self, key: &str) -> bool {
        let mut lines = self.session();
        let there = lines.ask(&format!("get {key}\r\n")) != "END";
        if there {
            lines.line();
            lines.line();
        }
        there
    }

    fn session(&self) -> Lines {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).unwrap();
        Lines(BufReader::new(stream))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

struct Lines(BufReader<TcpStream>);

impl Lines {
    fn ask(&mut self, command: &str) -> String {
        self.0.get_mut().write_all(command.as_bytes()).unwrap();
        self.line()
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.0.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }
}
