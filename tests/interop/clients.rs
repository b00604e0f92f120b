//! The public client of a contract manages keys through keygate.

use serde_json::json;

use crate::contract::Contract;
use crate::library::Library;

#[test]
fn the_client_of_flexprice_makes_lists_and_deletes_a_key() {
    let mut contract = Contract::start("flexprice");
    let key = contract.key("production", &["--tenant", "acme"]);
    let url = format!("http://{}/v1", contract.gate.address);
    let said = Library::Flexprice.run(&json!({ "url": url, "key": key.secret }));
    let secret = said["made"]["api_key"].as_str().unwrap();
    contract.gate.watch_for_secret(secret);
    assert_eq!(secret.len(), 64);
    let made = &said["made"]["secret"];
    for (name, expected) in [
        ("name", json!("Made by the client")),
        ("type", json!("private_key")),
        ("provider", json!("flexprice")),
        ("status", json!("published")),
        ("display_id", json!(&secret[..16])),
        ("roles", json!([])),
    ] {
        assert_eq!(made[name], expected, "{name}");
    }
    assert_eq!(said["same_time"], true);
    assert!(["last_used_at", "user_id"].iter().all(|name| made[name].is_null()), "{made}");

    let listed = &said["listed"];
    assert_eq!(listed["pagination"], json!({ "total": 2, "limit": 10, "offset": 1 }));
    let items = listed["items"].as_array().unwrap();
    assert_eq!((items.len(), &items[0]["id"]), (1, &made["id"]));
    assert!(items[0]["last_used_at"].is_string(), "it lists itself, and so was used");
    assert!(!listed.to_string().contains(secret));
    assert_eq!(said["archived"]["items"], json!([]));
    assert!(said["session"]["token"].is_string() && said["session"]["expires_at"].is_string(), "{}", said["session"]);
    contract.gate.watch_for_secret(said["session"]["token"].as_str().unwrap());

    assert_eq!(said["left"]["pagination"]["total"], 1);
    assert_eq!(said["dead"], json!(["FlexpriceDefaultError", 401, "key_unknown"]));
    assert_eq!(said["deleted_twice"], json!(["ErrorResponse", 404, "not_found"]));
    assert_eq!(said["wrong_type"], json!(["ErrorResponse", 400, "validation_error"]));
    assert_eq!(said["wrong_limit"], json!(["ErrorResponse", 400, "validation_error"]));
    assert!(contract.upstream.received().is_empty(), "keygate has answered all of it");
}
