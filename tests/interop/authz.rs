//! Other proxies ask keygate and forward themselves, set up by the files in `deploy/authz`: nginx, Caddy and Envoy.

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::client::{Client, Response};
use crate::gate::{Gate, PATIENCE, key_file};
use crate::key::{TestKey, key};
use crate::upstream::{Then, Upstream, respond};

/// A proxy that is set up by a file that we ship.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Program {
    Nginx,
    Caddy,
    Envoy,
}

impl Program {
    /// The file that is shipped.
    const fn shipped(self) -> &'static str {
        match self {
            Self::Nginx => "nginx.conf",
            Self::Caddy => "Caddyfile",
            Self::Envoy => "envoy.yaml",
        }
    }

    /// A file around it: what a process of its own needs, and an operator has already.
    const fn around(self) -> Option<&'static str> {
        match self {
            Self::Nginx => Some(
                "daemon off; pid nginx.pid; error_log stderr; events {}\nhttp { access_log off; \
                 client_body_temp_path a; proxy_temp_path b; fastcgi_temp_path c; uwsgi_temp_path d; scgi_temp_path e; \
                 include shipped; }\n",
            ),
            Self::Caddy => Some("{\n\tadmin off\n}\nimport shipped\n"),
            Self::Envoy => None,
        }
    }

    fn command(self) -> Command {
        let words: &[&str] = match self {
            Self::Nginx => &["nginx", "-p", ".", "-c", "around"],
            Self::Caddy => &["caddy", "run", "--config", "around", "--adapter", "caddyfile"],
            Self::Envoy => {
                &["envoy", "-c", "shipped.yaml", "--concurrency", "1", "--use-dynamic-base-id", "-l", "warn"]
            }
        };
        let envoy = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/interop/python/bin/envoy");
        let mut command = if self == Self::Envoy { Command::new(envoy) } else { Command::new(words[0]) };
        command.args(&words[1..]);
        command
    }
}

/// A proxy that runs.
struct Proxy {
    child: Child,
    address: SocketAddr,
    directory: TempDir,
}

impl Proxy {
    /// Starts one with the addresses of its file replaced; returns when it takes connections.
    fn start(program: Program, api: &Upstream, gate: &Gate) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let address = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap();
        let mut text = shipped(program.shipped());
        for (port, other) in [
            ("8080", address.port()),
            ("9000", port_of(api)),
            ("9911", gate.check_address(0).port()),
            ("9912", gate.check_address(1).port()),
            ("9913", gate.check_address(2).port()),
        ] {
            text = text.replace(port, &other.to_string());
        }
        let name = if program == Program::Envoy { "shipped.yaml" } else { "shipped" };
        fs::write(directory.path().join(name), text).unwrap();
        if let Some(around) = program.around() {
            fs::write(directory.path().join("around"), around).unwrap();
        }
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
            .unwrap_or_else(|error| panic!("{program:?}: {error}; run `make packages clients`"));
        let mut proxy = Self { child, address, directory };
        let deadline = Instant::now() + PATIENCE;
        while TcpStream::connect(address).is_err() {
            let ended = proxy.child.try_wait().unwrap();
            assert!(ended.is_none() && Instant::now() < deadline, "{program:?} does not begin: {}", proxy.said());
            std::thread::sleep(Duration::from_millis(20));
        }
        proxy
    }

    fn said(&self) -> String {
        fs::read_to_string(self.directory.path().join("stderr")).unwrap_or_default()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- the proxy said:\n{}", self.said());
        }
        // nginx has children of its own, which end with it if it is asked to end.
        let asked = Command::new("kill").arg(self.child.id().to_string()).status();
        let deadline = Instant::now() + PATIENCE;
        while asked.is_ok() && matches!(self.child.try_wait(), Ok(None)) && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(5));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn port_of(api: &Upstream) -> u16 {
    api.to_string().rsplit(':').next().unwrap().parse().unwrap()
}

fn shipped(name: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/authz").join(name)).unwrap()
}

/// A handshake (RFC 6455, section 1.3), and what answers it.
const SOCKET: [(&str, &str); 4] = [
    ("Connection", "Upgrade"),
    ("Upgrade", "websocket"),
    ("Sec-WebSocket-Version", "13"),
    ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
];
const AGREED: &[u8] = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

/// Says hello; and to whoever asks for WebSocket, five bytes of its own.
fn api() -> Upstream {
    Upstream::answering(|request, stream| {
        if request.values("upgrade") != ["websocket"] {
            return respond(stream, "200 OK", "", b"hello");
        }
        let mut said = [0; 5];
        if stream.write_all(AGREED).and_then(|()| stream.read_exact(&mut said)).is_ok() {
            let _ = stream.write_all(&said);
        }
        Then::Close
    })
}

