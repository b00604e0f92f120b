//! A contract of `deploy/contracts` that runs, with users who can log in.
//!
//! Its store lies in a home of its own, so that it outlives the gateway: a test may kill one and start the next.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::client::{Client, Response};
use crate::command_line::said;
use crate::gate::Gate;
use crate::upstream::Upstream;

/// The password of every user.
pub(crate) const PASSWORD: &str = "violins under the bridge";

/// What each command that shows something shows, and what of it changes with time alone.
const SHOWN: [(&str, &[&str]); 4] = [("keys", &["last_used"]), ("users", &[]), ("logins", &[]), ("sessions", &[])];

/// A contract, its home and the API behind it.
pub(crate) struct Shipped {
    home: TempDir,
    file: PathBuf,
    variables: Vec<(&'static str, String)>,
    /// The API.
    pub(crate) upstream: Upstream,
}

impl Shipped {
    /// The contract of this name, exactly as it is shipped.
    #[track_caller]
    pub(crate) fn new(name: &str) -> Self {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/contracts").join(format!("{name}.yaml"));
        let (home, upstream) = (tempfile::tempdir().unwrap(), Upstream::hello());
        let data = home.path().join("data");
        std::fs::create_dir(&data).unwrap();
        let variables = vec![
            ("KEYGATE_LISTEN", "127.0.0.1:0".to_owned()),
            ("KEYGATE_ADMIN", "127.0.0.1:0".to_owned()),
            ("KEYGATE_UPSTREAM", upstream.to_string()),
            ("KEYGATE_DATA", data.display().to_string()),
        ];
        Self { home, file, variables, upstream }
    }

    /// The same with limits that no test reaches: else they would answer in place of what is tested.
    #[track_caller]
    pub(crate) fn unlimited(name: &str) -> Self {
        Self::new(name).edited(|text| {
            text.lines()
                .map(|line| {
                    let Some((before, after)) = line.split_once("requests: ") else { return format!("{line}\n") };
                    let digits = after.bytes().take_while(u8::is_ascii_digit).count();
                    format!("{before}requests: 100000{}\n", &after[digits..])
                })
                .collect()
        })
    }

    /// The same with its configuration changed.
    #[track_caller]
    pub(crate) fn edited(mut self, edit: impl Fn(&str) -> String) -> Self {
        let text = edit(&std::fs::read_to_string(&self.file).unwrap());
        self.file = self.home.path().join("keygate.yaml");
        std::fs::write(&self.file, text).unwrap();
        self
    }

    /// Adds a variable.
    pub(crate) fn with(mut self, name: &'static str, value: &str) -> Self {
        self.variables.push((name, value.to_owned()));
        self
    }

    /// A file in its home.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    /// Starts a gateway, which watches what it writes for the password.
    #[track_caller]
    pub(crate) fn start(&self) -> Gate {
        let mut gate = Gate::run(tempfile::tempdir().unwrap(), &self.file, &self.variables);
        gate.watch_for_secret(PASSWORD);
        gate
    }

    /// Runs a command that must succeed: what it said, as JSON.
    #[track_caller]
    pub(crate) fn keygate(&self, words: &str, input: &str) -> Value {
        let mut child = Command::new(env!("CARGO_BIN_EXE_keygate"))
            .args(words.split(' '))
            .args(["--json", "--config"])
            .arg(&self.file)
            .envs(self.variables.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let _ = std::io::Write::write_all(&mut child.stdin.take().unwrap(), input.as_bytes());
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{words}: {}", said(&output));
        serde_json::from_slice(&output.stdout).unwrap_or(Value::Null)
    }

    /// Makes a user with [`PASSWORD`]; its id. `more` are options.
    #[track_caller]
    pub(crate) fn user(&self, login: &str, more: &str) -> String {
        let words = format!("users create --login {login} --password-stdin {more}");
        let made = self.keygate(words.trim_end(), PASSWORD);
        made["id"].as_str().unwrap_or_else(|| panic!("{made}")).to_owned()
    }

    /// Makes a key; its id and its secret. `more` are options.
    #[track_caller]
    pub(crate) fn key(&self, more: &str) -> (String, String) {
        let words = format!("keys create --environment production --name Key {more}");
        let made = self.keygate(words.trim_end(), "");
        let text = |name: &str| made[name].as_str().unwrap_or_else(|| panic!("{made}")).to_owned();
        (text("id"), text("secret"))
    }

    /// Everything that the commands show of the store.
    #[track_caller]
    pub(crate) fn state(&self) -> Value {
        let mut state = json!({});
        for (kind, changing) in SHOWN {
            let mut list = self.keygate(&format!("{kind} list"), "");
            for item in list.as_array_mut().into_iter().flatten().filter_map(Value::as_object_mut) {
                item.retain(|name, _| !changing.contains(&name.as_str()));
            }
            state[kind] = list;
        }
        state
    }
}

/// `POST` of JSON, on a connection of its own.
#[track_caller]
pub(crate) fn post(gate: &Gate, path: &str, fields: &[(&str, &str)], content: &Value) -> Response {
    post_on(&mut gate.client(), path, fields, content)
}

/// `POST` of JSON, on this connection.
#[track_caller]
pub(crate) fn post_on(client: &mut Client, path: &str, fields: &[(&str, &str)], content: &Value) -> Response {
    let fields = [&[("Content-Type", "application/json")], fields].concat();
    client.request("POST", path, &fields, content.to_string().as_bytes())
}

/// The text at this place of an answer.
#[track_caller]
pub(crate) fn text_at(response: &Response, pointer: &str) -> String {
    let content = response.json();
    let text = content.pointer(pointer).and_then(Value::as_str);
    text.unwrap_or_else(|| panic!("no {pointer} in {content}")).to_owned()
}

/// The HMAC-SHA-256 of a message, in hexadecimal digits.
pub(crate) fn hmac_hex(secret: &str, message: &[u8]) -> String {
    let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, secret.as_bytes());
    aws_lc_rs::hmac::sign(&key, message).as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}
