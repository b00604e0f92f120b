//! Libraries that speak HTTP, through keygate over TLS.

use serde_json::json;

use crate::certificates::Authority;
use crate::gate::gate;
use crate::key::key;
use crate::library::Library;
use crate::site::{FILE_BYTES, site};

#[track_caller]
fn check(library: Library, cases: usize) {
    let (upstream, alice) = (site(), key("alice"));
    let setup = gate(&upstream).key(&alice).with("maxima: { body: 8MiB }").tls();
    Authority::new(setup.directory()).sign("tls", &["localhost"]);
    let gate = setup.start();
    let url = format!("https://localhost:{}", gate.address.port());
    let told = json!({ "url": url, "ca": gate.file("ca.crt"), "key": alice.secret, "file_bytes": FILE_BYTES });
    library.run_cases(&told, cases);
}

#[test]
fn requests_httpx_and_aiohttp_get_along() {
    check(Library::Http, 7);
}

#[test]
fn fetch_and_http2_of_node_get_along() {
    check(Library::Fetch, 8);
}
