//! What is shipped for Kubernetes, Compose and systemd: rendered by kubectl, validated against Kubernetes's own schemas, and
//! held against the program - its arguments, its configuration, its ports, its image and its metrics.

use std::path::Path;

use serde_json::json;

use crate::gate::make_certificate;
use crate::library::Library;

#[test]
fn what_is_shipped_is_what_kubernetes_systemd_and_keygate_understand() {
    let certificates = tempfile::tempdir().unwrap();
    make_certificate(certificates.path(), "tls", &["localhost"]);
    let told = json!({
        "root": Path::new(env!("CARGO_MANIFEST_DIR")),
        "keygate": env!("CARGO_BIN_EXE_keygate"),
        "version": env!("CARGO_PKG_VERSION"),
        "certificates": certificates.path(),
        "update": std::env::var_os("KEYGATE_UPDATE").is_some(),
    });
    Library::Manifests.run_cases(&told, 19);
}
