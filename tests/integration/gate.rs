//! A running keygate: the real binary, with a configuration of its own, on ports of its own.
//!
//! When a gate is stopped, everything it wrote is searched for every secret that the test used.

use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::client::{Client, Response};
use crate::key::TestKey;

/// How long anything may take that should take no time. Generous: the machine may be busy.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// All metrics that there are.
const METRICS: &str = include_str!("../../docs/metrics.md");

/// A configuration to be run.
pub(crate) struct Setup {
    directory: TempDir,
    listen: String,
    upstream: String,
    rest: String,
    keys: Vec<TestKey>,
    secrets: Vec<String>,
    variables: Vec<(&'static str, String)>,
    under: Vec<String>,
}

/// A configuration that forwards to `upstream`, with no key yet.
pub(crate) fn gate(upstream: impl std::fmt::Display) -> Setup {
    Setup {
        directory: tempfile::tempdir().unwrap(),
        listen: "listen: 127.0.0.1:0".to_owned(),
        upstream: format!("upstream: {upstream}"),
        rest: String::new(),
        keys: Vec::new(),
        secrets: Vec::new(),
        variables: Vec::new(),
        under: Vec::new(),
    }
}

impl Setup {
    /// Knows this key.
    pub(crate) fn key(mut self, key: &TestKey) -> Self {
        self.keys.push(key.clone());
        self
    }

    /// Watches for one more secret in everything that is written.
    pub(crate) fn secret(mut self, secret: &str) -> Self {
        self.secrets.push(secret.to_owned());
        self
    }

    /// Runs it with a variable in its environment.
    pub(crate) fn variable(mut self, name: &'static str, value: &str) -> Self {
        self.variables.push((name, value.to_owned()));
        self
    }

    /// Runs it by another program, which becomes it.
    pub(crate) fn under(mut self, program: &str, arguments: &[&str]) -> Self {
        self.under = [program].iter().chain(arguments).map(|word| (*word).to_owned()).collect();
        self
    }

    /// Adds lines to the configuration.
    pub(crate) fn with(mut self, yaml: &str) -> Self {
        self.rest.push_str(yaml);
        self.rest.push('\n');
        self
    }

    /// Replaces how it listens.
    pub(crate) fn listen(mut self, yaml: &str) -> Self {
        yaml.clone_into(&mut self.listen);
        self
    }

    /// Replaces the upstream with a mapping.
    pub(crate) fn upstream(mut self, yaml: &str) -> Self {
        yaml.clone_into(&mut self.upstream);
        self
    }

    /// Serves TLS with a certificate for `localhost`.
    pub(crate) fn tls(self) -> Self {
        make_certificate(self.directory.path(), "tls", &["localhost"]);
        self.listen(
            "listen:\n  address: 127.0.0.1:0\n  tls: { certificates: [{ certificate: tls.crt, key: tls.key }] }",
        )
    }

    /// Makes a certificate for `localhost`, `NAME.crt` and `NAME.key`, for a `listen` that names it.
    pub(crate) fn certificate(self, name: &str) -> Self {
        make_certificate(self.directory.path(), name, &["localhost"]);
        self
    }

    /// Where the configuration lies.
    pub(crate) fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Writes the files and starts the gateway; returns when it is ready.
    #[track_caller]
    pub(crate) fn start(self) -> Gate {
        let directory = self.directory.path();
        let mut secrets = self.secrets;
        secrets.extend(self.keys.iter().flat_map(|key| [key.secret.clone(), key.digest()]));
        if !directory.join("keys.yaml").exists() {
            fs::write(directory.join("keys.yaml"), key_file(&self.keys)).unwrap();
        }
        let admin = if self.rest.contains("admin:") { "" } else { "admin: { listen: 127.0.0.1:0 }\n" };
        let log = if self.rest.contains("log:") { "" } else { "log: { level: info, format: json }\n" };
        let keys = if self.rest.contains("keys:") { "" } else { "keys: { file: keys.yaml }\n" };
        let text = format!("{}\n{}\n{keys}{admin}{log}{}", self.listen, self.upstream, self.rest);
        fs::write(directory.join("keygate.yaml"), text).unwrap();
        let mut gate = Gate::spawn(self.directory, Path::new("keygate.yaml"), &self.variables, &self.under);
        gate.secrets = secrets;
        gate
    }
}

/// A gateway that runs.
pub(crate) struct Gate {
    child: Child,
    directory: TempDir,
    secrets: Vec<String>,
    /// Where it listens.
    pub(crate) address: SocketAddr,
    /// Where its admin door is.
    pub(crate) admin: SocketAddr,
    ended: bool,
}

impl Gate {
    /// Runs a configuration with these variables, in a directory of its own.
    #[track_caller]
    pub(crate) fn run(directory: TempDir, configuration: &Path, variables: &[(&str, String)]) -> Self {
        Self::spawn(directory, configuration, variables, &[])
    }

