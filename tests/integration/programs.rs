//! Programs that nobody here wrote: on either side of the gateway.

use std::fs::{self, File};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use crate::gate::{PATIENCE, gate};
use crate::key::{TestKey, key};
use crate::upstream::Upstream;

/// A program that runs until it goes out of scope.
pub(crate) struct Program(Child);

impl Program {
    /// Starts a program and waits until something listens on its port.
    #[track_caller]
    pub(crate) fn start(command: &mut Command, port: u16) -> Self {
        let program = Self(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap());
        let begun = Instant::now();
        while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(begun.elapsed() < PATIENCE, "{command:?} does not listen");
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        program
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = Command::new("kill").arg(self.0.id().to_string()).status();
        let _ = self.0.wait();
    }
}

/// A port that was free a moment ago.
pub(crate) fn free_port() -> u16 {
    TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port()
}

/// Starts nginx with these lines in its `server` block.
#[track_caller]
pub(crate) fn nginx(directory: &Path, port: u16, server: &str) -> Program {
    let at = directory.display();
    let configuration = format!(
        "daemon off; pid {at}/nginx.pid; error_log {at}/nginx.log; worker_processes 1; events {{}}\nhttp {{\n\
         access_log off; client_body_temp_path {at}/t1; proxy_temp_path {at}/t2; fastcgi_temp_path {at}/t3;\n\
         uwsgi_temp_path {at}/t4; scgi_temp_path {at}/t5; client_max_body_size 0;\nserver {{ {server} }}\n}}\n"
    );
    fs::write(directory.join("nginx.conf"), configuration).unwrap();
    Program::start(Command::new("nginx").arg("-c").arg(directory.join("nginx.conf")).arg("-p").arg(directory), port)
}

/// Runs a program to its end; its standard output, or what it complained about.
pub(crate) fn run(program: &str, arguments: &[&str]) -> Result<String, String> {
    let output = Command::new(program).args(arguments).output().unwrap_or_else(|error| panic!("{program}: {error}"));
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    } else {
        Err(String::from_utf8_lossy(&output.stderr).into_owned())
    }
}

fn header(key: &TestKey) -> String {
    format!("X-API-Key: {}", key.secret)
}

#[test]
fn three_lines_protect_pythons_file_server_from_curl_in_both_versions() {
    let (port, alice) = (free_port(), key("alice"));
    let setup = gate(format!("http://127.0.0.1:{port}")).key(&alice).tls();
    fs::write(setup.directory().join("page.html"), "from python").unwrap();
    let mut python = Command::new("python3");
    python.args(["-m", "http.server", "--bind", "127.0.0.1", &port.to_string()]).current_dir(setup.directory());
    let _python = Program::start(&mut python, port);
    let gate = setup.start();
    let url = format!("https://localhost:{}/page.html", gate.address.port());
    let ca = gate.file("tls.crt");
    for version in ["--http1.1", "--http2"] {
        let curl = |more: &[&str]| {
            let mut arguments =
                vec!["-sS", version, "--cacert", ca.to_str().unwrap(), "-w", " %{http_code} %{http_version}", &url];
            arguments.extend(more);
            run("curl", &arguments).unwrap()
        };
        let number = version.trim_start_matches("--http");
        assert_eq!(curl(&["-H", &header(&alice)]), format!("from python 200 {number}"));
        assert!(curl(&[]).ends_with(&format!("401 {number}")));
    }
}

#[test]
fn nginx_answers_over_a_unix_socket_over_http2_and_over_tls() {
    let directory = tempfile::tempdir().unwrap();
    crate::gate::make_certificate(directory.path(), "upstream", &["api.internal"]);
    let at = directory.path().display().to_string();
    let (h2, tls) = (free_port(), free_port());
    let _nginx = nginx(
        directory.path(),
        h2,
        &format!(
            "listen unix:{at}/api.sock; listen 127.0.0.1:{h2} http2; listen 127.0.0.1:{tls} ssl http2;\n\
             ssl_certificate {at}/upstream.crt; ssl_certificate_key {at}/upstream.key;\n\
             location / {{ return 200 \"$server_protocol $host $http_x_keygate_key_id $http_x_api_key\"; }}"
        ),
    );
    let alice = key("alice");
    let trusted = format!("tls: {{ ca: {at}/upstream.crt, server_name: api.internal }}");
    for (row, upstream, protocol) in [
        ("Unix socket", format!("{{ url: \"unix:{at}/api.sock\" }}"), "HTTP/1.1"),
        ("HTTP/2 with prior knowledge", format!("{{ url: \"http://127.0.0.1:{h2}\", protocol: http2 }}"), "HTTP/2.0"),
        ("TLS", format!("{{ url: \"https://127.0.0.1:{tls}\", {trusted} }}"), "HTTP/1.1"),
        ("HTTP/2 over TLS", format!("{{ url: \"https://127.0.0.1:{tls}\", protocol: http2, {trusted} }}"), "HTTP/2.0"),
    ] {
        let gate = gate("").key(&alice).upstream(&format!("upstream: {upstream}")).start();
        for _ in 0..3 {
            let response = gate.get("/", &[alice.field()]);
            assert_eq!(response.text(), format!("{protocol} api.example alice "), "{row}: {}", gate.stderr());
        }
        let opened = gate.metric("keygate_upstream_connections_total", &[]);
        assert!(opened <= 2.0, "{row}: {opened} connections for three requests on two workers");
    }
    let untrusted = gate("").key(&alice).upstream(&format!("upstream: \"https://127.0.0.1:{tls}\"")).start();
    assert_eq!(untrusted.get("/", &[alice.field()]).code(), "upstream_unreachable");
}

