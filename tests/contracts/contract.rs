//! A contract that runs: its shipped configuration, in a folder of its own.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;

use crate::client::Response;
use crate::gate::Gate;
use crate::upstream::Upstream;

/// The password of every user.
pub(crate) const PASSWORD: &str = "violins under the bridge";

/// The gateway of a contract, the API behind it, and its keys.
pub(crate) struct Contract {
    file: PathBuf,
    variables: Vec<(&'static str, String)>,
    /// The gateway.
    pub(crate) gate: Gate,
    /// The API.
    pub(crate) upstream: Upstream,
    /// The API of the sandbox.
    pub(crate) sandbox: Upstream,
}

/// A key that was made.
pub(crate) struct Made {
    /// Its id.
    pub(crate) id: String,
    /// Its secret.
    pub(crate) secret: String,
}

/// The configuration that is shipped.
fn shipped(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/contracts").join(format!("{name}.yaml"))
}

impl Contract {
    /// Starts the contract of this name.
    #[track_caller]
    pub(crate) fn start(name: &str) -> Self {
        Self::start_with(name, &[])
    }

    /// Starts it with more variables.
    #[track_caller]
    pub(crate) fn start_with(name: &str, more: &[(&'static str, &str)]) -> Self {
        Self::run(tempfile::tempdir().unwrap(), shipped(name), Upstream::hello(), more)
    }

    /// Starts it before this API, with lines of its configuration changed: each first text becomes the second.
    #[track_caller]
    pub(crate) fn start_changed(name: &str, upstream: Upstream, changes: &[(&str, &str)]) -> Self {
        let mut text = std::fs::read_to_string(shipped(name)).unwrap();
        for (line, other) in changes {
            assert_eq!(text.matches(line).count(), 1, "{line}");
            text = text.replace(line, other);
        }
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("changed.yaml");
        std::fs::write(&file, text).unwrap();
        Self::run(directory, file, upstream, &[])
    }

    #[track_caller]
    fn run(directory: tempfile::TempDir, file: PathBuf, upstream: Upstream, more: &[(&'static str, &str)]) -> Self {
        let sandbox = Upstream::hello();
        let mut variables = vec![
            ("KEYGATE_LISTEN", "127.0.0.1:0".to_owned()),
            ("KEYGATE_ADMIN", "127.0.0.1:0".to_owned()),
            ("KEYGATE_UPSTREAM", upstream.to_string()),
            ("KEYGATE_UPSTREAM_SANDBOX", sandbox.to_string()),
            ("KEYGATE_DATA", directory.path().display().to_string()),
        ];
        variables.extend(more.iter().map(|(name, value)| (*name, (*value).to_owned())));
        let gate = Gate::run(directory, &file, &variables);
        Self { file, variables, gate, upstream, sandbox }
    }

    /// Runs a command of keygate on the contract's store.
    #[track_caller]
    pub(crate) fn keygate(&self, arguments: &[&str]) -> Value {
        let output = self.output(arguments);
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap_or(Value::Null)
    }

    /// Runs a command of keygate on the contract's store that reads its standard input.
    #[track_caller]
    pub(crate) fn keygate_reading(&self, arguments: &[&str], input: &str) -> Value {
        let mut command = self.command(arguments);
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("keygate");
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap_or(Value::Null)
    }

    /// What a command says that fails.
    #[track_caller]
    pub(crate) fn refused(&self, arguments: &[&str]) -> String {
        let output = self.output(arguments);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {}", String::from_utf8_lossy(&output.stdout));
        String::from_utf8(output.stderr).unwrap()
    }

    /// The folder of the store.
    pub(crate) fn folder(&self) -> PathBuf {
        self.gate.file("")
    }

    /// What `keygate check` says with more variables, which make it fail.
    #[track_caller]
    pub(crate) fn fails_to_check(&self, more: &[(&str, &str)]) -> String {
        let mut command = Command::new(env!("CARGO_BIN_EXE_keygate"));
        command.arg("check").arg("--config").arg(&self.file);
        command.envs(self.variables.iter().map(|(name, value)| (name, value))).envs(more.iter().copied());
        let output = command.output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{}", String::from_utf8_lossy(&output.stdout));
        String::from_utf8([output.stdout, output.stderr].concat()).unwrap()
    }

    fn output(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_keygate"));
        command.args(arguments).args(["--json", "--config"]).arg(&self.file);
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        command
    }

    /// Makes a user with the password [`PASSWORD`]; gives back the id.
    #[track_caller]
    pub(crate) fn user(&mut self, login: &str, more: &[&str]) -> String {
        let create = [&["users", "create", "--login", login, "--password-stdin"], more].concat();
        let user = self.keygate_reading(&create, &format!("{PASSWORD}\n"));
        self.gate.watch_for_secret(PASSWORD);
        user["id"].as_str().unwrap().to_owned()
    }

    /// Another gateway on the same store.
    #[track_caller]
    pub(crate) fn replica(&self) -> Gate {
        Gate::run(tempfile::tempdir().unwrap(), &self.file, &self.variables)
    }

    /// Makes a key.
    #[track_caller]
    pub(crate) fn key(&mut self, environment: &str, more: &[&str]) -> Made {
        let made = self.keygate(&[&["keys", "create", "--environment", environment, "--name", "A key"], more].concat());
        self.made(&made)
    }

    /// The key that a command has made.
    #[track_caller]
    pub(crate) fn made(&mut self, answer: &Value) -> Made {
        let text = |name: &str| answer[name].as_str().unwrap_or_else(|| panic!("no {name} in {answer}")).to_owned();
        let made = Made { id: text("id"), secret: text("secret") };
        self.gate.watch_for_secret(&made.secret);
        made
    }

    /// `GET` with a key, or without one.
    #[track_caller]
    pub(crate) fn get(&self, host: &str, path: &str, secret: Option<&str>) -> Response {
        let mut fields = vec![("Host", host)];
        fields.extend(secret.map(|secret| ("X-API-Key", secret)));
        self.gate.get(path, &fields)
    }
}