    #[track_caller]
    fn spawn(directory: TempDir, configuration: &Path, variables: &[(&str, String)], under: &[String]) -> Self {
        let keygate = env!("CARGO_BIN_EXE_keygate").to_owned();
        let words: Vec<&String> = under.iter().chain([&keygate]).collect();
        let file = |name: &str| File::create(directory.path().join(name)).unwrap();
        let child = Command::new(words[0])
            .args(&words[1..])
            .args(["run", "--config"])
            .arg(configuration)
            .envs(variables.iter().map(|(name, value)| (name, value)))
            .current_dir(directory.path())
            .stdin(Stdio::null())
            .stdout(file("stdout"))
            .stderr(file("stderr"))
            .spawn()
            .unwrap();
        let nowhere = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut gate = Self { child, directory, secrets: Vec::new(), address: nowhere, admin: nowhere, ended: false };
        gate.wait_until_ready();
        gate
    }

    #[track_caller]
    fn wait_until_ready(&mut self) {
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            if let Some(status) = self.child.try_wait().unwrap() {
                self.ended = true;
                panic!("keygate ended with {status}:\n{}", self.stderr());
            }
            let log = self.stderr();
            if log.contains("keygate is ready") {
                let opened = listening(&log, "gateway").or_else(|| listening(&log, "check"));
                self.address = opened.expect("no listening line");
                self.admin = listening(&log, "admin").unwrap_or(self.admin);
                return;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        panic!("keygate is not ready:\n{}", self.stderr());
    }

    /// Where it answers the questions of other proxies, the first and the only or one of several.
    #[track_caller]
    pub(crate) fn check_address(&self, index: usize) -> SocketAddr {
        let log = self.stderr();
        let lines: Vec<&str> = log.lines().filter(|line| line.contains("\"check\"")).collect();
        listening(lines[index], "check").expect("an address for questions")
    }

    /// A client with one connection.
    pub(crate) fn client(&self) -> Client {
        Client::connect(self.address)
    }

    /// `GET` on a connection of its own.
    #[track_caller]
    pub(crate) fn get(&self, path: &str, fields: &[(&str, &str)]) -> Response {
        self.client().request("GET", path, fields, b"")
    }

    /// `GET` at the admin door.
    #[track_caller]
    pub(crate) fn admin(&self, path: &str) -> Response {
        Client::connect(self.admin).request("GET", path, &[], b"")
    }

    /// The value of a metric's only line that bears all of `labels`; 0 if there is none.
    #[track_caller]
    pub(crate) fn metric(&self, name: &str, labels: &[&str]) -> f64 {
        // A series that is not there yet is 0, a name that no metric has is a mistake.
        let family = name.strip_suffix("_count").unwrap_or(name);
        assert!(METRICS.contains(&format!("| `{family}` |")), "docs/metrics.md has no {family}");
        let page = self.admin("/metrics").text();
        page.lines()
            .filter(|line| line.starts_with(name) && line[name.len()..].starts_with(['{', ' ']))
            .filter(|line| labels.iter().all(|label| line.contains(label)))
            .map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap())
            .sum()
    }

