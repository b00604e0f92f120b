//! The API over real sockets.
//!
//! Every answer of every test is held against what must always be true, and against the document: see [`Answer::hold`].

mod credential;
mod document;
mod keys;
mod logins;
mod refusals;
mod users;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::time::timeout;

use super::{Management, router};
use crate::identity::Passwords;
use crate::keys::database::{AuditFilter, Changed, Database, Live, Page, Revision};
use crate::keys::{Key, KeyStore, SecretFormat};
use crate::secret::Digest;

const TOKEN: &str = "correct horse battery staple 7f3a";

/// An API that runs, with a store of its own.
struct Api {
    address: SocketAddr,
    database: Database,
    keys: Arc<KeyStore>,
    environments: Arc<ArcSwap<Vec<String>>>,
    document: Value,
    /// Whether changes wait for `go` before they are in force.
    hold: Arc<AtomicBool>,
    go: Arc<Notify>,
    _directory: TempDir,
}

/// An answer, read whole.
struct Answer {
    status: u16,
    head: String,
    text: String,
}

impl Api {
    async fn start() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let database = Database::open(&PathBuf::from(directory.path()).join("keygate.db")).expect("a store");
        let keys = Arc::new(KeyStore::new());
        let environments: Arc<ArcSwap<Vec<String>>> = Arc::default();
        let (hold, go) = (Arc::new(AtomicBool::new(false)), Arc::new(Notify::new()));
        let changed: Changed = {
            let (database, keys, hold, go) = (database.clone(), keys.clone(), hold.clone(), go.clone());
            Arc::new(move || {
                let (database, keys, hold, go) = (database.clone(), keys.clone(), hold.clone(), go.clone());
                Box::pin(async move {
                    if hold.load(Ordering::SeqCst) {
                        go.notified().await;
                    }
                    let changes = database.read(|store| store.changes_since(Revision(0))).await.expect("changes");
                    keys.change(changes.keys, changes.whole);
                })
            })
        };
        let management = Management {
            live: Live::new(database.clone(), changed),
            keys: Arc::clone(&keys),
            format: Arc::new(ArcSwap::from_pointee(SecretFormat::default())),
            environments: Arc::clone(&environments),
            credential: Digest::of(TOKEN.as_bytes()),
            passwords: Arc::new(Passwords::start().expect("threads")),
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("binds");
        let address = listener.local_addr().expect("bound");
        tokio::spawn(async move { axum::serve(listener, router(management)).await });
        let document = Value::Null;
        let mut api = Self { address, database, keys, environments, document, hold, go, _directory: directory };
        api.document = api.send(&api.head("GET", "/openapi.json", ""), b"").await.json();
        api
    }

    fn head(&self, method: &str, path: &str, fields: &str) -> String {
        format!("{method} /api/v1{path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n{fields}", self.address)
    }

    /// Sends a head and content of known length.
    async fn send(&self, head: &str, content: &[u8]) -> Answer {
        self.send_raw(&[format!("{head}Content-Length: {}\r\n\r\n", content.len()).as_bytes(), content].concat()).await
    }

    async fn send_raw(&self, bytes: &[u8]) -> Answer {
        let mut stream = TcpStream::connect(self.address).await.expect("connects");
        // The API may answer, and close, before it has read all of what is too much.
        drop(stream.write_all(bytes).await);
        let mut answer = Vec::new();
        let read = timeout(Duration::from_secs(20), stream.read_to_end(&mut answer)).await;
        assert!(read.is_ok(), "no end of the answer");
        let answer = String::from_utf8(answer).expect("UTF-8");
        let (head, text) = answer.split_once("\r\n\r\n").expect("a head");
        let status = head[9..12].parse().expect("a status");
        Answer { status, head: head.to_lowercase(), text: text.to_owned() }
    }

    /// Sends whatever content, with the credential, as JSON.
    async fn bytes(&self, method: &str, path: &str, content: &[u8]) -> Answer {
        let fields = format!("Authorization: Bearer {TOKEN}\r\nContent-Type: application/json\r\n");
        let answer = self.send(&self.head(method, path, &fields), content).await;
        answer.hold(&self.document, method, path);
        answer
    }

    async fn json(&self, method: &str, path: &str, content: &Value) -> Answer {
        self.bytes(method, path, content.to_string().as_bytes()).await
    }

