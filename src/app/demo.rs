//! `keygate demo`: everything that a first look needs, in one process and nothing left behind.
//!
//! A small upstream, a certificate made just now, and one key, printed once. What is started is the real gateway with a
//! real configuration, which lies in a temporary directory for as long as the demo runs.

use std::convert::Infallible;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};

use crate::keys::SecretFormat;
use crate::secret::Digest;

/// Content that the small upstream takes; it is an example, not a store.
const UPSTREAM_CONTENT_BYTES_MAX: usize = 1 << 20;

/// A demo that is set up and waits to be run.
#[derive(Debug)]
pub(super) struct Demo {
    directory: tempfile::TempDir,
}

impl Demo {
    /// Sets the demo up and tells the user what to do with it.
    ///
    /// # Errors
    ///
    /// If no port is free, or the temporary directory cannot be written.
    pub(super) fn prepare(listen: SocketAddr, admin: SocketAddr, out: &mut dyn Write) -> anyhow::Result<Self> {
        let directory = tempfile::Builder::new().prefix("keygate-demo-").tempdir().context("no temporary directory")?;
        let (listen, admin) = (free(listen)?, free(admin)?);
        let upstream = start_upstream().context("the demo's upstream does not start")?;
        make_certificate(directory.path())?;
        let secret = SecretFormat::default().generate(Some("demo")).context("no random numbers")?;
        let digest = Digest::of(secret.expose().as_bytes()).to_hex();
        fs::write(directory.path().join("keys.yaml"), key_file(&digest))?;
        fs::write(directory.path().join("keygate.yaml"), configuration(listen, admin, upstream))?;
        let certificate = directory.path().join("tls.crt");
        let curl = format!("curl --cacert {} -i", certificate.display());
        let url = format!("https://localhost:{}/hello", listen.port());
        writeln!(
            out,
            "keygate demo\n\n  \
             gateway   https://localhost:{}   its certificate was made just now\n  \
             admin     http://{admin}    /readyz?verbose /metrics\n  \
             upstream  http://{upstream}   a small service inside this process\n  \
             files     {}   configuration and keys; change them and see\n\n\
             Let in, with the key (it is shown only here):\n\n  \
             {curl} -H 'X-API-Key: {}' {url}\n\n\
             Kept out, without it:\n\n  \
             {curl} {url}\n\n\
             Ctrl-C ends the demo and removes its files.\n",
            listen.port(),
            directory.path().display(),
            secret.expose(),
        )?;
        out.flush()?;
        Ok(Self { directory })
    }

    /// The configuration to run.
    #[must_use]
    pub(super) fn configuration(&self) -> PathBuf {
        self.directory.path().join("keygate.yaml")
    }
}

/// The address itself if its port is free, else the same with any free port.
fn free(address: SocketAddr) -> anyhow::Result<SocketAddr> {
    let listener = TcpListener::bind(address).or_else(|_| TcpListener::bind((address.ip(), 0)));
    Ok(listener.with_context(|| format!("cannot listen on {}", address.ip()))?.local_addr()?)
}

fn make_certificate(directory: &Path) -> anyhow::Result<()> {
    let names = ["localhost", "127.0.0.1", "::1"].map(str::to_owned);
    let made = rcgen::generate_simple_self_signed(names).context("cannot make a certificate")?;
    fs::write(directory.join("tls.crt"), made.cert.pem())?;
    let mut key = OpenOptions::new().write(true).create_new(true).mode(0o600).open(directory.join("tls.key"))?;
    key.write_all(made.signing_key.serialize_pem().as_bytes())?;
    Ok(())
}

fn key_file(digest: &str) -> String {
    format!(
        "keys:\n  - id: demo\n    name: The demo's key\n    sha256: {digest}\n    tenant: acme\n    user: alice\n    \
         environment: demo\n    permissions: [\"hello:read\"]\n"
    )
}

fn configuration(listen: SocketAddr, admin: SocketAddr, upstream: SocketAddr) -> String {
    format!(
        "listen:\n  address: {listen}\n  tls:\n    certificates:\n      - certificate: tls.crt\n        key: tls.key\n\
         upstream: http://{upstream}\n\
         keys: {{ file: keys.yaml }}\n\
         limits:\n  - {{ name: per-key, per: key, requests: 60, window: 1m }}\n\
         admin: {{ listen: \"{admin}\" }}\n\
         shutdown: {{ delay: 0s }}\n\
         log: {{ level: warn, format: text, access: {{ format: text }} }}\n"
    )
}

/// Starts a service that answers with what it was asked, on a thread of its own that ends with the process.
fn start_upstream() -> anyhow::Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    listener.set_nonblocking(true)?;
    let address = listener.local_addr()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    std::thread::Builder::new().name("demo-upstream".to_owned()).spawn(move || {
        runtime.block_on(async {
            let Ok(listener) = tokio::net::TcpListener::from_std(listener) else { return };
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let mut builder = hyper::server::conn::http1::Builder::new();
                    builder.timer(TokioTimer::new());
                    // A client that breaks off is of no interest to an example.
                    let _ = builder.serve_connection(TokioIo::new(stream), service_fn(mirror)).await;
                });
            }
        });
    })?;
    Ok(address)
}

/// Answers with the request, as JSON: what an upstream gets to see, and what it does not.
async fn mirror(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let (head, body) = request.into_parts();
    let content = http_body_util::Limited::new(body, UPSTREAM_CONTENT_BYTES_MAX).collect().await;
    let fields: serde_json::Map<_, _> = head
        .headers
        .iter()
        .map(|(name, value)| (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned().into()))
        .collect();
    let answer = serde_json::json!({
        "message": "hello from the upstream",
        "method": head.method.as_str(),
        "path": head.uri.path(),
        "fields": fields,
        "content_bytes": content.map(|content| content.to_bytes().len()).unwrap_or_default(),
    });
    let mut response = Response::new(Full::from(format!("{answer:#}\n")));
    response.headers_mut().insert(http::header::CONTENT_TYPE, http::HeaderValue::from_static("application/json"));
    Ok(response)
}
