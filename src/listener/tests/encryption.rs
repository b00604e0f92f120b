//! TLS: names, versions, client certificates, resumption, and certificates that change.

use rustls::client::Resumption;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, HandshakeKind, RootCertStore, SupportedProtocolVersion};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::certificates::Folder;
use super::http2::{get, handshake};
use super::*;
use crate::listener::{TlsSettings, TlsVersion};

/// A client, as it may be configured.
pub(super) struct Client {
    config: ClientConfig,
}

impl Client {
    pub(super) fn trusting(folder: &Folder) -> Self {
        Self::new(folder, &[&TLS13, &TLS12], None)
    }

    fn with_certificate(folder: &Folder, own: (CertificateDer<'static>, PrivateKeyDer<'static>)) -> Self {
        Self::new(folder, &[&TLS13], Some(own))
    }

    fn new(
        folder: &Folder,
        versions: &[&'static SupportedProtocolVersion],
        own: Option<(CertificateDer<'static>, PrivateKeyDer<'static>)>,
    ) -> Self {
        let mut roots = RootCertStore::empty();
        roots.add(folder.authority()).unwrap();
        let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_protocol_versions(versions)
            .unwrap()
            .with_root_certificates(roots);
        let config = match own {
            None => builder.with_no_client_auth(),
            Some((certificate, key)) => builder.with_client_auth_cert(vec![certificate], key).unwrap(),
        };
        Self { config }
    }

    fn offering(mut self, protocol: &[u8]) -> Self {
        self.config.alpn_protocols = vec![protocol.to_vec()];
        self
    }

    async fn connect(&self, server: &Server, name: &str) -> io::Result<TlsStream<TcpStream>> {
        self.over(server.connect().await, name).await
    }

    pub(super) async fn over(&self, stream: TcpStream, name: &str) -> io::Result<TlsStream<TcpStream>> {
        let connector = TlsConnector::from(Arc::new(self.config.clone()));
        connector.connect(name.to_owned().try_into().unwrap(), stream).await
    }

    /// Connects and asks once; what the client's certificate is refused for shows only then.
    async fn ask(&self, server: &Server, name: &str) -> io::Result<(String, HandshakeKind)> {
        let mut stream = self.connect(server, name).await?;
        stream.write_all(b"GET / HTTP/1.1\r\nhost: a.example\r\nconnection: close\r\n\r\n").await?;
        let mut text = String::new();
        tokio::time::timeout(LONG, stream.read_to_string(&mut text)).await.expect("no answer")?;
        Ok((text, stream.get_ref().1.handshake_kind().unwrap()))
    }
}

async fn shown(client: &Client, server: &Server, name: &str) -> CertificateDer<'static> {
    let stream = client.connect(server, name).await.unwrap();
    stream.get_ref().1.peer_certificates().unwrap()[0].clone().into_owned()
}

