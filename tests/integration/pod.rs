//! What a pod asks of a sidecar: to start alone, to say how it and its API are, and to notice what it cannot guard.

use std::fs;
use std::io::Read as _;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::client::Client;
use crate::command_line::{keygate, said};
use crate::gate::{PATIENCE, gate, make_certificate};
use crate::key::key;
use crate::programs::{free_port, nginx};
use crate::upstream::{Upstream, respond};

/// Runs keygate to its end; its exit code.
fn code(arguments: &[&str]) -> Option<i32> {
    keygate(Path::new("."), arguments, "").status.code()
}

/// A native sidecar is started before the API, which is started when the sidecar says that it has started.
#[test]
fn it_has_started_and_is_ready_without_its_upstream() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("api.sock");
    let gate = gate(format!("unix:{}", socket.display())).start();
    for path in ["/livez", "/startupz", "/readyz"] {
        assert_eq!(gate.admin(path).status, 200, "{path}");
    }
    let alone = gate.admin("/readyz?upstream&verbose");
    assert_eq!(alone.status, 503);
    assert!(alone.text().contains("[-]upstream: unix:") && alone.text().contains("[+]keys ok"), "{}", alone.text());
    let _api = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    assert_eq!(gate.admin("/readyz?upstream").status, 200);
    assert!(gate.admin("/readyz?upstream&verbose").text().contains("[+]upstream ok"));
}

/// The kubelet cannot reach an API on a loopback address, and must not be given a key.
#[test]
fn a_probe_asks_the_upstream_and_tells_its_status_and_nothing_else() {
    let upstream = Upstream::answering(|request, stream| {
        let status = if request.head.contains("/live ") { "204 No Content" } else { "503 Service Unavailable" };
        respond(stream, status, "x-secret: inside\r\n", if status.starts_with("204") { b"" } else { b"inside" })
    });
    let probes = "admin: { listen: 127.0.0.1:0, probes: [{ name: live, path: /live }, { name: ready, path: \"/ready?deep=1\" }] }";
    let gate = gate(&upstream).with(probes).start();
    assert_eq!(gate.admin("/probe/live").status, 204);
    let asked = Client::connect(gate.admin).request(
        "GET",
        "/probe/ready?deep=0",
        &[("X-Api-Key", "of-the-asker"), ("X-Forwarded-For", "192.0.2.1")],
        b"",
    );
    assert_eq!((asked.status, asked.text().as_str()), (503, "the upstream answered: 503\n"));
    assert_eq!(asked.field("x-secret"), None);
    let seen = upstream.last().head.to_lowercase();
    assert_eq!(seen, format!("get /ready?deep=1 http/1.1\r\nhost: {}", upstream.to_string().replace("http://", "")));

    assert_eq!(gate.admin("/probe/other").status, 404);
    assert_eq!(gate.admin("/probe/../live").status, 404);
    let before = upstream.received().len();
    assert_eq!(Client::connect(gate.admin).request("POST", "/probe/live", &[], b"").status, 405);
    assert_eq!(upstream.received().len(), before);

    let text = fs::read_to_string(gate.file("keygate.yaml")).unwrap();
    gate.replace("keygate.yaml", &text.replace("name: live", "name: alive"));
    gate.eventually("it is reloaded", |gate| gate.admin("/probe/alive").status == 204);
    assert_eq!(gate.admin("/probe/live").status, 404);
    assert!(!gate.stderr().contains("next start"), "{}", gate.stderr());
}

#[test]
fn a_probe_of_an_upstream_that_is_gone_is_502() {
    let probes = "admin: { listen: 127.0.0.1:0, probes: [{ name: live, path: /live }] }";
    let gate = gate(format!("http://127.0.0.1:{}", free_port())).with(probes).start();
    let answer = gate.admin("/probe/live");
    assert_eq!(answer.status, 502);
    assert!(answer.text().contains("cannot connect"), "{}", answer.text());
}

