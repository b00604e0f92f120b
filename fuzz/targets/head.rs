//! Bytes of a connection through the whole gateway, to an upstream that keeps what it receives.
//!
//! The gateway runs in this process, behind the program's own listener and with a configuration read from a file. A strict
//! reader of HTTP/1.1 says beforehand which requests are in the bytes; the recording upstream is another strict reader.
//! What arrives must be one of these requests, in their order, each once, whole, under its normal path, at the upstream of
//! the route of that very path; with our identity and nobody else's; and never at the one nobody may reach.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use http::{Request, StatusCode};
use hyper::body::Incoming;
use keygate::app::gateway_of;
use keygate::gateway::path::normal_form;
use keygate::listener::{self, ConnectionInfo, Drain, HandshakeFailure, Listener, Observer, Refusal, ResetReason};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;

use super::reader::{Message, Read, read};

pub const WORDS: &[&str] = &[
    "GET ",
    "POST ",
    "/public/a",
    "/orders/1",
    "/admin/x",
    "/public/../admin/x",
    "/public/%2e%2e/admin/x",
    " HTTP/1.1\r\n",
    " HTTP/1.0\r\n",
    "Host: a.test\r\n",
    "Host: b.test\r\n",
    "Content-Length: 5\r\n",
    "Content-Length: 0\r\n",
    "Transfer-Encoding: chunked\r\n",
    "Transfer-Encoding: identity\r\n",
    "\r\n",
    "\n",
    "\r",
    "\r\n\r\n",
    "0\r\n\r\n",
    "5\r\nhello\r\n",
    "5;a=b\r\nhello\r\n",
    " ",
    "\t",
    "\0",
    "X-Keygate-Key-Id: root\r\n",
    "X_Keygate_Key_Id: root\r\n",
    "X-Keygate-Tenant: evil\r\n",
    "X-API-Key: fuzz-key-0123456789\r\n",
    "Connection: x-keygate-key-id\r\n",
    "Connection: x-forwarded-for, x-api-key\r\n",
    "X-Forwarded-For: 1.1.1.1\r\n",
    "Connection: close\r\n",
    "Connection: keep-alive\r\n",
    "Expect: 100-continue\r\n",
    "Upgrade: h2c\r\n",
    "TE: trailers\r\n",
    "http://a.test/orders/1",
    "*",
    "a.test:443",
    "CONNECT ",
    "OPTIONS ",
    ":",
    ",",
    ";",
    "%",
    "#",
    "?",
    "@",
    "Content-Length",
];

/// The key of the configuration. It may read orders and nothing else.
const KEY: &str = "fuzz-key-0123456789";

/// Sent behind every input: if the gateway still follows, it answers and closes.
const LAST: &[u8] = b"\r\nGET /public/last HTTP/1.1\r\nHost: last.test\r\nConnection: close\r\n\r\n";

/// How long a client waits for the next byte before it leaves.
const PATIENCE: Duration = Duration::from_millis(30);

/// Between two pieces.
const PAUSE: Duration = Duration::from_millis(1);

/// Where each route leads. The same port at three addresses: what arrives where says which route was decided on.
const UPSTREAMS: [(&str, Ipv4Addr); 3] = [
    ("/public/", Ipv4Addr::new(127, 0, 0, 1)),
    ("/orders/", Ipv4Addr::new(127, 0, 0, 2)),
    ("/admin/", Ipv4Addr::new(127, 0, 0, 3)),
];

static ARRIVED: AtomicUsize = AtomicUsize::new(0);

/// How many requests have arrived so far: a gateway that lets nothing through breaks no promise, and shows nothing.
pub fn arrived() -> usize {
    ARRIVED.load(Ordering::Relaxed)
}

pub fn check(data: &[u8]) {
    static WORLD: OnceLock<Mutex<World>> = OnceLock::new();
    let mut world =
        WORLD.get_or_init(|| Mutex::new(World::new())).lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    world.send(data);
}

/// Gateway and upstream, on one thread.
struct World {
    runtime: Runtime,
    gate: SocketAddr,
    seen: Arc<Mutex<Seen>>,
    clients: u32,
    _folder: tempfile::TempDir,
}

/// What was sent by each client and has not arrived, and what arrived and must not.
#[derive(Default)]
struct Seen {
    sent: HashMap<IpAddr, std::vec::IntoIter<Message>>,
    wrong: Vec<String>,
}