/// Clients, a proxy, keygate beside it, and the API behind it.
struct Stand {
    program: Program,
    api: Upstream,
    alice: TestKey,
    proxy: Proxy,
    gate: Gate,
}

impl Stand {
    fn start(program: Program, more: &[&TestKey]) -> Self {
        let (api, alice) = (api(), key("alice").with("tenant: acme"));
        let directory = tempfile::tempdir().unwrap();
        let mut text = shipped("keygate.yaml");
        for port in ["9911", "9912", "9913", "8081"] {
            text = text.replace(port, "0");
        }
        text = text.replace("9000", &port_of(&api).to_string());
        text.push_str("admin: { listen: 127.0.0.1:0 }\nlog: { level: info, format: json }\n");
        let configuration = directory.path().join("keygate.yaml");
        fs::write(&configuration, text).unwrap();
        let keys: Vec<TestKey> = more.iter().copied().chain([&alice]).cloned().collect();
        fs::write(directory.path().join("keys.yaml"), key_file(&keys)).unwrap();
        let mut gate = Gate::run(directory, &configuration, &[]);
        keys.iter().for_each(|key| gate.watch_for(key));
        let proxy = Proxy::start(program, &api, &gate);
        Self { program, api, alice, proxy, gate }
    }

    #[track_caller]
    fn ask(&self, method: &str, path: &str, fields: &[(&str, &str)], content: &[u8]) -> Response {
        Client::connect(self.proxy.address).request(method, path, fields, content)
    }

    #[track_caller]
    fn get(&self, path: &str, fields: &[(&str, &str)]) -> Response {
        self.ask("GET", path, fields, b"")
    }

    /// A refusal, as the client sees it, of a request that has not reached the API.
    #[track_caller]
    fn refused(&self, method: &str, path: &str, fields: &[(&str, &str)], status: u16, code: &str) -> Response {
        let before = self.api.received().len();
        let response = self.ask(method, path, fields, b"");
        assert_eq!(response.status, status, "{:?} {method} {path}: {response:?}", self.program);
        assert_eq!(response.code(), code, "{:?} {method} {path}: {response:?}", self.program);
        assert_eq!(self.api.received().len(), before, "{:?} {method} {path} has reached the API", self.program);
        response
    }
}

/// What clients write to be somebody else; no word of it may reach the API.
const FORGED: &[(&str, &str)] = &[
    ("X-Keygate-Tenant", "evil"),
    ("X-Keygate-User", "evil"),
    ("X-Keygate-Permissions", "evil:evil"),
    ("X_Keygate_Tenant", "evil"),
];

/// What clients write so that another request is judged.
const OTHER_REQUEST: &[(&str, &str)] = &[
    ("X-Forwarded-Uri", "/health"),
    ("X-Forwarded-Method", "GET"),
    ("X-Original-URI", "/health"),
    ("X-Original-Method", "GET"),
    ("X-Original-Host", "health.example"),
    ("X-Envoy-Original-Path", "/health"),
];

fn a_request_passes_and_bears_identity(stand: &Stand) {
    let fields = [&[stand.alice.field()], FORGED].concat();
    let response = stand.ask("POST", "/echo?x=1", &fields, b"content");
    assert_eq!(response.status, 200, "{:?}: {response:?}", stand.program);
    let seen = stand.api.last();
    assert!(seen.head.starts_with("POST /echo?x=1 HTTP/1.1\r\n"), "{}", seen.head);
    assert_eq!(seen.content, b"content");
    assert_eq!(seen.value("X-Keygate-Key-Id"), "alice");
    assert_eq!(seen.value("X-Keygate-Tenant"), "acme");
    // The user is not known, and neither an empty one nor anything else stands in for it.
    assert_eq!(seen.values("X-Keygate-User"), [""; 0], "{:?}: {}", stand.program, seen.head);
    assert!(!seen.mentions("evil"), "{:?}: {}", stand.program, seen.head);
    assert!(!seen.mentions(&stand.alice.secret), "{:?}: {}", stand.program, seen.head);
    assert_eq!(response.field("x-request-id"), Some(seen.value("X-Request-Id")), "{:?}", stand.program);
    assert_eq!(response.number("x-ratelimit-limit"), 600);
    assert_eq!(stand.get("/health", FORGED).status, 200, "a public path");
    let seen = stand.api.last();
    assert!(!seen.mentions("evil") && !seen.mentions("alice"), "{:?}: {}", stand.program, seen.head);
}

