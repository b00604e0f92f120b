//! The command line.

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use crate::gate::{gate, key_file, make_certificate};
use crate::key::key;
use crate::upstream::Upstream;

/// Runs keygate in a directory, with something on its standard input.
pub(crate) fn keygate(directory: &Path, arguments: &[&str], input: &str) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_keygate"))
        .args(arguments)
        .current_dir(directory)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    child.wait_with_output().unwrap()
}

pub(crate) fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[test]
fn check_prints_every_problem_at_once_with_its_place() {
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    fs::write(
        at.join("keygate.yaml"),
        "listen: nowhere\nupstrem: http://127.0.0.1:1\nkeys: { file: missing.yaml }\nworkers: 0\n",
    )
    .unwrap();
    let output = keygate(at, &["check", "--config", "keygate.yaml"], "");
    let text = said(&output);
    assert_eq!(output.status.code(), Some(1), "{text}");
    let run = keygate(at, &["run"], "");
    assert_eq!(
        (run.status.code(), said(&run)),
        (Some(78), text.clone()),
        "`run` says the same, and that it is the configuration"
    );
    for expected in ["keygate.yaml:1:9: listen:", "keygate.yaml:2:1: upstrem:", "did you mean `upstream`?", "workers:"]
    {
        assert!(text.contains(expected), "{expected} is not in:\n{text}");
    }

    fs::write(
        at.join("keygate.yaml"),
        "listen:\n  address: 127.0.0.1:8080\n  tls: { certificates: [{ certificate: no.crt, key: no.key }] }\n\
         upstream: http://127.0.0.1:1\nkeys: { file: keys.yaml }\n",
    )
    .unwrap();
    fs::write(at.join("keys.yaml"), "keys:\n  - id: a\n    sha256: plain\n  - id: b\n    sha65: x\n").unwrap();
    let text = said(&keygate(at, &["check"], ""));
    for expected in [
        "keygate.yaml:3:40: listen.tls.certificates[0].certificate: no.crt cannot be read: No such file",
        "keygate.yaml:3:53: listen.tls.certificates[0].key: no.key cannot be read: No such file",
        "keys.yaml:3:13: keys[0].sha256:",
        "keys.yaml:5:5: keys[1].sha65:",
    ] {
        assert!(text.contains(expected), "{expected} is not in:\n{text}");
    }

    fs::write(
        at.join("keygate.yaml"),
        "listen: 127.0.0.1:8080\nupstream: http://127.0.0.1:1\nkeys: { file: keys.yaml }\n",
    )
    .unwrap();
    fs::write(at.join("keys.yaml"), "keys: []\n").unwrap();
    let output = keygate(at, &["check"], "");
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    assert_eq!(keygate(at, &["chek"], "").status.code(), Some(2));
}

