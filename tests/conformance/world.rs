//! One gateway with one upstream, and the question that is put to them.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use sha2::{Digest as _, Sha256};
use socket2::{Domain, Socket, Type};

use crate::book::{Case, Protocol};
use crate::gate::{Gate, gate};
use crate::peer::{Peer, Program};
use crate::recorder::{Arrived, Recorder};
use crate::{http1, http2};

/// How long anything may take that should take no time.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// The same for others, who wait for what does not come more often.
const PATIENCE_WITH_PEERS: Duration = Duration::from_millis(1_500);

/// What was answered.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) content: String,
    pub(crate) request_id: Option<String>,
}

/// What became of the connection, or of the stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    Open,
    Closed,
    /// HTTP/2: the stream or the connection was broken off, with this code.
    Reset(u32),
}

/// All that can be seen of a case.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    /// The client's address.
    pub(crate) from: Ipv4Addr,
    pub(crate) answers: Vec<Answer>,
    pub(crate) ending: Ending,
    pub(crate) arrived: Vec<Arrived>,
    /// Somebody else's request right after it was answered with what it had asked for.
    pub(crate) others_served: bool,
}

impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let answers: Vec<_> = self.answers.iter().map(|answer| answer.status.to_string()).collect();
        write!(f, "answered: [{}], then {:?}", answers.join(", "), self.ending)?;
        for arrived in &self.arrived {
            write!(f, "\n    arrived: {arrived}")?;
        }
        Ok(())
    }
}

/// What the gateways of the cases guard: `/public/` is open, `/admin/` is for whoever may administer, everything else is
/// for whoever has a key. `cases/README.md` tells it to the writers of cases.
const POLICY: &str = "
routes:
  - { name: public, paths: [/public, '/public/{*rest}'], access: public }
  - { name: admin, paths: [/admin, '/admin/{*rest}'], access: api_key, permission: items:manage }
  - { name: rest, paths: ['/{*rest}'], access: api_key }
identity_fields: { key_id: X-Auth-Key, user: X-Auth-User, tenant: X_Auth_Tenant }
keys: { file: cases.yaml }
timeouts: { request_head: 20s, request_body: 20s, idle: 20s }
maxima: { head: 16KiB }
";

/// The keys of the cases: their secrets, whose they are, and what these may do.
pub(crate) const KEYS: &[(&str, &str, &str)] =
    &[("key-of-items", "u-items", "items:read"), ("key-of-admin", "u-admin", "items:manage")];

/// One gateway with one upstream.
pub(crate) struct World {
    /// Where requests are sent.
    pub(crate) address: SocketAddr,
    /// Where those of HTTP/2 are sent.
    pub(crate) http2: SocketAddr,
    /// What stands behind it.
    pub(crate) recorder: Recorder,
    /// How long anything may take that should take no time.
    patience: Duration,
    running: Running,
}

/// What runs for as long as its world is there.
enum Running {
    Keygate(Gate),
    Peer(Peer),
}

impl World {
    /// Starts keygate in front of a new upstream.
    pub(crate) fn open() -> Self {
        let recorder = Recorder::open();
        let mut keys = "keys:\n".to_owned();
        for (secret, user, permission) in KEYS {
            let digest: String = Sha256::digest(secret.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect();
            let line = format!(
                "  - {{ id: of-{user}, sha256: {digest}, user: {user}, tenant: acme, permissions: ['{permission}'] }}\n"
            );
            keys.push_str(&line);
        }
        let setup = gate(format!("http://{}", recorder.address)).with(POLICY);
        std::fs::write(setup.directory().join("cases.yaml"), keys).unwrap();
        let setup = KEYS.iter().fold(setup, |setup, (secret, ..)| setup.secret(secret));
        let gate = setup.listen("listen: { address: '127.0.0.1:0', prior_knowledge: true }").start();
        let (address, running) = (gate.address, Running::Keygate(gate));
        Self { address, http2: address, recorder, patience: PATIENCE, running }
    }

    /// Starts another gateway in front of a new upstream, with the same policy.
    pub(crate) fn of(program: Program) -> Self {
        let recorder = Recorder::open();
        let peer = Peer::start(program, recorder.address);
        let (address, http2) = (peer.http1, peer.http2);
        Self { address, http2, recorder, patience: PATIENCE_WITH_PEERS, running: Running::Peer(peer) }
    }

    /// Puts a case, and looks at both sides.
    ///
    /// Each case comes from an address of its own, by which what arrives is known: also when it is late, because its
    /// connection was opened by a thread that had no turn.
    pub(crate) fn ask(&self, case: &Case) -> Seen {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let from = Ipv4Addr::from(FIRST_CLIENT + number);
        let before = self.recorder.arrivals();
        let (answers, ending) = match case.over {
            Protocol::Http1 => http1::ask(from, self.address, case, self.patience),
            Protocol::Http2 => http2::ask(from, self.http2, case, self.patience),
        };
        // Somebody else comes after it. Whatever of the case was still on its way to the upstream is there before that.
        let path = format!("/public/other-{number}");
        let other = case_of_another(&path);
        let (others, _) = http1::ask(Ipv4Addr::LOCALHOST, self.address, &other, self.patience);
        let others_served = others.len() == 1 && others[0].status == 200 && others[0].content == format!("GET {path}");
        let mut arrived = self.recorder.since(before, self.patience);
        arrived.retain(|arrived| arrived.target() != path && !is_of_another(arrived, from));
        Seen { from, answers, ending, arrived, others_served }
    }
}

/// The address of the first client.
const FIRST_CLIENT: u32 = u32::from_be_bytes([127, 1, 0, 1]);

/// Whether something arrived for another case. What bears no good address is nobody's, and counts.
fn is_of_another(arrived: &Arrived, from: Ipv4Addr) -> bool {
    let address = arrived.values("x-forwarded-for").first().and_then(|address| address.parse::<Ipv4Addr>().ok());
    address.is_some_and(|address| address.is_loopback() && address != from)
}

/// A connection from an address of its own.
pub(crate) fn connect(from: Ipv4Addr, to: SocketAddr, patience: Duration) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from((from, 0)).into()).unwrap();
    socket.connect_timeout(&to.into(), patience).unwrap();
    let stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(patience)).unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}

fn case_of_another(path: &str) -> Case {
    let text = format!(
        "== another\nwhy nobody else may notice\nwant 200\n| GET {path} HTTP/1.1\n| Host: api.example\n|\n>> GET {path}\n"
    );
    crate::book::read("", &text).remove(0)
}