/// What `Connection` lists ends at a proxy, and some end what they have been handed over along with it.
fn no_client_takes_away_who_it_is(stand: &Stand) {
    for listed in ["X-Keygate-Key-Id", "close, x-keygate-key-id, X-Keygate-Tenant", "X-API-Key", "X-Forwarded-For"] {
        let before = stand.api.received().len();
        let response = stand.get("/echo", &[stand.alice.field(), ("Connection", listed)]);
        match response.status {
            200 => assert_eq!(stand.api.last().value("X-Keygate-Key-Id"), "alice", "{:?} {listed}", stand.program),
            400 | 401 => assert_eq!(stand.api.received().len(), before, "{:?} {listed}", stand.program),
            _ => panic!("{:?} {listed}: {response:?}", stand.program),
        }
    }
}

fn refusals_reach_the_client(stand: &Stand, slow: &TestKey) {
    let alice = stand.alice.field();
    let missing = stand.refused("GET", "/echo", &[], 401, "credentials_missing");
    assert_eq!(missing.field("www-authenticate"), Some("ApiKey realm=\"keygate\""));
    stand.refused("POST", "/echo", &[("X-API-Key", "wrong")], 401, "key_unknown");
    stand.refused("GET", "/admin/users", &[alice], 403, "permission_missing");
    stand.refused("PUT", "/health", &[], 401, "credentials_missing");
    let twice = [alice, ("X-API-Key", "another")];
    let conflict = stand.ask("GET", "/echo", &twice, b"");
    assert!([400, 401].contains(&conflict.status), "{:?}: {conflict:?}", stand.program);

    assert_eq!(stand.get("/echo", &[slow.field()]).status, 200);
    let limited = stand.refused("GET", "/echo", &[slow.field()], 429, "rate_limited");
    assert!(limited.number("retry-after") >= 1, "{limited:?}");
}

/// What nginx still reads, and keygate does not, with what nginx writes to it besides.
fn a_head_that_is_too_large_is_the_clients_fault(stand: &Stand) {
    let (path, long) = (format!("/echo?{}", "q".repeat(600)), "x".repeat(8100));
    let fields = ["X-Long-1", "X-Long-2", "X-Long-3", "X-Long-4"].map(|name| (name, long.as_str()));
    let response = stand.refused("GET", &path, &[&fields[..], &[stand.alice.field()]].concat(), 431, "head_too_large");
    assert_eq!(response.field("cache-control"), Some("no-store"));
}

/// To a client of gRPC a refusal has the status 200, which a proxy that asks would take for a yes.
fn a_grpc_client_is_refused_too(stand: &Stand) {
    let before = stand.api.received().len();
    let response =
        stand.ask("POST", "/shop.Orders/Get", &[("Content-Type", "application/grpc"), ("TE", "trailers")], b"");
    let refused = response.status == 401 || (response.status == 200 && response.field("grpc-status") == Some("16"));
    assert!(refused && stand.api.received().len() == before, "{:?}: {response:?}", stand.program);
}

fn the_request_that_is_judged_is_the_one_that_is_forwarded(stand: &Stand) {
    let alice = stand.alice.field();
    stand.refused("GET", "/echo", OTHER_REQUEST, 401, "credentials_missing");
    stand.refused("DELETE", "/health", OTHER_REQUEST, 401, "credentials_missing");
    stand.refused("GET", "/admin", &[&[alice], OTHER_REQUEST].concat(), 403, "permission_missing");
    for path in
        ["/health/../admin", "/health/%2e%2e/admin", "//admin", "/health/..%2fadmin", "/health/..;/admin", "/./admin"]
    {
        let before = stand.api.received().len();
        let response = stand.get(path, &[alice]);
        let answered = matches!(response.status, 400 | 403);
        assert!(answered && stand.api.received().len() == before, "{:?} {path}: {response:?}", stand.program);
    }
}

fn no_client_chooses_its_address(stand: &Stand, elsewhere: &TestKey) {
    let forged = [("X-Forwarded-For", "203.0.113.9"), ("X-Real-IP", "203.0.113.9"), ("Forwarded", "for=203.0.113.9")];
    let fields = [&[elsewhere.field()][..], &forged].concat();
    stand.refused("GET", "/echo", &fields, 403, "address_not_allowed");
}