impl World {
    fn new() -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let folder = tempfile::tempdir().expect("a folder");
        let seen = Arc::new(Mutex::new(Seen::default()));
        let gate = runtime.block_on(open(folder.path(), &seen));
        Self { runtime, gate, seen, clients: 0, _folder: folder }
    }

    /// Sends some bytes, each time as another client.
    fn send(&mut self, data: &[u8]) {
        self.clients = (self.clients + 1) % (1 << 22);
        let client = Ipv4Addr::from(u32::from(Ipv4Addr::new(100, 64, 0, 0)) + self.clients);
        let bytes = [data, LAST].concat();
        {
            let mut seen = self.seen.lock().expect("nobody panics with it");
            if seen.sent.len() > 256 {
                seen.sent.clear();
            }
            seen.sent.insert(client.into(), requests(&bytes).into_iter());
        }
        let _ = self.runtime.block_on(converse(self.gate, client, pieces(&bytes)));
        let wrong = std::mem::take(&mut self.seen.lock().expect("nobody panics with it").wrong);
        assert!(wrong.is_empty(), "{wrong:#?}");
    }
}

/// The bytes as they are sent: as a whole, or, for one input in four, in two pieces. The input itself decides where.
fn pieces(bytes: &[u8]) -> [&[u8]; 2] {
    let sum = bytes.iter().fold(0_usize, |sum, byte| sum.wrapping_mul(31).wrapping_add((*byte).into()));
    let cut = if sum % 4 == 0 { sum / 4 % bytes.len() } else { bytes.len() };
    bytes.split_at(cut).into()
}

/// Writes the pieces, and reads until nothing comes any more.
async fn converse(gate: SocketAddr, client: Ipv4Addr, [begin, end]: [&[u8]; 2]) -> std::io::Result<()> {
    let mut stream = TcpStream::connect(gate).await?;
    stream.set_nodelay(true)?;
    stream.write_all(format!("PROXY TCP4 {client} 127.0.0.1 1 2\r\n").as_bytes()).await?;
    stream.write_all(begin).await?;
    if !end.is_empty() {
        // So that the gateway has read the one when the other comes.
        tokio::time::sleep(PAUSE).await;
        stream.write_all(end).await?;
    }
    let mut answer = [0; 4096];
    while let Ok(more) = tokio::time::timeout(PATIENCE, stream.read(&mut answer)).await {
        if more? == 0 {
            break;
        }
    }
    Ok(())
}

/// Opens upstreams and gateway.
async fn open(folder: &std::path::Path, seen: &Arc<Mutex<Seen>>) -> SocketAddr {
    let first = TcpListener::bind((UPSTREAMS[0].1, 0)).await.expect("a port");
    let port = first.local_addr().expect("an address").port();
    tokio::spawn(record(first, UPSTREAMS[0].0, Arc::clone(seen)));
    for (route, address) in &UPSTREAMS[1..] {
        let listener = TcpListener::bind((*address, port)).await.expect("the same port at another address");
        tokio::spawn(record(listener, route, Arc::clone(seen)));
    }
    let digest = keygate::secret::Digest::of(KEY.as_bytes()).to_hex();
    let keys = format!("keys:\n  - {{ id: fuzz, sha256: {digest}, tenant: acme, permissions: [orders:read] }}\n");
    std::fs::write(folder.join("keys.yaml"), keys).expect("a file");
    let path = folder.join("keygate.yaml");
    std::fs::write(&path, CONFIGURATION.replace("@PORT@", &port.to_string())).expect("a file");
    let (gateway, settings) = gateway_of(&path).expect("a good configuration");

    let socket = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port");
    let gate = socket.local_addr().expect("an address");
    let service = move |request: Request<Incoming>, connection: &Arc<ConnectionInfo>| {
        Arc::clone(&gateway).answer(request, Arc::clone(connection), None)
    };
    let settings = Arc::new(ArcSwap::from_pointee(settings));
    let (drain, listener) = (Drain::new(), Listener { socket, worker: 0 });
    tokio::spawn(async move {
        listener::serve(listener, settings, None, service, Deaf, drain.watch()).await;
        drop(drain);
    });
    gate
}

const CONFIGURATION: &str = "
listen: { address: 127.0.0.1:1, proxy_protocol: { versions: [v1], from: [127.0.0.0/8] } }
upstream: http://127.0.0.1:@PORT@
keys: { file: keys.yaml }
routes:
  - { name: public, paths: ['/public/{*rest}'], access: public, upstream: { url: 'http://127.0.0.1:@PORT@', host: upstream } }
  - { name: orders, paths: ['/orders/{*rest}'], access: api_key, permission: orders:read, upstream: { url: 'http://127.0.0.2:@PORT@', host: upstream } }
  - { name: admin, paths: ['/admin/{*rest}'], access: api_key, permission: admin:all, upstream: { url: 'http://127.0.0.3:@PORT@', host: upstream } }
admin: off
workers: 1
log: { level: off, access: { enabled: false } }
";

/// Hears nothing.
struct Deaf;

impl Observer for Deaf {
    fn connection_opened(&self) {}
    fn connection_closed(&self) {}
    fn refused(&self, _: Refusal) {}
    fn closed_when_idle(&self) {}
    fn accept_failed(&self) {}
    fn stream_reset(&self, _: ResetReason, _: &ConnectionInfo) {}
    fn handshake_failed(&self, _: HandshakeFailure) {}
    fn head_refused(&self, _: StatusCode, _: &'static str, _: &ConnectionInfo) -> Bytes {
        Bytes::new()
    }
}