#[tokio::test]
async fn the_certificate_is_chosen_by_name() {
    let folder = Folder::new();
    let server = Server::start_tls(settings(), &folder.store(&["a.example", "b.example", "*.c.example"]));
    let client = Client::trusting(&folder);
    for name in ["a.example", "b.example", "x.c.example"] {
        // The client verifies the name itself.
        let (response, _) = client.ask(&server, name).await.unwrap();
        assert!(response.contains(&format!("sni: Some({name:?})")), "{response}");
        assert!(response.contains(r#"version: "TLSv1.3""#), "{response}");
    }
    assert!(client.connect(&server, "d.example").await.is_err());
    server.hears("handshake alert").await;
    server.ends().await;
}

#[tokio::test]
async fn http2_is_spoken_where_both_want_it() {
    let folder = Folder::new();
    let store = folder.store(&["a.example"]);
    let server = Server::start_tls(settings(), &store);
    let client = Client::trusting(&folder).offering(b"h2");
    let (mut sender, _connection) = handshake(client.connect(&server, "a.example").await.unwrap()).await;
    assert!(get(&mut sender, "/").await.contains(r#"sni: Some("a.example")"#));
    server.ends().await;

    let server = Server::start_tls(Settings { http2: false, ..settings() }, &store);
    assert!(client.connect(&server, "a.example").await.is_err());
    server.hears("handshake alpn").await;
    server.ends().await;
}

#[tokio::test]
async fn an_unknown_application_protocol_is_refused() {
    let folder = Folder::new();
    let server = Server::start_tls(settings(), &folder.store(&["a.example"]));
    let error = Client::trusting(&folder).offering(b"smtp").connect(&server, "a.example").await.unwrap_err();
    assert!(error.to_string().contains("NoApplicationProtocol"), "{error}");
    server.hears("handshake alpn").await;
    server.ends().await;
}

#[tokio::test]
async fn versions_below_the_minimum_are_refused() {
    let folder = Folder::new();
    let client = Client::new(&folder, &[&TLS12], None);
    let server = Server::start_tls(settings(), &folder.store(&["a.example"]));
    assert!(client.ask(&server, "a.example").await.unwrap().0.contains(r#"version: "TLSv1.2""#));
    server.ends().await;

    let newer = TlsSettings { minimum_version: TlsVersion::V1_3, ..folder.settings(&["a.example"]) };
    let server = Server::start_tls(settings(), &Arc::new(TlsStore::load(&newer).unwrap()));
    assert!(client.connect(&server, "a.example").await.is_err());
    server.hears("handshake incompatible").await;
    server.ends().await;
}

#[tokio::test]
async fn a_required_client_certificate_is_required() {
    let folder = Folder::new();
    let required = TlsSettings { clients: folder.clients(true), ..folder.settings(&["a.example"]) };
    let server = Server::start_tls(settings(), &Arc::new(TlsStore::load(&required).unwrap()));

    let client = Client::with_certificate(&folder, folder.client());
    let (response, _) = client.ask(&server, "a.example").await.unwrap();
    assert!(response.contains(r#"subject: "CN=orders""#), "{response}");
    let names = r#"names: ["orders.internal", "10.1.2.3", "spiffe://example/orders"]"#;
    assert!(response.contains(names), "{response}");

    assert!(Client::trusting(&folder).ask(&server, "a.example").await.is_err());
    server.hears("handshake no_certificate").await;
    let stranger = Client::with_certificate(&folder, Folder::new().client());
    assert!(stranger.ask(&server, "a.example").await.is_err());
    server.hears("handshake bad_certificate").await;
    server.ends().await;
}

#[tokio::test]
async fn an_optional_client_certificate_may_be_missing_but_not_wrong() {
    let folder = Folder::new();
    let optional = TlsSettings { clients: folder.clients(false), ..folder.settings(&["a.example"]) };
    let server = Server::start_tls(settings(), &Arc::new(TlsStore::load(&optional).unwrap()));

    let (response, _) = Client::trusting(&folder).ask(&server, "a.example").await.unwrap();
    assert!(response.contains("client_certificate: None"), "{response}");
    let known = Client::with_certificate(&folder, folder.client());
    assert!(known.ask(&server, "a.example").await.unwrap().0.contains("CN=orders"));
    let stranger = Client::with_certificate(&folder, Folder::new().client());
    assert!(stranger.ask(&server, "a.example").await.is_err());
    server.ends().await;
}

#[tokio::test]
async fn sessions_are_resumed_also_after_a_renewal() {
    let folder = Folder::new();
    let store = folder.store(&["a.example"]);
    let server = Server::start_tls(settings(), &store);
    for versions in [&TLS13, &TLS12] {
        let client = Client::new(&folder, &[versions], None);
        assert_eq!(client.ask(&server, "a.example").await.unwrap().1, HandshakeKind::Full);
        assert_eq!(client.ask(&server, "a.example").await.unwrap().1, HandshakeKind::Resumed);

        folder.pair("a.example", &["a.example"]);
        assert_eq!(store.reload(), Ok(true));
        assert_eq!(client.ask(&server, "a.example").await.unwrap().1, HandshakeKind::Resumed);
    }
    server.ends().await;
}

/// A resumed session does not verify the client again (RFC 8446, section 4.6.1), so it must not outlive the authority
/// which has let the client in.
#[tokio::test]
async fn sessions_end_with_the_authority_that_let_them_in() {
    let folder = Folder::new();
    let required = TlsSettings { clients: folder.clients(true), ..folder.settings(&["a.example"]) };
    let store = Arc::new(TlsStore::load(&required).unwrap());
    let server = Server::start_tls(settings(), &store);
    let client = Client::with_certificate(&folder, folder.client());
    client.ask(&server, "a.example").await.unwrap();
    assert_eq!(client.ask(&server, "a.example").await.unwrap().1, HandshakeKind::Resumed);

    let other = Folder::new();
    std::fs::copy(other.path("authority.pem"), folder.path("authority.pem")).unwrap();
    assert_eq!(store.reload(), Ok(true));
    assert!(client.ask(&server, "a.example").await.is_err());
    server.hears("handshake bad_certificate").await;
    server.ends().await;
}

#[tokio::test]
async fn a_bad_pair_keeps_its_predecessor_and_the_others_change() {
    let folder = Folder::new();
    let store = folder.store(&["a.example", "b.example"]);
    let server = Server::start_tls(settings(), &store);
    let mut client = Client::trusting(&folder);
    client.config.resumption = Resumption::disabled();
    let (first_a, first_b) = (shown(&client, &server, "a.example").await, shown(&client, &server, "b.example").await);
    assert_eq!(store.reload(), Ok(false));

    let old_key = std::fs::read_to_string(folder.path("a.example.key")).unwrap();
    folder.pair("a.example", &["a.example"]);
    let new_key = std::fs::read_to_string(folder.path("a.example.key")).unwrap();
    folder.pair("b.example", &["b.example"]);
    folder.write("a.example.key", &old_key);
    let problems = store.reload().unwrap_err();
    assert_eq!(problems.len(), 1, "{problems:?}");
    assert_eq!(problems[0].file, folder.path("a.example.key"));
    assert!(problems[0].message.starts_with("does not belong to the certificate in "), "{}", problems[0]);
    assert_eq!(shown(&client, &server, "a.example").await, first_a);
    let second_b = shown(&client, &server, "b.example").await;
    assert_ne!(second_b, first_b);

    folder.write("a.example.key", &new_key);
    assert_eq!(store.reload(), Ok(true));
    assert_ne!(shown(&client, &server, "a.example").await, first_a);
    assert_eq!(shown(&client, &server, "b.example").await, second_b);
    server.ends().await;
}

#[test]
fn every_problem_is_told_and_no_secret() {
    let folder = Folder::new();
    let mut broken = folder.settings(&["a.example", "b.example", "c.example", "d.example"]);
    let secret = "-----BEGIN hunter2hunter2\nhunter2hunter2\n";
    folder.write("a.example.key", secret);
    std::fs::remove_file(&broken.certificates[1].certificate).unwrap();
    folder.write("c.example.pem", "");
    folder.write("d.example.key", "-----BEGIN PRIVATE KEY-----\nhunter2!hunter2\n-----END PRIVATE KEY-----\n");
    folder.write("authority.pem", "nothing");
    broken.clients = folder.clients(true);

    let problems = TlsStore::load(&broken).unwrap_err();
    let files: Vec<_> = problems.iter().map(|problem| problem.file.file_name().unwrap().to_str().unwrap()).collect();
    assert_eq!(files, ["a.example.key", "b.example.pem", "c.example.pem", "d.example.key", "authority.pem"]);
    let text = format!("{problems:?} {}", problems.iter().map(ToString::to_string).collect::<String>());
    assert!(!text.contains("hunter2") && !text.contains("104, 117, 110"), "{text}");
}

#[test]
fn other_settings_are_taken_whole_or_not_at_all() {
    let folder = Folder::new();
    let store = folder.store(&["a.example"]);
    let before = store.files();
    let mut wrong = folder.settings(&["b.example", "c.example"]);
    folder.write("c.example.key", "");
    assert!(store.apply(&wrong).is_err());
    assert_eq!(store.files(), before);

    wrong.certificates.pop();
    assert_eq!(store.apply(&wrong), Ok(true));
    assert_eq!(store.apply(&wrong), Ok(false));
    assert_eq!(store.files(), [folder.path("b.example.pem"), folder.path("b.example.key")]);
    wrong.certificates.clear();
    assert!(store.apply(&wrong).is_err(), "TLS without a certificate");
}

#[test]
fn the_beginning_and_the_end_of_each_certificate_are_known() {
    let folder = Folder::new();
    let mut two = folder.settings(&["a.example"]);
    two.certificates.push(folder.expired_pair("old", &[]));
    let store = TlsStore::load(&two).unwrap();
    let found = store.validities();
    let ends: Vec<_> = found.iter().map(|(name, (_, end))| (name.as_str(), *end)).collect();
    assert_eq!(ends, [("a.example", 2_524_608_000), ("old.pem", 978_307_200)]);
    assert!(found.iter().all(|(_, (start, end))| start < end), "{found:?}");
}

#[tokio::test]
async fn a_handshake_must_end_in_time() {
    let folder = Folder::new();
    let timeouts = Timeouts { tls_handshake: SHORT, ..settings().timeouts };
    let server = Server::start_tls(Settings { timeouts, ..settings() }, &folder.store(&["a.example"]));
    let mut silent = server.connect().await;
    closes_after(SHORT, &mut silent).await;
    let mut half = server.connect().await;
    half.write_all(b"\x16\x03\x01\x02\x00\x01").await.unwrap();
    closes_after(SHORT, &mut half).await;
    assert_eq!(server.heard.words(), ["handshake timeout", "handshake timeout"]);
    server.ends().await;
}

#[tokio::test]
async fn after_the_handshake_the_limits_of_http_hold() {
    let folder = Folder::new();
    let timeouts = Timeouts { request_head: SHORT, ..settings().timeouts };
    let server = Server::start_tls(Settings { timeouts, ..settings() }, &folder.store(&["a.example"]));
    let client = Client::trusting(&folder);

    // Closed with close_notify, or reading would fail.
    let mut silent = client.connect(&server, "a.example").await.unwrap();
    assert_eq!(silent.read(&mut [0; 1]).await.unwrap(), 0);
    let mut slow = client.connect(&server, "a.example").await.unwrap();
    slow.write_all(b"GET / HT").await.unwrap();
    let mut response = String::new();
    slow.read_to_string(&mut response).await.unwrap();
    assert!(response.starts_with("HTTP/1.1 408 "), "{response}");
    assert_eq!(server.heard.words(), ["silent", "head_timeout"]);
    server.ends().await;
}

#[tokio::test]
async fn what_is_not_tls_is_told_apart_from_who_hangs_up() {
    let folder = Folder::new();
    let server = Server::start_tls(settings(), &folder.store(&["a.example"]));
    let mut plain = server.connect().await;
    send(&mut plain, "/").await;
    until_closed(&mut plain).await;
    server.hears("handshake protocol").await;
    drop(server.connect().await);
    server.hears("handshake eof").await;
    server.ends().await;
}

/// RFC 9112, section 9.8: without close_notify the client knows that something is missing.
#[tokio::test]
async fn a_cut_response_ends_without_close_notify() {
    let folder = Folder::new();
    let server = Server::start_tls(settings(), &folder.store(&["a.example"]));
    let mut client = Client::trusting(&folder).connect(&server, "a.example").await.unwrap();
    send(&mut client, "/cut").await;
    let error = client.read_to_end(&mut Vec::new()).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    server.ends().await;
}
