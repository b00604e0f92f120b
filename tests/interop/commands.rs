//! Clients on the command line: curl, nghttp and h2load.

use std::process::{Command, Stdio};

use serde_json::Value;

use crate::gate::{Gate, gate};
use crate::key::{TestKey, key};
use crate::site::{FILE_BYTES, digest, file, site};
use crate::upstream::Upstream;

/// What curl is told to send in place of a good key.
const NOBODY: &str = "X-API-Key: nobody";

/// A gateway in front of the site: over TLS, and in the clear with HTTP/2 by prior knowledge.
struct Place {
    upstream: Upstream,
    gate: Gate,
    alice: TestKey,
    encrypted: bool,
}

impl Place {
    fn start(encrypted: bool) -> Self {
        let (upstream, alice) = (site(), key("alice"));
        let setup = gate(&upstream).key(&alice).with("maxima: { body: 8MiB }");
        let setup = match encrypted {
            true => setup.tls(),
            false => setup.listen("listen: { address: '127.0.0.1:0', prior_knowledge: true }"),
        };
        let gate = setup.start();
        Self { upstream, gate, alice, encrypted }
    }

    fn url(&self, path: &str) -> String {
        let scheme = if self.encrypted { "https" } else { "http" };
        format!("{scheme}://localhost:{}{path}", self.gate.address.port())
    }

    fn header(&self) -> String {
        format!("X-API-Key: {}", self.alice.secret)
    }

    /// Runs curl with the key; what it wrote, and its exit status.
    #[track_caller]
    fn curl_status(&self, path: &str, more: &[&str], input: &[u8]) -> (String, i32) {
        let mut command = Command::new("curl");
        command.args(["-sS", "--noproxy", "*", "--max-time", "60"]);
        if !more.contains(&NOBODY) {
            command.args(["-H", &self.header()]);
        }
        if self.encrypted {
            command.arg("--cacert").arg(self.gate.file("tls.crt"));
        }
        command.args(more).arg(self.url(path)).current_dir(self.gate.file("."));
        let (output, _, status) = run(&mut command, input);
        (output, status)
    }

    /// Runs curl, which must end well.
    #[track_caller]
    fn curl(&self, path: &str, more: &[&str], input: &[u8]) -> String {
        let (output, status) = self.curl_status(path, more, input);
        assert_eq!(status, 0, "curl {more:?} {path}: {output}");
        output
    }

    /// Runs curl against `/echo`; what the upstream says of the request.
    #[track_caller]
    fn echoed(&self, more: &[&str], input: &[u8]) -> Value {
        serde_json::from_str(&self.curl("/echo", more, input)).unwrap()
    }
}

/// Runs a program to its end: standard output, standard error and exit status.
#[track_caller]
fn run(command: &mut Command, input: &[u8]) -> (String, String, i32) {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}; run `make packages`"));
    let mut stdin = child.stdin.take().unwrap();
    let output = std::thread::scope(|scope| {
        // A program that has heard enough closes its end.
        scope.spawn(move || std::io::Write::write_all(&mut stdin, input));
        child.wait_with_output().unwrap()
    });
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (text(&output.stdout), text(&output.stderr), output.status.code().unwrap_or(-1))
}

fn write(gate: &Gate, name: &str, content: &[u8]) {
    std::fs::write(gate.file(name), content).unwrap();
}

/// What curl is told for each version it can speak in this place.
fn versions(encrypted: bool) -> &'static [(&'static str, &'static str)] {
    match encrypted {
        true => &[("--http1.0", "1.0"), ("--http1.1", "1.1"), ("--http2", "2"), ("--http2-prior-knowledge", "2")],
        // `--http2` offers an upgrade to h2c here, which is not taken up.
        false => &[("--http1.0", "1.0"), ("--http1.1", "1.1"), ("--http2", "1.1"), ("--http2-prior-knowledge", "2")],
    }
}