/// Where no route permits it, no protocol is asked of the API, also by proxies that pass on every `Upgrade`.
fn no_client_leaves_http(stand: &Stand) {
    let alice = stand.alice.field();
    let socket = [&[alice], &SOCKET[..]].concat();
    let h2c = [
        alice,
        ("Connection", "Upgrade, HTTP2-Settings"),
        ("Upgrade", "h2c"),
        ("HTTP2-Settings", "AAMAAABkAAQCAAAAAAIAAAAA"),
    ];
    for fields in [&socket[..], &h2c] {
        let before = stand.api.received().len();
        let response = stand.get("/echo", fields);
        assert!([200, 403, 501].contains(&response.status), "{:?}: {response:?}", stand.program);
        for seen in &stand.api.received()[before..] {
            assert_eq!(seen.values("Upgrade"), [""; 0], "{:?}: {}", stand.program, seen.head);
        }
    }
}

fn websocket_passes_where_a_route_permits_it(stand: &Stand) {
    stand.refused("GET", "/live/feed", &SOCKET, 401, "credentials_missing");
    let mut client = Client::connect(stand.proxy.address);
    let response = client.request("GET", "/live/feed", &[&[stand.alice.field()], &SOCKET[..]].concat(), b"");
    assert_eq!(response.status, 101, "{:?}: {response:?}", stand.program);
    client.write(b"hello");
    assert_eq!(client.take(5), b"hello", "{:?}", stand.program);
    assert_eq!(stand.api.last().value("X-Keygate-Key-Id"), "alice", "{:?}", stand.program);
}

/// Stops keygate in the middle of whatever it does. A signal alone is not there at once.
fn freeze(gate: &Gate) {
    gate.signal("STOP");
    gate.eventually("every thread stands still", |gate| {
        let threads = fs::read_dir(format!("/proc/{}/task", gate.pid())).unwrap();
        threads
            .flatten()
            .all(|thread| fs::read_to_string(thread.path().join("status")).unwrap_or_default().contains("State:\tT"))
    });
}

/// A keygate that is there and says nothing has not said yes either, and nobody waits for it for long.
fn silence_is_no_yes(stand: &Stand) {
    let before = stand.api.received().len();
    freeze(&stand.gate);
    let response = stand.get("/echo", &[stand.alice.field()]);
    stand.gate.signal("CONT");
    assert!((500..=599).contains(&response.status), "{:?}: {response:?}", stand.program);
    assert_eq!(stand.api.received().len(), before, "{:?} is open without an answer", stand.program);
    stand.gate.eventually("it answers again", |_| stand.get("/echo", &[stand.alice.field()]).status == 200);
}

fn a_revoked_key_is_refused_at_once(stand: &Stand) {
    assert_eq!(stand.get("/echo", &[stand.alice.field()]).status, 200);
    stand.gate.replace("keys.yaml", "keys: []\n");
    stand.gate.eventually("the key is refused", |_| stand.get("/echo", &[stand.alice.field()]).status == 401);
}

/// All of it with one proxy: starting one costs more than asking.
#[track_caller]
fn check(program: Program) {
    let slow = key("slow").with("rate_limit: 1");
    let elsewhere = key("elsewhere").with("allowed_networks: [203.0.113.0/24]");
    let stand = Stand::start(program, &[&slow, &elsewhere]);
    a_request_passes_and_bears_identity(&stand);
    no_client_takes_away_who_it_is(&stand);
    refusals_reach_the_client(&stand, &slow);
    if program == Program::Nginx {
        a_head_that_is_too_large_is_the_clients_fault(&stand);
    }
    a_grpc_client_is_refused_too(&stand);
    the_request_that_is_judged_is_the_one_that_is_forwarded(&stand);
    no_client_chooses_its_address(&stand, &elsewhere);
    no_client_leaves_http(&stand);
    websocket_passes_where_a_route_permits_it(&stand);
    silence_is_no_yes(&stand);
    a_revoked_key_is_refused_at_once(&stand);

    let Stand { api, alice, proxy, gate, .. } = stand;
    let before = api.received().len();
    drop(gate);
    for path in ["/echo", "/health"] {
        let response = Client::connect(proxy.address).request("GET", path, &[alice.field()], b"");
        assert!((500..=599).contains(&response.status), "{program:?} is open without keygate: {response:?}");
    }
    assert_eq!(api.received().len(), before, "{program:?} is open without keygate");
}

#[test]
fn nginx_asks_and_forwards_what_may_pass_and_nothing_else() {
    check(Program::Nginx);
}

#[test]
fn caddy_asks_and_forwards_what_may_pass_and_nothing_else() {
    check(Program::Caddy);
}

#[test]
fn envoy_asks_and_forwards_what_may_pass_and_nothing_else() {
    check(Program::Envoy);
}