    /// Sends no content.
    async fn ask(&self, method: &str, path: &str) -> Answer {
        self.with(method, path, "").await
    }

    /// Sends no content, and more fields.
    async fn with(&self, method: &str, path: &str, fields: &str) -> Answer {
        let fields = format!("Authorization: Bearer {TOKEN}\r\n{fields}");
        let answer = self.send(&self.head(method, path, &fields), b"").await;
        answer.hold(&self.document, method, path);
        answer
    }

    /// Makes a key; its id and its secret.
    async fn key(&self, content: &Value) -> (String, String) {
        let made = self.json("POST", "/keys", content).await.expect(201);
        (text(&made["id"]), text(&made["secret"]))
    }

    /// The key that this secret opens the gate with.
    fn in_force(&self, secret: &str) -> Option<Arc<Key>> {
        self.keys.find(&Digest::of(secret.as_bytes()))
    }

    /// How often anything was changed.
    async fn changes(&self) -> usize {
        let page = Page::first(Page::LIMIT_MAX);
        self.database.read(move |store| Ok(store.audit(&AuditFilter::default(), page)?.0.len())).await.expect("reads")
    }
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {}", self.text))
    }

    #[track_caller]
    fn expect(&self, status: u16) -> Value {
        assert_eq!(self.status, status, "{}", self.text);
        if self.text.is_empty() { Value::Null } else { self.json() }
    }

    #[track_caller]
    fn refused(&self, status: u16, code: &str) -> Value {
        let problem = self.expect(status);
        assert_eq!(problem["code"], code, "{problem}");
        problem
    }

    fn field(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    }

    /// What is true of every answer.
    fn hold(&self, document: &Value, method: &str, path: &str) {
        assert_eq!(self.field("cache-control"), Some("no-store"), "{}", self.head);
        assert!(!self.text.contains(TOKEN) && !self.head.contains(TOKEN));
        if self.status >= 400 {
            assert_eq!(self.field("content-type"), Some("application/problem+json"), "{}", self.head);
            let problem = self.json();
            assert_eq!(problem["status"], self.status);
            assert!(problem["code"].is_string() && problem["detail"].is_string(), "{problem}");
            assert!(self.status < 500, "{problem}");
        }
        let path = path.split('?').next().unwrap_or_default();
        let mut parts: Vec<&str> = path.split('/').collect();
        if parts.len() > 2 {
            parts[2] = "{id}";
        }
        let operation = &document["paths"][format!("/api/v1{}", parts.join("/"))][method.to_lowercase()];
        if operation.is_object() {
            let described = &operation["responses"][self.status.to_string()];
            assert!(described.is_object(), "the document knows no {} of {method} {path}", self.status);
            for field in described["headers"].as_object().expect("fields").keys() {
                assert!(self.field(&field.to_lowercase()).is_some(), "{method} {path}: {field}: {}", self.head);
            }
        } else {
            assert!(matches!(self.status, 404 | 405), "{method} {path} is in no document");
        }
    }
}

#[track_caller]
fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("not a text: {value}")).to_owned()
}

/// The ids in a page.
fn ids(page: &Value) -> Vec<String> {
    page["items"].as_array().expect("items").iter().map(|item| text(&item["id"])).collect()
}

/// A write is answered when it is in force, and is in force also if nobody waits for the answer.
#[tokio::test]
async fn a_write_is_in_force_before_it_is_answered() {
    let api = Api::start().await;
    let (id, secret) = api.key(&json!({})).await;
    api.hold.store(true, Ordering::SeqCst);
    {
        let path = format!("/keys/{id}/revoke");
        let revoke = api.ask("POST", &path);
        assert!(timeout(Duration::from_millis(200), revoke).await.is_err(), "answered before it is in force");
    }
    // Whoever asked has left. The store has it, the road not yet.
    let record = api
        .database
        .read({
            let id = id.clone();
            move |store| store.key(&id)
        })
        .await
        .expect("reads");
    assert_eq!(record.state.name(), "revoked");
    assert_eq!(api.in_force(&secret).expect("a key").state.name(), "active");
    api.go.notify_one();
    let end = std::time::Instant::now() + Duration::from_secs(10);
    while api.in_force(&secret).expect("a key").state.name() == "active" {
        assert!(std::time::Instant::now() < end, "the revocation was lost with its answer");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
