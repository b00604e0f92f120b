//! A program in another language that uses a library of others: JSON in, JSON out.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

/// Who reads and makes tokens beside keygate.
pub(crate) const TOKEN_LIBRARIES: [Library; 2] = [Library::PyJwt, Library::Jose];

/// A library of others, with the program that uses it.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Library {
    /// The client of one of the contracts, in Python.
    Flexprice,
    /// `PyJWT`.
    PyJwt,
    /// `jose`, for JavaScript.
    Jose,
    /// `websockets`.
    Websockets,
    /// `grpcio`, gRPC's own client and server for Python.
    Grpc,
    /// `requests`, `httpx` and `aiohttp`, for Python.
    Http,
    /// Node's own `fetch`, `https` and `http2`.
    Fetch,
    /// Python's `ssl`, which is OpenSSL, and records written by hand.
    Encryption,
    /// `sslyze`, which looks for what is weak in TLS.
    Sslyze,
    /// `kubernetes-validate` and `kubectl`, for what is shipped for Kubernetes.
    Manifests,
}

impl Library {
    /// Runs the program to its end: what it answers when it is told `input`.
    #[track_caller]
    pub(crate) fn run(self, input: &Value) -> Value {
        let mut command = self.command();
        // What is asked is on this machine, whatever stands between it and others.
        for name in ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"] {
            command.env_remove(name).env_remove(name.to_lowercase());
        }
        // Node takes an authority of ours from nowhere else.
        if let Some(ca) = input["ca"].as_str() {
            command.env("NODE_EXTRA_CA_CERTS", ca);
        }
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child =
            command.spawn().unwrap_or_else(|error| panic!("{self:?}: {error}; run `make packages clients`"));
        child.stdin.take().unwrap().write_all(input.to_string().as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{self:?}:\n{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// Runs a program that consists of cases; all `count` of them must end well.
    #[track_caller]
    pub(crate) fn run_cases(self, input: &Value, count: usize) {
        let ended = self.run(input);
        let ended = ended.as_object().unwrap();
        let failed: Vec<_> = ended.iter().filter_map(|(name, how)| Some((name, how.as_str()?))).collect();
        let told: String = failed.iter().map(|(name, how)| format!("{name}:\n{how}\n")).collect();
        assert!(failed.is_empty(), "{self:?}: {} of {} cases failed\n{told}", failed.len(), ended.len());
        assert_eq!(ended.len(), count, "{self:?}: so many cases have run");
    }

    fn command(self) -> Command {
        match self {
            Self::Flexprice => python(include_str!("flexprice.py")),
            Self::PyJwt => python(include_str!("pyjwt.py")),
            Self::Websockets => python(include_str!("websockets.py")),
            Self::Grpc => python(concat!(include_str!("cases.py"), include_str!("grpc.py"))),
            Self::Http => python(concat!(include_str!("cases.py"), include_str!("http.py"))),
            Self::Encryption => python(concat!(include_str!("cases.py"), include_str!("encryption.py"))),
            Self::Sslyze => python(include_str!("sslyze.py")),
            Self::Manifests => python(concat!(include_str!("cases.py"), include_str!("manifests.py"))),
            Self::Jose => node(include_str!("jose.mjs")),
            Self::Fetch => node(include_str!("fetch.mjs")),
        }
    }
}

/// Python, with the packages of others, about to run a program.
pub(crate) fn python(program: &str) -> Command {
    let mut command = Command::new(installed("python").join("bin/python"));
    // Isolated: no variable and no folder of whoever runs this has a part in it.
    command.args(["-I", "-c", program]);
    command
}

fn node(program: &str) -> Command {
    // A program on the command line finds packages from where it is run.
    let mut command = Command::new("node");
    command.args(["--input-type=module", "--eval", program]).current_dir(installed("node"));
    command
}

/// Where `.ci/clients` has installed something.
fn installed(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/interop");
    let done = folder.join(format!("{name}.fingerprint"));
    assert!(done.exists(), "{} is not installed; run `make packages clients`", folder.join(name).display());
    folder.join(name)
}