/// Everything that curl does with a page, in one version of HTTP.
#[track_caller]
fn pages_and_uploads(place: &Place, version: &str, number: &str) {
    let told = |path: &str, more: &[&str]| {
        let written =
            [&[version, "-o", "/dev/null", "-w", "%{http_code} %{http_version} %{size_download}"], more].concat();
        place.curl(path, &written, b"")
    };
    // A client of HTTP/1.0 is answered in its own version, or in 1.1 without chunks (RFC 9110, section 2.5).
    let status = told("/file", &[]);
    assert!(status.starts_with("200 ") && status.ends_with(&format!(" {FILE_BYTES}")), "{version}: {status}");
    assert!(number == "1.0" || status.contains(&format!(" {number} ")), "{version}: {status}");
    assert!(told("/nothing", &[]).starts_with("204 "), "{version}");
    assert!(told("/file", &["-H", NOBODY]).starts_with("401 "), "{version}");

    assert_eq!(place.curl("/parts", &[version], b""), "one\ntwo\nthree\n", "{version}");
    assert_eq!(place.curl("/until-the-end", &[version], b""), "all of it", "{version}");
    assert_eq!(place.curl("/squeezed", &[version, "--compressed"], b""), "squeezed".repeat(500), "{version}");
    // This curl cannot use a connection twice when it is told to begin with HTTP/2, whoever answers.
    if version != "--http2-prior-knowledge" {
        let moved: Value = serde_json::from_str(&place.curl("/moved", &[version, "-L"], b"")).unwrap();
        assert_eq!(moved["path"], "/echo", "{version}");
    }
    let head = place.curl("/echo", &[version, "-I"], b"").to_ascii_lowercase();
    assert!(head.contains(" 200") && head.contains("content-length: "), "{version}: {head}");

    let big: Vec<u8> = file().repeat(4);
    write(&place.gate, "big", &big);
    for (row, more) in [
        // Above a megabyte curl sends `Expect: 100-continue` and waits for a second, unless it is told to go on.
        ("POST of a file", &["--data-binary", "@big"][..]),
        ("PUT of a file", &["-T", "big"]),
        ("Expect by hand", &["-T", "big", "-H", "Expect: 100-continue"]),
        ("of unknown length", &["-T", "-"]),
    ] {
        if number == "1.0" && row == "of unknown length" {
            continue;
        }
        let said = place.echoed(&[&[version], more].concat(), &big);
        assert_eq!(
            (said["bytes"].as_u64(), &said["sha256"]),
            (Some(big.len() as u64), &digest(&big).into()),
            "{version} {row}"
        );
    }
    let form = place.echoed(&[version, "-F", "file=@big", "-F", "name=value"], b"");
    assert!(form["bytes"].as_u64().unwrap() > big.len() as u64, "{version}: {form}");
}

#[test]
fn curl_gets_pages_and_sends_files_in_every_version_over_tls() {
    let place = Place::start(true);
    for (version, number) in versions(true) {
        pages_and_uploads(&place, version, number);
    }
}

#[test]
fn curl_gets_pages_and_sends_files_in_every_version_in_the_clear() {
    let place = Place::start(false);
    for (version, number) in versions(false) {
        pages_and_uploads(&place, version, number);
    }
}

#[test]
fn curl_goes_on_with_a_download_and_with_an_upload() {
    let place = Place::start(true);
    for version in ["--http1.1", "--http2"] {
        write(&place.gate, "half", &file()[..FILE_BYTES / 2]);
        place.curl("/file", &[version, "-C", "-", "-o", "half"], b"");
        assert!(std::fs::read(place.gate.file("half")).unwrap() == file(), "{version}");
        assert_eq!(place.curl("/file", &[version, "-r", "8-15"], b""), "0000001\n", "{version}");

        let said = place.echoed(&[version, "-C", "1000", "-T", "half"], b"");
        let range = format!("bytes 1000-{}/{FILE_BYTES}", FILE_BYTES - 1);
        let sent = said["fields"].as_array().unwrap();
        assert!(sent.iter().any(|field| field[1] == range.as_str()), "{version}: {said}");
        assert_eq!(said["sha256"], digest(&file()[1000..]), "{version}");
    }
}

/// With `Expect`, nothing of a refused upload is sent; without, the answer is read while curl still sends.
#[test]
fn curl_hears_that_an_upload_is_refused() {
    let place = Place::start(true);
    write(&place.gate, "large", &vec![b'x'; 9 * 1024 * 1024]);
    for version in ["--http1.1", "--http2"] {
        for (row, more, expected) in [
            ("no key", &["-H", NOBODY, "-H", "Expect: 100-continue"][..], "401"),
            ("no key, without Expect", &["-H", NOBODY, "-H", "Expect:"], "401"),
            ("too large", &[], "413"),
            ("too large, without Expect", &["-H", "Expect:"], "413"),
        ] {
            let told =
                [&[version, "-o", "/dev/null", "-w", "%{http_code} %{size_upload}", "-T", "large"], more].concat();
            let (said, _) = place.curl_status("/echo", &told, b"");
            let (status, sent) = said.split_once(' ').unwrap();
            assert_eq!(status, expected, "{version} {row}");
            // In HTTP/2 this curl sends nothing about what it expects that would make it wait for the answer.
            if row == "no key" && version == "--http1.1" {
                assert_eq!(sent, "0", "{version} {row}: bytes sent");
            }
        }
    }
    assert!(place.upstream.received().is_empty());
}