/// Gives files of its folder, and says how much content it was sent.
const GIVES_AND_TAKES: &str = r#"
import http.server, sys
class Handler(http.server.SimpleHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_PUT(self):
        left = int(self.headers["Content-Length"])
        taken = 0
        while taken < left:
            part = self.rfile.read(min(1 << 20, left - taken))
            if not part:
                break
            taken += len(part)
        answer = str(taken).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)
http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"#;

/// Far more than the gateway's memory passes both ways, in both versions.
#[test]
fn a_gibibyte_each_way_needs_no_memory() {
    const BYTES: u64 = 1 << 30;
    let directory = tempfile::tempdir().unwrap();
    File::create(directory.path().join("large")).unwrap().set_len(BYTES).unwrap();
    let port = free_port();
    let mut python = Command::new("python3");
    python.args(["-c", GIVES_AND_TAKES, &port.to_string()]).current_dir(directory.path());
    let _python = Program::start(&mut python, port);
    let alice = key("alice");
    let gate = gate(format!("http://127.0.0.1:{port}")).key(&alice).tls().with("maxima: { body: 2GiB }").start();
    let base = format!("https://localhost:{}", gate.address.port());
    let (ca, large) = (gate.file("tls.crt"), directory.path().join("large"));
    let before = gate.memory_bytes();
    let most = std::sync::atomic::AtomicU64::new(0);
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            use std::sync::atomic::Ordering::Relaxed;
            while !done.load(Relaxed) {
                most.fetch_max(gate.memory_bytes(), Relaxed);
                std::thread::sleep(std::time::Duration::from_millis(20));
            }
        });
        for version in ["--http1.1", "--http2"] {
            let common = ["-sS", version, "--cacert", ca.to_str().unwrap(), "-H", &header(&alice)];
            let down = format!("{base}/large");
            let down = [&common[..], &["-o", "/dev/null", "-w", "%{http_code} %{size_download}", &down]].concat();
            assert_eq!(run("curl", &down).unwrap(), format!("200 {BYTES}"), "{version}");
            let up = format!("{base}/taken");
            let up = [&common[..], &["-w", " %{http_code}", "-T", large.to_str().unwrap(), &up]].concat();
            assert_eq!(run("curl", &up).unwrap(), format!("{BYTES} 200"), "{version}: not all of it has arrived");
        }
        done.store(true, std::sync::atomic::Ordering::Relaxed);
    });
    let most = most.into_inner();
    println!("memory before {} KiB, at most {} KiB", before >> 10, most >> 10);
    assert!(most < 64 << 20, "{} MiB", most >> 20);
}

#[test]
fn h2load_and_wrk_find_no_failed_request() {
    let (upstream, alice) = (Upstream::hello(), key("alice"));
    let gate = gate(&upstream)
        .key(&alice)
        .tls()
        .with("log: { level: info, format: json, access: { enabled: false } }")
        .start();
    let url = format!("https://localhost:{}/", gate.address.port());
    let report = run("h2load", &["-n", "2000", "-c", "8", "-m", "10", "-H", &header(&alice), &url]).unwrap();
    assert!(report.contains("2000 succeeded, 0 failed, 0 errored, 0 timeout"), "{report}");
    assert!(report.contains("status codes: 2000 2xx"), "{report}");
    let report = run("wrk", &["-t", "1", "-c", "8", "-d", "1", "-H", &header(&alice), &url]).unwrap();
    assert!(
        report.contains("requests in") && !report.contains("Non-2xx") && !report.contains("Socket errors"),
        "{report}"
    );
}
