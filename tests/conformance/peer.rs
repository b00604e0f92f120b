//! Other gateways with the policy of the cases: nginx, HAProxy and Caddy, as their configurations in `peers/` have it.

use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// How long one may take to begin.
const START: Duration = Duration::from_secs(20);

/// A program that does what keygate does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Program {
    Nginx,
    HAProxy,
    Caddy,
}

impl Program {
    /// What it is called, and which version is here.
    pub(crate) fn version(self) -> String {
        let (name, arguments): (_, &[&str]) = match self {
            Self::Nginx => ("nginx", &["-v"]),
            Self::HAProxy => ("haproxy", &["-v"]),
            Self::Caddy => ("caddy", &["version"]),
        };
        let output = Command::new(name).args(arguments).output();
        let output = output.unwrap_or_else(|error| panic!("{name}: {error}; `make compare` installs it"));
        let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        let number = text.split([' ', '/', '\n']).find(|word| word.contains('.') && word.starts_with(is_digit));
        format!("{self:?} {}", number.unwrap_or("?").split('-').next().unwrap_or_default())
    }

    const fn file(self) -> &'static str {
        match self {
            Self::Nginx => "nginx.conf",
            Self::HAProxy => "haproxy.cfg",
            Self::Caddy => "Caddyfile",
        }
    }

    /// Runs in the foreground, as one process.
    fn command(self) -> Command {
        let (name, arguments): (_, &[&str]) = match self {
            Self::Nginx => ("nginx", &["-p", ".", "-c", "nginx.conf"]),
            Self::HAProxy => ("haproxy", &["-db", "-f", "haproxy.cfg"]),
            Self::Caddy => ("caddy", &["run", "--config", "Caddyfile", "--adapter", "caddyfile"]),
        };
        let mut command = Command::new(name);
        command.args(arguments);
        command
    }
}

fn is_digit(letter: char) -> bool {
    letter.is_ascii_digit()
}

/// One that runs until it is dropped.
pub(crate) struct Peer {
    child: Child,
    /// Where it takes HTTP/1.1.
    pub(crate) http1: SocketAddr,
    /// Where it takes HTTP/2 without TLS.
    pub(crate) http2: SocketAddr,
    /// Its files.
    directory: TempDir,
}

impl Peer {
    /// Starts one in front of an upstream; returns when it takes connections.
    pub(crate) fn start(program: Program, upstream: SocketAddr) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let (http1, http2) = (free_port(), free_port());
        let template = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/conformance/peers").join(program.file());
        let mut text = std::fs::read_to_string(template).unwrap();
        for (word, port) in [("@HTTP1@", http1), ("@HTTP2@", http2), ("@UPSTREAM@", upstream.port())] {
            text = text.replace(word, &port.to_string());
        }
        std::fs::write(directory.path().join(program.file()), text).unwrap();
        let file = |name: &str| File::create(directory.path().join(name)).unwrap();
        let child = program
            .command()
            .current_dir(directory.path())
            .env("HOME", directory.path())
            .env("XDG_DATA_HOME", directory.path())
            .env("XDG_CONFIG_HOME", directory.path())
            .stdin(Stdio::null())
            .stdout(file("stdout"))
            .stderr(file("stderr"))
            .spawn()
            .unwrap();
        let address = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let peer = Self { child, http1: address(http1), http2: address(http2), directory };
        peer.wait_until_ready(program);
        peer
    }

    fn wait_until_ready(&self, program: Program) {
        let deadline = Instant::now() + START;
        while [self.http1, self.http2].iter().any(|address| TcpStream::connect(address).is_err()) {
            let said = || std::fs::read_to_string(self.directory.path().join("stderr")).unwrap_or_default();
            assert!(Instant::now() < deadline, "{program:?} does not begin: {}", said());
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A port that nobody has at the moment.
fn free_port() -> u16 {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port()
}