#[test]
fn a_probe_goes_the_way_of_requests_over_tls_http2_and_a_unix_socket() {
    let directory = tempfile::tempdir().unwrap();
    make_certificate(directory.path(), "upstream", &["localhost"]);
    let (at, port) = (directory.path().display().to_string(), free_port());
    let server = format!(
        "listen 127.0.0.1:{port} ssl http2; listen unix:{at}/api.sock; ssl_certificate {at}/upstream.crt; \
         ssl_certificate_key {at}/upstream.key; location /healthz {{ return 200 $server_protocol; }}"
    );
    let _nginx = nginx(directory.path(), port, &server);
    let tls = format!("{{ url: \"https://localhost:{port}\", protocol: http2, tls: {{ ca: \"{at}/upstream.crt\" }} }}");
    let unknown = format!("{{ url: \"https://localhost:{port}\", protocol: http2 }}");
    for (row, upstream, status) in [
        ("HTTP/2 over TLS", tls, 200),
        ("a Unix socket", format!("unix:{at}/api.sock"), 200),
        ("a certificate of nobody", unknown, 502),
    ] {
        let probes = "admin: { listen: 127.0.0.1:0, probes: [{ name: live, path: /healthz }] }";
        let gate = gate("").upstream(&format!("upstream: {upstream}")).with(probes).start();
        for _ in 0..3 {
            assert_eq!(gate.admin("/probe/live").status, status, "{row}");
        }
        assert_eq!(gate.admin("/readyz?upstream").status, if status == 200 { 200 } else { 503 }, "{row}");
    }
}

#[test]
fn probe_and_wait_are_for_images_without_curl() {
    let (upstream, nobody) = (Upstream::hello(), free_port());
    assert_eq!(code(&["probe", &format!("{upstream}/x")]), Some(0));
    assert_eq!(code(&["probe", &format!("http://127.0.0.1:{nobody}/")]), Some(1));
    assert_eq!(code(&["probe", "https://127.0.0.1/"]), Some(1));
    assert_eq!(code(&["wait", &upstream.to_string()]), Some(0));
    let begun = Instant::now();
    let waited = keygate(Path::new("."), &["wait", "--timeout", "1", "--admin", &format!("127.0.0.1:{nobody}")], "");
    assert_eq!(waited.status.code(), Some(1));
    assert!(said(&waited).contains("waited for 1s"), "{}", said(&waited));
    assert!((Duration::from_millis(800)..PATIENCE).contains(&begun.elapsed()));
}

#[test]
fn wait_ends_when_the_gateway_is_ready() {
    let upstream = Upstream::hello();
    let admin = SocketAddr::from(([127, 0, 0, 1], free_port()));
    let mut waiting = Command::new(env!("CARGO_BIN_EXE_keygate"))
        .args(["wait", "--admin", &admin.to_string(), "--timeout", "60"])
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    std::thread::sleep(Duration::from_millis(300));
    assert!(waiting.try_wait().unwrap().is_none(), "nobody is ready yet");
    let _gate = gate(&upstream).with(&format!("admin: {{ listen: \"{admin}\" }}")).start();
    assert!(waiting.wait().unwrap().success());
}