/// The upstream of one route.
async fn record(listener: TcpListener, route: &'static str, seen: Arc<Mutex<Seen>>) {
    while let Ok((stream, _)) = listener.accept().await {
        tokio::spawn(receive(stream, route, Arc::clone(&seen)));
    }
}

/// Reads requests from one connection, and answers each.
async fn receive(mut stream: TcpStream, route: &'static str, seen: Arc<Mutex<Seen>>) {
    let mut bytes = Vec::new();
    loop {
        let verdict = match read(&bytes) {
            Read::Whole(message, length) => {
                bytes.drain(..length);
                ARRIVED.fetch_add(1, Ordering::Relaxed);
                Some(arrival(&message, route, &mut seen.lock().expect("nobody panics with it")))
            }
            Read::Part => None,
            Read::Nonsense(what) => Some(Err(format!("{what}: {}", bytes.escape_ascii()))),
        };
        match verdict {
            Some(Ok(())) => {
                if stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await.is_err() {
                    return;
                }
            }
            Some(Err(wrong)) => {
                seen.lock().expect("nobody panics with it").wrong.push(wrong);
                return;
            }
            None => match stream.read_buf(&mut bytes).await {
                Ok(0) | Err(_) => return,
                Ok(_) => {}
            },
        }
    }
}

/// Looks at a request that has arrived.
fn arrival(message: &Message, route: &str, seen: &mut Seen) -> Result<(), String> {
    let say = |what: &str| Err(format!("at {route}: {what}: {message:?}"));
    let values =
        |name: &str| message.fields.iter().filter(|field| field.0 == name).map(|field| &*field.1).collect::<Vec<_>>();
    let path = message.target.split('?').next().unwrap_or_default();
    if route == "/admin/" || !path.starts_with(route) {
        return say("this route was not decided on");
    }
    if normal_form(path).ok().as_deref() != Some(path) {
        return say("the path is not normal");
    }
    let key = if route == "/orders/" { ["fuzz", "acme", "orders:read"].map(Some) } else { [None; 3] };
    for (name, right) in ["x-keygate-key-id", "x-keygate-tenant", "x-keygate-permissions"].into_iter().zip(key) {
        if values(name) != right.into_iter().collect::<Vec<_>>() {
            return say("another identity");
        }
    }
    for (name, value) in &message.fields {
        let dashed = name.replace('_', "-");
        let ours = ["x-keygate-key-id", "x-keygate-tenant", "x-keygate-permissions"].contains(&name.as_str());
        if (dashed.starts_with("x-keygate-") && !ours) || dashed == "x-api-key" {
            return say("a reserved field");
        }
        if ["connection", "keep-alive", "te", "upgrade", "proxy-connection", "proxy-authorization", "expect"]
            .contains(&name.as_str())
            && !(name == "te" && value == "trailers")
        {
            return say("a field of the client's connection");
        }
    }
    if values("host").len() != 1 || values("via").is_empty() || values("x-request-id").len() != 1 {
        return say("not one host, one name and a way");
    }
    let client = values("x-forwarded-for");
    let [client] = client[..] else { return say("not one client") };
    let Some(sent) = client.parse().ok().and_then(|client: IpAddr| seen.sent.get_mut(&client)) else {
        return say("nobody is there who could have sent it");
    };
    // The rest of the client's requests, from behind the one that arrived last.
    match sent.find(|sent| sent.method == message.method && sent.target == message.target && sent.body == message.body)
    {
        Some(_) => Ok(()),
        None => say("nobody has sent this"),
    }
}

/// The requests that a strict reader finds in the bytes of a client, with targets as they must arrive.
fn requests(bytes: &[u8]) -> Vec<Message> {
    let (mut found, mut rest) = (Vec::new(), bytes);
    loop {
        while let Some(behind) = rest.strip_prefix(b"\r\n").or_else(|| rest.strip_prefix(b"\n")) {
            rest = behind;
        }
        let Read::Whole(mut message, length) = read(rest) else { return found };
        rest = &rest[length..];
        let target = message.target.split('#').next().unwrap_or_default();
        let target = match target.split_once("://").filter(|(scheme, _)| !scheme.contains('/')) {
            Some((_, behind)) => behind.find(['/', '?']).map_or("/", |at| &behind[at..]),
            None => target,
        };
        let (path, query) = target.split_once('?').map_or((target, None), |(path, query)| (path, Some(query)));
        let path = if path.is_empty() { "/" } else { path };
        if let Ok(path) = normal_form(path) {
            message.target = query.map_or_else(|| path.to_string(), |query| format!("{path}?{query}"));
            found.push(message);
        }
    }
}