    /// Waits until `condition` holds.
    #[track_caller]
    pub(crate) fn eventually(&self, what: &str, mut condition: impl FnMut(&Self) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !condition(self) {
            assert!(Instant::now() < deadline, "never: {what}\n{}", self.stderr());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// A file in the gateway's directory.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Replaces a file as a careful writer does: beside it, then by rename.
    pub(crate) fn replace(&self, name: &str, content: &str) {
        let aside = self.file(&format!(".{name}.new"));
        fs::write(&aside, content).unwrap();
        fs::rename(aside, self.file(name)).unwrap();
    }

    /// Adds to the secrets that must not be written anywhere.
    pub(crate) fn watch_for(&mut self, key: &TestKey) {
        self.secrets.extend([key.secret.clone(), key.digest()]);
    }

    /// Adds one more secret that must not be written anywhere.
    pub(crate) fn watch_for_secret(&mut self, secret: &str) {
        self.secrets.push(secret.to_owned());
    }

    /// What it said on standard error so far.
    pub(crate) fn stderr(&self) -> String {
        fs::read_to_string(self.file("stderr")).unwrap_or_default()
    }

    /// The access log so far.
    pub(crate) fn stdout(&self) -> String {
        fs::read_to_string(self.file("stdout")).unwrap_or_default()
    }

    /// Its process id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends it a signal, by name.
    pub(crate) fn signal(&self, name: &str) {
        let status = Command::new("kill").args([&format!("-{name}"), &self.pid().to_string()]).status().unwrap();
        assert!(status.success());
    }

    /// Bytes of memory that it holds (resident set).
    pub(crate) fn memory_bytes(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
    }

    /// The processor time that it has used, to the hundredth of a second.
    pub(crate) fn processor_time(&self) -> Duration {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.pid())).unwrap();
        // Behind the name, which may hold anything: the twelfth and the thirteenth, in ticks of a hundredth (proc(5)).
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
        let ticks: u64 = fields[11..13].iter().map(|field| field.parse::<u64>().unwrap()).sum();
        Duration::from_millis(ticks * 10)
    }

    /// Waits for it to end by itself.
    #[track_caller]
    pub(crate) fn wait(&mut self) -> ExitStatus {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                self.ended = true;
                return status;
            }
            assert!(Instant::now() < deadline, "it does not end:\n{}", self.stderr());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Ends it, and looks for secrets in everything it has written.
    #[track_caller]
    fn finish(&mut self) {
        if !self.ended {
            let metrics = if self.admin.port() == 0 { String::new() } else { self.admin("/metrics").text() };
            fs::write(self.file("metrics"), metrics).unwrap();
            // As a person who does not want to wait for load balancers.
            self.signal("INT");
            let status = self.wait();
            assert!(status.success(), "it ended with {status}:\n{}", self.stderr());
        }
        let written = ["stderr", "stdout", "metrics", "access.log"];
        for name in written {
            let text = fs::read_to_string(self.file(name)).unwrap_or_default();
            for secret in &self.secrets {
                assert!(!text.contains(secret.as_str()), "a secret is in {name}");
            }
            assert!(!text.contains("panicked"), "{name} tells of a panic:\n{text}");
        }
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- keygate said:\n{}", self.stderr());
            let _ = self.child.kill();
            let _ = self.child.wait();
        } else {
            self.finish();
        }
    }
}

/// The address in the log line that tells of a door.
fn listening(log: &str, door: &str) -> Option<SocketAddr> {
    let of_door = |line: &&str| {
        line.contains("listening")
            && (line.contains(&format!("\"door\":\"{door}\"")) || line.contains(&format!("door=\"{door}\"")))
    };
    let line = log.lines().find(of_door)?;
    // As JSON or as text.
    let rest = line.split_once("\"address\":\"").or_else(|| line.split_once("address="))?.1;
    rest.split(['"', ' ']).next()?.parse().ok()
}

/// A key file with these keys.
pub(crate) fn key_file(keys: &[TestKey]) -> String {
    if keys.is_empty() {
        return "keys: []\n".to_owned();
    }
    keys.iter().fold("keys:\n".to_owned(), |text, key| text + &key.entry())
}

/// Makes `NAME.crt` and `NAME.key`, self-signed.
pub(crate) fn make_certificate(directory: &Path, name: &str, hosts: &[&str]) {
    let hosts: Vec<String> = hosts.iter().map(|host| (*host).to_owned()).collect();
    let made = rcgen::generate_simple_self_signed(hosts).unwrap();
    fs::write(directory.join(format!("{name}.crt")), made.cert.pem()).unwrap();
    fs::write(directory.join(format!("{name}.key")), made.signing_key.serialize_pem()).unwrap();
}
