//! What was answered is so, also if the process dies straight after it: each answer is followed by SIGKILL, and the next
//! gateway is asked whether it knows.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::client::Response;
use crate::gate::Gate;
use crate::shipped::{PASSWORD, Shipped, post, text_at};

/// Kills, unless `KEYGATE_KILLS` says how many.
const KILLS: usize = 20;

fn kills() -> usize {
    std::env::var("KEYGATE_KILLS").ok().and_then(|kills| kills.parse().ok()).unwrap_or(KILLS)
}

/// Kills it where it stands.
#[track_caller]
fn kill(mut gate: Gate) {
    let pid = Pid::from_raw(i32::try_from(gate.pid()).unwrap()).unwrap();
    kill_process(pid, Signal::KILL).unwrap();
    assert!(!gate.wait().success());
}

/// What clients were told, and the next gateway has to know.
#[derive(Default)]
struct Told {
    /// Access token and refresh token of the login, while it lives.
    login: Option<(String, String)>,
    /// The same of logins that were ended.
    dead: Vec<(String, String)>,
    /// Keys that are good.
    keys: Vec<String>,
}

impl Told {
    #[track_caller]
    fn holds(&self, gate: &Gate, round: usize) {
        let status = |bearer: &str| gate.get("/x", &[("Authorization", &format!("Bearer {bearer}"))]).status;
        if let Some((access, _)) = &self.login {
            assert_eq!(status(access), 200, "round {round}: a login was lost");
        }
        for (access, refresh) in &self.dead {
            let refreshed = post(gate, "/api/v1/auth/refresh", &[], &json!({ "refresh_token": refresh })).status;
            assert_eq!((status(access), refreshed), (401, 401), "round {round}: what was ended is back");
        }
        for key in &self.keys {
            assert_eq!(status(key), 200, "round {round}: a key was lost");
        }
    }

    #[track_caller]
    fn logged_in(&mut self, response: &Response) {
        let text = |name: &str| text_at(response, &format!("/data/{name}"));
        self.login = Some((text("access_token"), text("refresh_token")));
    }
}

#[test]
fn a_kill_after_an_answer_takes_back_nothing() {
    let stand = Shipped::unlimited("fluxiq-core");
    stand.user("ada", "--role owner --tenant m1");
    let mut told = Told::default();
    for round in 0..kills() {
        let gate = stand.start();
        told.holds(&gate, round);
        let send = |path: &str, bearer: &str, content: Value| -> Response {
            post(&gate, path, &[("Authorization", &format!("Bearer {bearer}"))], &content)
        };
        match (round % 5, told.login.take()) {
            (_, None) => {
                let content = json!({ "document": "ada", "password": PASSWORD });
                told.logged_in(&post(&gate, "/api/v1/auth/login", &[], &content));
            }
            (1 | 3, Some((_, refresh))) => {
                let content = json!({ "refresh_token": refresh });
                told.logged_in(&post(&gate, "/api/v1/auth/refresh", &[], &content));
            }
            (4, Some((access, refresh))) => {
                assert_eq!(send("/api/v1/auth/logout", &access, Value::Null).status, 204);
                told.dead.push((access, refresh));
            }
            (_, Some((access, refresh))) => {
                let content = json!({ "name": "Shop", "permissions": ["pix:write"] });
                let made = send("/api/v1/merchants/m1/api-keys", &access, content);
                told.keys.push(text_at(&made, "/data/key"));
                told.login = Some((access, refresh));
            }
        }
        kill(gate);
    }
    let gate = stand.start();
    told.holds(&gate, kills());
    println!("{} kills, {} keys and {} ended logins known", kills(), told.keys.len(), told.dead.len());
}

#[test]
fn a_kill_after_a_regeneration_brings_back_no_secret() {
    let stand = Shipped::unlimited("certopay");
    stand.user("seller@example.com", "--role seller");
    let (_, mut good) = stand.key("--user seller@example.com");
    let mut dead: Vec<String> = Vec::new();
    let mut bearer = None;
    for round in 0..=kills() / 2 {
        let gate = stand.start();
        let status = |secret: &str| gate.get("/api/orders", &[("X-Api-Key", secret)]).status;
        assert_eq!(status(&good), 200, "round {round}: the new secret was lost");
        for secret in &dead {
            assert_eq!(status(secret), 401, "round {round}: an old secret is back");
        }
        let bearer = bearer.get_or_insert_with(|| {
            let content = json!({ "email": "seller@example.com", "password": PASSWORD });
            format!("Bearer {}", text_at(&post(&gate, "/api/auth/login", &[], &content), "/accessToken"))
        });
        let mut client = gate.client();
        let made = client.request("POST", "/api/api-keys/me/regenerate", &[("Authorization", bearer)], b"");
        dead.push(std::mem::replace(&mut good, text_at(&made, "/fullKey")));
        kill(gate);
    }
}

/// What was begun and never answered is either done or not, and the store can be used.
#[test]
fn a_kill_in_the_middle_of_many_writes_leaves_a_store_that_is_whole() {
    let stand = Shipped::unlimited("flexprice");
    let (_, secret) = stand.key("--tenant acme");
    let mut sessions: Vec<String> = Vec::new();
    for round in 0..kills() / 4 {
        let gate = stand.start();
        for token in &sessions {
            let status = gate.get("/v1/customer/portal", &[("X-Session-Token", token)]).status;
            assert_eq!(status, 200, "round {round}: a session was lost");
        }
        let pid = Pid::from_raw(i32::try_from(gate.pid()).unwrap()).unwrap();
        let answered = AtomicUsize::new(0);
        let made = std::thread::scope(|scope| {
            let makers: Vec<_> = (0..4)
                .map(|_| {
                    scope.spawn(|| {
                        let (mut client, mut made) = (gate.client(), Vec::new());
                        let fields = [("X-API-Key", secret.as_str())];
                        loop {
                            client.send("GET", "/v1/customers/portal/c1", &fields, b"");
                            let Some(answer) = client.answer("GET") else { return made };
                            made.push(text_at(&answer, "/token"));
                            answered.fetch_add(1, Ordering::SeqCst);
                        }
                    })
                })
                .collect();
            while answered.load(Ordering::SeqCst) < 8 + round {
                std::thread::sleep(Duration::from_millis(1));
            }
            kill_process(pid, Signal::KILL).unwrap();
            makers.into_iter().flat_map(|maker| maker.join().unwrap()).collect::<Vec<_>>()
        });
        sessions.extend(made.into_iter().rev().take(50));
        kill(gate);
    }
    assert!(stand.keygate("sessions list", "").as_array().unwrap().len() >= sessions.len());
}