/// Whoever reads it wants to mend the configuration, or to know which file it means.
#[test]
fn a_file_that_cannot_be_used_is_a_problem_of_the_field_that_names_it() {
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    make_certificate(at, "tls", &["localhost"]);
    make_certificate(at, "other", &["localhost"]);
    fs::write(at.join("not.pem"), "hello\n").unwrap();
    fs::create_dir(at.join("keys.d")).unwrap();
    fs::write(
        at.join("keygate.yaml"),
        "listen:
  - 127.0.0.1:8080
  - address: 127.0.0.1:8443
    tls:
      certificates:
        - { certificate: tls.crt, key: tls.key }
        - certificate: tls.crt
          key: other.key
      client_certificates: { ca: not.pem }
upstream:
  url: https://localhost:1
  tls: { ca: not.pem, certificate: tls.crt, key: other.key }
keys:
  file: missing.yaml
  files: [keys.d]
  directory: nowhere.d
",
    )
    .unwrap();
    let output = keygate(at, &["check"], "");
    assert_eq!(output.status.code(), Some(1));
    let missing = "No such file or directory (os error 2)";
    assert_eq!(
        said(&output),
        format!(
            "keygate.yaml:8:16: listen[1].tls.certificates[1].key: other.key does not belong to the certificate in tls.crt
keygate.yaml:9:34: listen[1].tls.client_certificates.ca: not.pem holds no certificate in PEM
keygate.yaml:12:14: upstream.tls.ca: not.pem cannot be used: no certificate in it
keygate.yaml:14:9: keys.file: missing.yaml cannot be opened: {missing}
keygate.yaml:15:11: keys.files[0]: keys.d is a directory; name it under `directory`
keygate.yaml:16:14: keys.directory: nowhere.d cannot be read as a directory: {missing}
"
        )
    );

    fs::write(
        at.join("keygate.yaml"),
        "listen: 127.0.0.1:8080
upstream: { url: https://localhost:1, tls: { certificate: tls.crt, key: other.key } }
keys: { directory: keys.d }
",
    )
    .unwrap();
    fs::write(at.join("keys.d/a.yaml"), [0xff]).unwrap();
    let text = said(&keygate(at, &["check"], ""));
    assert!(text.starts_with("keygate.yaml:2:73: upstream.tls.key: other.key cannot be used: "), "{text}");
    assert!(text.ends_with("\nkeys.d/a.yaml:1:1: is not UTF-8 text\n"), "{text}");
}

/// The last line of what `check` says.
fn checked(directory: &Path) -> (Option<i32>, String) {
    let output = keygate(directory, &["check"], "");
    let text = said(&output);
    (output.status.code(), text.lines().last().unwrap_or_default().to_owned())
}

#[test]
fn check_looks_into_the_store_and_leaves_it_as_it_is() {
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    let yaml = "listen: 127.0.0.1:0\nupstream: http://127.0.0.1:1\nkeys: { file: keys.yaml, database: 'k ?%#.db' }\n";
    fs::write(at.join("keygate.yaml"), yaml).unwrap();
    fs::write(at.join("keys.yaml"), key_file(&[key("first")])).unwrap();
    let files = || fs::read_dir(at).unwrap().count();
    let valid = |keys: u32| (Some(0), format!("keygate.yaml: valid; {keys} keys, 1 listeners"));
    assert_eq!((checked(at), files()), (valid(1), 2), "there is none yet");

    let create = |id: &str| keygate(at, &["keys", "create", "--config", "keygate.yaml", "--id", id], "");
    assert!(create("second").status.success() && create("third").status.success());
    let path = at.join("k ?%#.db");
    let good = fs::read(&path).unwrap();
    assert_eq!((checked(at), files()), (valid(3), 3));
    assert_eq!(fs::read(&path).unwrap(), good);

    let field = "keygate.yaml:3:36: keys.database: k ?%#.db";
    assert!(create("first").status.success());
    let clash = "the keys first and first, one in a key file and one in the database, have the same id";
    assert_eq!(checked(at), (Some(1), format!("{field} holds a key that opens nothing: {clash}")));

    let raise = |path: &Path| {
        let database = rusqlite::Connection::open(path).unwrap();
        database.pragma_update(None, "user_version", 99).unwrap();
    };
    raise(&path);
    let newer = "was written by a newer keygate (its schema is 99, this one knows 2); use the newer one";
    assert_eq!(checked(at), (Some(1), format!("{field} {newer}")));
    fs::write(&path, "garbage, and more than a head of it".repeat(100)).unwrap();
    assert_eq!(checked(at), (Some(1), format!("{field} cannot be used: file is not a database")));
    fs::remove_file(&path).unwrap();
    rusqlite::Connection::open(&path).unwrap().execute_batch("CREATE TABLE a (b)").unwrap();
    assert_eq!(checked(at), (Some(1), format!("{field} is a database of another program, not a store of keys")));
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    assert_eq!(checked(at), (Some(1), format!("{field} cannot be opened: is not a regular file")));
}

#[test]
fn check_sees_what_a_running_gateway_has_only_in_its_log() {
    let upstream = Upstream::hello();
    let gate = gate(&upstream).with("keys: { database: k.db }").start();
    let at = gate.file("");
    let output = keygate(&at, &["keys", "create", "--config", "keygate.yaml"], "");
    assert!(output.status.success(), "{}", said(&output));
    assert!(fs::metadata(at.join("k.db-wal")).unwrap().len() > 0);
    assert_eq!(checked(&at).1, "keygate.yaml: valid; 1 keys, 1 listeners");
}

#[test]
fn a_key_that_was_made_and_appended_opens_the_gate_at_once() {
    let upstream = Upstream::hello();
    let mut gate = gate(&upstream).key(&key("first")).start();
    let directory = gate.file("");
    let arguments = ["keys", "create", "--name", "Second", "--tenant", "acme", "--to", "keys.yaml", "--json"];
    let output = keygate(&directory, &arguments, "");
    assert!(output.status.success(), "{}", said(&output));
    let made: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let secret = made["secret"].as_str().unwrap().to_owned();
    gate.watch_for_secret(&secret);
    assert!(!fs::read_to_string(gate.file("keys.yaml")).unwrap().contains(&secret));
    gate.eventually("it is let in", |gate| gate.get("/", &[("X-API-Key", &secret)]).status == 200);
    assert_eq!(upstream.last().value("X-Keygate-Tenant"), "acme");

    let mut typo = secret.clone();
    let last = typo.pop().unwrap();
    typo.push(if last == 'x' { 'y' } else { 'x' });
    assert_eq!(gate.get("/", &[("X-API-Key", &typo)]).code(), "credentials_malformed", "a typo needs no look-up");

    let list = keygate(&directory, &["keys", "list", "keys.yaml"], "");
    let text = said(&list);
    assert!(text.contains("first") && text.contains("Second") && !text.contains(&secret), "{text}");
}

#[test]
fn the_entry_that_is_printed_can_be_pasted() {
    let upstream = Upstream::hello();
    let directory = tempfile::tempdir().unwrap();
    let output = keygate(directory.path(), &["keys", "create", "--environment", "live"], "");
    let text = String::from_utf8(output.stdout).unwrap();
    let secret = text.split_whitespace().find(|word| word.starts_with("kg_live_")).expect(&text).to_owned();
    let entry: String = text
        .lines()
        .skip_while(|line| !line.trim_start().starts_with("- id:"))
        .fold(String::new(), |entry, line| entry + line + "\n");
    let setup = gate(&upstream).secret(&secret);
    fs::write(setup.directory().join("keys.yaml"), format!("keys:\n{entry}")).unwrap();
    let gate = setup.start();
    assert_eq!(gate.get("/", &[("X-API-Key", &secret)]).status, 200);
    assert_eq!(upstream.last().value("X-Keygate-Environment"), "live");
}

#[test]
fn hash_reads_the_secret_from_standard_input() {
    let directory = tempfile::tempdir().unwrap();
    let output = keygate(directory.path(), &["keys", "hash"], "abc\n");
    assert_eq!(
        String::from_utf8_lossy(&output.stdout).trim(),
        "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    );
    assert_eq!(keygate(directory.path(), &["keys", "hash"], "").status.code(), Some(1));
}

#[test]
fn healthcheck_tells_ready_from_not() {
    let upstream = Upstream::hello();
    let mut gate = gate(&upstream).with("shutdown: { delay: 1s }").start();
    let admin = gate.admin.to_string();
    let health = |path: &str| keygate(Path::new("."), &["healthcheck", "--admin", &admin, "--path", path], "").status;
    assert_eq!(health("/readyz").code(), Some(0));
    gate.signal("TERM");
    gate.eventually("it is not ready", |_| health("/readyz").code() == Some(1));
    assert!(gate.wait().success());
    assert_eq!(health("/livez").code(), Some(1));
}

#[test]
fn schema_completions_and_version_are_printed() {
    let here = Path::new(".");
    let schema: serde_json::Value = serde_json::from_slice(&keygate(here, &["config", "schema"], "").stdout).unwrap();
    assert!(schema["properties"]["listen"].is_object());
    for shell in ["bash", "zsh", "fish"] {
        assert!(said(&keygate(here, &["completions", shell], "")).contains("healthcheck"), "{shell}");
    }
    assert_eq!(said(&keygate(here, &["--version"], "")).trim(), concat!("keygate ", env!("CARGO_PKG_VERSION")));
}

#[test]
fn every_command_has_a_manual_page() {
    let directory = tempfile::tempdir().unwrap();
    let output = keygate(directory.path(), &["man", "."], "");
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    let page = |name: &str| fs::read_to_string(directory.path().join(name)).unwrap();
    assert!(page("keygate.1").contains(".SH SUBCOMMANDS") && page("keygate.1").contains("keygate\\-run(1)"));
    assert!(page("keygate-run.1").contains("\\-\\-config"));
    assert!(page("keygate-keys-create.1").contains("Makes a key"));
    assert_eq!(keygate(directory.path(), &["man", "nowhere"], "").status.code(), Some(1));
}

#[test]
fn the_demo_prints_commands_that_work_as_pasted() {
    use std::io::{BufRead as _, BufReader};
    let mut demo = Command::new(env!("CARGO_BIN_EXE_keygate"))
        .args(["demo", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let commands: Vec<String> = BufReader::new(demo.stdout.take().unwrap())
        .lines()
        .map_while(Result::ok)
        .take_while(|line| !line.contains("Ctrl-C"))
        .filter(|line| line.trim_start().starts_with("curl"))
        .collect();
    assert_eq!(commands.len(), 2, "{commands:?}");
    let pasted =
        |line: &str| crate::programs::run("sh", &["-c", &format!("{line} --retry 5 --retry-connrefused")]).unwrap();
    let let_in = pasted(&commands[0]);
    assert!(let_in.starts_with("HTTP/2 200") && let_in.contains("x-ratelimit-limit: 60"), "{let_in}");
    assert!(pasted(&commands[1]).starts_with("HTTP/2 401"));
    let _ = Command::new("kill").arg(demo.id().to_string()).status();
    assert!(demo.wait().unwrap().success());
}