#[test]
fn curl_asks_for_many_pages_at_once() {
    let place = Place::start(true);
    for version in ["--http1.1", "--http2"] {
        let pages = place.url("/file?[1-60]");
        let said =
            place.curl("/file", &[version, "-Z", "--parallel-max", "30", "-o", "page-#1", &pages, "-o", "page-0"], b"");
        assert_eq!(said, "", "{version}");
        for page in 0..=60 {
            let page = place.gate.file(&format!("page-{page}"));
            assert!(std::fs::read(&page).unwrap() == file(), "{version}: {}", page.display());
            std::fs::remove_file(page).unwrap();
        }
    }
}

/// An absolute form is what a client of a proxy sends; keygate is none, and answers for its own host or not at all.
#[test]
fn curl_cannot_use_the_gateway_as_a_proxy_to_elsewhere() {
    let place = Place::start(false);
    let through = format!("http://127.0.0.1:{}", place.gate.address.port());
    let proxied = |url: &str, more: &[&str]| {
        let fixed =
            ["-sS", "--max-time", "20", "-x", &through, "-H", &place.header(), "-o", "/dev/null", "-w", "%{http_code}"];
        run(Command::new("curl").args(fixed).args(more).arg(url), b"").0
    };
    assert_eq!(proxied("http://elsewhere.example/echo", &[]), "200", "it is our upstream's to answer");
    let received = place.upstream.last();
    assert!(
        received.head.starts_with("GET /echo HTTP/1.1") && received.value("host") == "elsewhere.example",
        "{received:?}"
    );
    assert_eq!(proxied("http://elsewhere.example/echo", &["--proxytunnel", "-w", "%{http_connect}"]), "400", "CONNECT");
    assert_eq!(place.upstream.received().len(), 1);
}

/// Runs nghttp or h2load, with the key.
#[track_caller]
fn tool(place: &Place, name: &str, path: &str, more: &[&str]) -> String {
    let mut command = Command::new(name);
    command.args(more).args(["-H", &place.header()]).arg(place.url(path));
    let (output, complaint, status) = run(&mut command, b"");
    assert_eq!(status, 0, "{command:?}: {complaint}\n{output}");
    output
}

#[test]
fn nghttp_sends_and_gets_what_it_wants_in_odd_frames() {
    for encrypted in [true, false] {
        let place = Place::start(encrypted);
        write(&place.gate, "content", &file());
        let content = place.gate.file("content");
        let content = content.to_str().unwrap();
        for (row, more) in [
            ("one request", &[][..]),
            ("padding", &["-b", "200"]),
            ("small windows", &["-w", "8", "-W", "12"]),
            ("a head in CONTINUATION frames", &["--continuation"]),
            ("a small table", &["-c", "0"]),
            ("a large table", &["-c", "65536"]),
            ("many requests on one connection", &["-m", "50"]),
            ("no dependencies", &["--no-dep"]),
            ("small frames", &["--max-concurrent-streams", "1"]),
        ] {
            let said = tool(&place, "nghttp", "/file", &[more, &["-s"]].concat());
            let answered = said.lines().filter(|line| line.contains(" 200 ") && line.ends_with("/file")).count();
            assert_eq!(answered, if row.starts_with("many") { 50 } else { 1 }, "{row}: {said}");
        }
        let said = tool(&place, "nghttp", "/echo", &["-d", content, "--trailer", "x-sum: 1"]);
        let said: Value = serde_json::from_str(&said).unwrap();
        assert_eq!(said["sha256"], digest(&file()), "{said}");
        let said = tool(&place, "nghttp", "/parts", &["-v", "-H", "te: trailers"]);
        assert!(said.contains("x-sum: 14"), "the trailer: {said}");
    }
}

/// What h2load counts, by the word before it.
#[track_caller]
fn count(report: &str, word: &str) -> usize {
    let requests = report.lines().find(|line| line.starts_with("requests:")).unwrap();
    let before = requests.split(&format!(" {word}")).next().unwrap();
    before.rsplit(' ').next().unwrap().parse().unwrap()
}

#[test]
fn h2load_loses_no_request_in_any_version() {
    const REQUESTS: usize = 600;
    for encrypted in [true, false] {
        let place = Place::start(encrypted);
        for (row, more) in [
            ("HTTP/1.1", &["--h1"][..]),
            ("HTTP/1.1, pipelined", &["--h1", "-m", "8"]),
            ("HTTP/2", &["-m", "1"]),
            ("HTTP/2, many at once", &["-m", "40"]),
            ("HTTP/2, small windows", &["-m", "10", "-w", "10", "-W", "10"]),
        ] {
            let fixed = ["-n", &REQUESTS.to_string(), "-c", "10", "-t", "1"];
            let report = tool(&place, "h2load", "/echo", &[&fixed, more].concat());
            assert_eq!(count(&report, "succeeded"), REQUESTS, "{row}: {report}");
            assert!(report.contains(&format!("status codes: {REQUESTS} 2xx")), "{row}: {report}");
        }
    }
}