/// The classic hole of a sidecar: an API that listens on every address answers whoever knows that of the pod.
#[test]
fn an_upstream_that_answers_around_the_gateway_is_told() {
    let pod = "127.0.0.2";
    for (row, address, exposed) in [("everywhere", "0.0.0.0", true), ("on this machine alone", "127.0.0.1", false)] {
        let listener = TcpListener::bind((address, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let gate = gate(format!("http://127.0.0.1:{port}")).variable("POD_IP", pod).start();
        let metric = format!("keygate_upstream_exposed{{upstream=\"127.0.0.1:{port}\"}} {}", u8::from(exposed));
        gate.eventually(row, |gate| gate.admin("/metrics").text().contains(&metric));
        let warnings = || gate.stderr().matches("whoever asks it there needs no key").count();
        assert_eq!(warnings(), usize::from(exposed), "{row}: {}", gate.stderr());
        if exposed {
            drop(listener);
            let mended = format!("keygate_upstream_exposed{{upstream=\"127.0.0.1:{port}\"}} 0");
            gate.eventually("mended", |gate| gate.admin("/metrics").text().contains(&mended));
            let _again = TcpListener::bind((address, port)).unwrap();
            gate.eventually("and broken again", |gate| gate.admin("/metrics").text().contains(&metric));
            assert_eq!(warnings(), 2, "once each time: {}", gate.stderr());
        }
    }
    let nowhere = Upstream::hello();
    assert!(
        !gate(&nowhere).start().admin("/metrics").text().contains("keygate_upstream_exposed{"),
        "nobody has looked"
    );
}

#[test]
fn the_unspecified_address_is_both_ipv4_and_ipv6_at_both_doors() {
    let (upstream, alice) = (Upstream::hello(), key("alice"));
    let gate = gate(&upstream).key(&alice).listen("listen: \"[::]:0\"").with("admin: { listen: \"[::]:0\" }").start();
    for host in ["127.0.0.1", "[::1]"] {
        let at = |port: u16| Client::connect(format!("{host}:{port}").parse().unwrap());
        assert_eq!(at(gate.address.port()).request("GET", "/", &[alice.field()], b"").status, 200, "{host}");
        assert_eq!(at(gate.admin.port()).request("GET", "/readyz", &[], b"").status, 200, "{host}");
    }
    let clients: Vec<_> =
        upstream.received().iter().map(|request| request.value("x-forwarded-for").to_owned()).collect();
    assert_eq!(clients, ["127.0.0.1", "::1"]);
}

/// Runs a program on a machine without IPv6: the kernel answers `socket(AF_INET6)` with EAFNOSUPPORT.
const WITHOUT_IPV6: &str = r#"
import ctypes, os, platform, struct, sys
socket = {"x86_64": 41, "aarch64": 198}[platform.machine()]
step = lambda code, yes, no, value: struct.pack("HBBI", code, yes, no, value)
program = ctypes.create_string_buffer(b"".join([
    step(0x20, 0, 0, 0), step(0x15, 0, 3, socket),
    step(0x20, 0, 0, 16), step(0x15, 0, 1, 10),
    step(0x06, 0, 0, 0x00050000 | 97), step(0x06, 0, 0, 0x7fff0000)]))
class Filter(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("program", ctypes.c_void_p)]
libc = ctypes.CDLL(None)
assert libc.prctl(38, 1, 0, 0, 0) == 0
assert libc.prctl(22, 2, ctypes.byref(Filter(6, ctypes.addressof(program))), 0, 0) == 0
os.execv(sys.argv[1], sys.argv[1:])
"#;

#[test]
fn the_unspecified_address_is_ipv4_alone_where_there_is_no_ipv6() {
    let (upstream, alice) = (Upstream::hello(), key("alice"));
    let gate = gate(&upstream)
        .key(&alice)
        .listen("listen: \"[::]:0\"")
        .with("admin: { listen: \"[::]:0\" }")
        .under("python3", &["-c", WITHOUT_IPV6])
        .start();
    assert_eq!((gate.address.ip().to_string(), gate.admin.ip().to_string()), ("0.0.0.0".into(), "0.0.0.0".into()));
    assert_eq!(gate.get("/", &[alice.field()]).status, 200);
    assert_eq!(gate.admin("/readyz").status, 200);
    assert!(gate.stderr().contains("no IPv6"), "{}", gate.stderr());
}

/// A container's share of a machine is what counts, and not its cores.
#[test]
fn workers_are_as_many_as_processors_may_be_used() {
    let upstream = Upstream::hello();
    let mut setup = gate(&upstream);
    setup = setup.under("taskset", &["--cpu-list", "0"]);
    let gate = setup.start();
    assert!(gate.stderr().contains("\"workers\":1"), "{}", gate.stderr());
    let mut rest = String::new();
    fs::File::open(format!("/proc/{}/status", gate.pid())).unwrap().read_to_string(&mut rest).unwrap();
    assert!(rest.contains("Cpus_allowed_list:\t0\n"), "{rest}");
}
