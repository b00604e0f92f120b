//! Many at once, and what was ended meanwhile: in force for the next request, whoever asks and however fast.

use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use serde_json::json;

use crate::client::{Client, Response};
use crate::gate::Gate;
use crate::shipped::{PASSWORD, Shipped, post, post_on, text_at};

const LOGIN: &str = "/api/v1/auth/login";
const REFRESH: &str = "/api/v1/auth/refresh";
const LOGOUT: &str = "/api/v1/auth/logout";

/// Connections that ask with what is about to end.
const HAMMERS: usize = 4;

/// How often each kind of end is tried: nine kinds are 108 ends.
const ROUNDS: usize = 12;

/// A login: its access token and its refresh token.
struct Tokens {
    access: String,
    refresh: String,
}

impl Tokens {
    #[track_caller]
    fn of(response: &Response) -> Self {
        let text = |name: &str| text_at(response, &format!("/data/{name}"));
        Self { access: text("access_token"), refresh: text("refresh_token") }
    }

    #[track_caller]
    fn begin(gate: &Gate, document: &str) -> Self {
        Self::of(&post(gate, LOGIN, &[], &json!({ "document": document, "password": PASSWORD })))
    }

    fn bearer(&self) -> String {
        format!("Bearer {}", self.access)
    }

    /// Whether neither opens anything.
    fn is_dead(&self, gate: &Gate) -> bool {
        let access = gate.get("/x", &[("Authorization", &self.bearer())]).status;
        let refresh = post(gate, REFRESH, &[], &json!({ "refresh_token": self.refresh })).status;
        (access, refresh) == (401, 401)
    }
}

/// Runs `one` for each number on a thread of its own, all at the same time.
fn at_once<T: Send>(count: usize, one: impl Fn(usize, &Barrier) -> T + Sync) -> Vec<T> {
    let (barrier, one) = (&Barrier::new(count), &one);
    thread::scope(|scope| {
        let threads: Vec<_> = (0..count).map(|number| scope.spawn(move || one(number, barrier))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    })
}

/// RFC 9700, section 4.14.2: a refresh token that comes twice was stolen.
#[test]
fn of_64_refreshes_with_one_token_one_is_answered_and_the_login_is_ended() {
    let stand = Shipped::unlimited("fluxiq-core");
    let gate = stand.start();
    stand.user("ada", "--role owner");
    for round in 0..5 {
        let tokens = Tokens::begin(&gate, "ada");
        let content = json!({ "refresh_token": tokens.refresh });
        let answers = at_once(64, |_, barrier| {
            let mut client = gate.client();
            assert_eq!(client.request("GET", "/.well-known/jwks.json", &[], b"").status, 200);
            barrier.wait();
            post_on(&mut client, REFRESH, &[], &content)
        });
        let good: Vec<_> = answers.iter().filter(|answer| answer.status == 200).collect();
        let refused = answers.iter().filter(|answer| answer.status == 401).count();
        assert_eq!((good.len(), refused), (1, 63), "round {round}");
        assert!(tokens.is_dead(&gate) && Tokens::of(good[0]).is_dead(&gate), "round {round}");
        assert_eq!(stand.keygate("logins list", ""), json!([]), "round {round}");
    }
}

#[test]
fn a_refresh_that_races_a_logout_ends_dead() {
    let stand = Shipped::unlimited("fluxiq-core");
    let gate = stand.start();
    stand.user("ada", "--role owner");
    let mut renewed = 0;
    for round in 0..30 {
        let tokens = Tokens::begin(&gate, "ada");
        let answers = at_once(2, |number, barrier| {
            let mut client = gate.client();
            assert_eq!(client.request("GET", "/.well-known/jwks.json", &[], b"").status, 200);
            barrier.wait();
            if number == 0 {
                client.request("POST", LOGOUT, &[("Authorization", &tokens.bearer())], b"")
            } else {
                post_on(&mut client, REFRESH, &[], &json!({ "refresh_token": tokens.refresh }))
            }
        });
        assert_eq!(answers[0].status, 204, "round {round}");
        assert!(tokens.is_dead(&gate), "round {round}");
        if answers[1].status == 200 {
            renewed += 1;
            assert!(Tokens::of(&answers[1]).is_dead(&gate), "round {round}");
        } else {
            assert_eq!(answers[1].status, 401, "round {round}");
        }
    }
    println!("{renewed} of 30 refreshes came before the logout");
}

/// A login with a password that is being changed, or of a user who is being switched off, is over with it.
#[test]
fn a_login_that_races_its_end_ends_dead() {
    let stand = Shipped::unlimited("fluxiq-core");
    let gate = stand.start();
    stand.user("ada", "--role owner");
    for (words, input) in
        [("users set-password ada --password-stdin", "another one of them"), ("users disable ada", "")]
    {
        for round in 0..5 {
            stand.keygate("users enable ada", "");
            stand.keygate("users set-password ada --password-stdin", PASSWORD);
            let (ended, good) = (AtomicBool::new(false), AtomicUsize::new(0));
            let begun = thread::scope(|scope| {
                let logins: Vec<_> = (0..HAMMERS).map(|_| scope.spawn(|| log_in_until(&ended, &good, &gate))).collect();
                while good.load(Ordering::SeqCst) == 0 {
                    assert!(logins.iter().all(|login| !login.is_finished()), "nobody can log in");
                    thread::sleep(Duration::from_millis(1));
                }
                stand.keygate(words, input);
                ended.store(true, Ordering::SeqCst);
                logins.into_iter().flat_map(|login| login.join().unwrap()).collect::<Vec<_>>()
            });
            assert!(begun.iter().all(|tokens| tokens.is_dead(&gate)), "{words}: round {round}");
        }
    }
}

/// Logs ada in over and over.
fn log_in_until(ended: &AtomicBool, good: &AtomicUsize, gate: &Gate) -> Vec<Tokens> {
    let mut client = gate.client();
    let mut begun = Vec::new();
    while !ended.load(Ordering::SeqCst) {
        let answer = post_on(&mut client, LOGIN, &[], &json!({ "document": "ada", "password": PASSWORD }));
        match answer.status {
            200 => {
                good.fetch_add(1, Ordering::SeqCst);
                begun.push(Tokens::of(&answer));
            }
            // On a busy machine passwords wait in a line, which can be full.
            status => assert!(matches!(status, 401 | 503), "{answer:?}"),
        }
    }
    begun
}

/// A request that is sent over and over.
struct Asking<'a> {
    path: &'a str,
    field: (&'a str, &'a str),
    /// With what it is refused when what it bears is over.
    refused: u16,
}

/// Asks over kept connections with what `end` ends, and with `other`, which must stay good. The first request that is sent
/// after `end` has returned is refused on every connection, and so are those behind it.
#[track_caller]
fn ends_at_once(gate: &Gate, ending: &Asking<'_>, other: &Asking<'_>, end: impl FnOnce()) {
    let (ended, over, good_before) = (AtomicBool::new(false), AtomicBool::new(false), AtomicUsize::new(0));
    let ask =
        |asking: &Asking<'_>, client: &mut Client| client.request("GET", asking.path, &[asking.field], b"").status;
    thread::scope(|scope| {
        let hammers: Vec<_> = (0..HAMMERS)
            .map(|_| {
                scope.spawn(|| {
                    let mut client = gate.client();
                    let mut refused_after = 0;
                    while refused_after < 3 {
                        let after = ended.load(Ordering::SeqCst);
                        let status = ask(ending, &mut client);
                        if after {
                            assert_eq!(
                                status, ending.refused,
                                "sent after the end, {refused_after} were refused before"
                            );
                            refused_after += 1;
                        } else if status == 200 {
                            good_before.fetch_add(1, Ordering::SeqCst);
                        } else {
                            assert_eq!(status, ending.refused);
                        }
                    }
                })
            })
            .collect();
        let bystanders: Vec<_> = (0..2)
            .map(|_| {
                scope.spawn(|| {
                    let mut client = gate.client();
                    while !over.load(Ordering::SeqCst) {
                        assert_eq!(ask(other, &mut client), 200, "what nobody ended");
                    }
                })
            })
            .collect();
        while good_before.load(Ordering::SeqCst) < HAMMERS * 5 {
            assert!(hammers.iter().all(|hammer| !hammer.is_finished()), "nothing was good before");
            thread::sleep(Duration::from_millis(1));
        }
        end();
        ended.store(true, Ordering::SeqCst);
        let failed = hammers.into_iter().filter_map(|hammer| hammer.join().err()).count();
        over.store(true, Ordering::SeqCst);
        let harmed = bystanders.into_iter().filter_map(|bystander| bystander.join().err()).count();
        assert_eq!((failed, harmed), (0, 0));
    });
}

#[test]
fn what_ends_a_login_is_in_force_for_the_next_request_under_load() {
    let stand = Shipped::unlimited("fluxiq-core");
    let gate = stand.start();
    stand.user("ada", "--role owner");
    stand.user("bob", "--role owner");
    let other = Tokens::begin(&gate, "bob").bearer();
    let other = Asking { path: "/x", field: ("Authorization", &other), refused: 401 };
    for _ in 0..ROUNDS {
        for kind in ["logout", "logins end", "users disable", "users set-password"] {
            let tokens = Tokens::begin(&gate, "ada");
            let bearer = tokens.bearer();
            let ending = Asking { path: "/x", field: ("Authorization", &bearer), refused: 401 };
            ends_at_once(&gate, &ending, &other, || match kind {
                "logout" => assert_eq!(gate.client().request("POST", LOGOUT, &[ending.field], b"").status, 204),
                "logins end" => {
                    let logins = stand.keygate("logins list", "");
                    let of_ada = logins.as_array().unwrap().last().unwrap()["id"].as_str().unwrap().to_owned();
                    stand.keygate(&format!("logins end {of_ada}"), "");
                }
                "users disable" => drop(stand.keygate("users disable ada", "")),
                _ => drop(stand.keygate("users set-password ada --password-stdin", PASSWORD)),
            });
            assert!(tokens.is_dead(&gate), "{kind}");
            if kind == "users disable" {
                stand.keygate("users enable ada", "");
                assert!(tokens.is_dead(&gate), "what was ended comes back");
            }
        }
    }
}

#[test]
fn what_ends_a_key_or_a_session_is_in_force_for_the_next_request_under_load() {
    let stand = Shipped::unlimited("flexprice");
    let gate = stand.start();
    stand.user("ada", "--role member --tenant acme");
    let (_, maker) = stand.key("--tenant acme");
    let other = Asking { path: "/v1/customers", field: ("X-API-Key", &maker), refused: 401 };
    for _ in 0..ROUNDS {
        for kind in ["keys revoke", "keys delete", "delete_key", "sessions revoke", "users disable"] {
            if kind == "sessions revoke" {
                let made = gate.get("/v1/customers/portal/c1", &[other.field]);
                let token = text_at(&made, "/token");
                let ending = Asking { path: "/v1/customer/portal/x", field: ("X-Session-Token", &token), refused: 401 };
                let sessions = stand.keygate("sessions list", "");
                let id = sessions.as_array().unwrap().last().unwrap()["id"].as_str().unwrap().to_owned();
                ends_at_once(&gate, &ending, &other, || drop(stand.keygate(&format!("sessions revoke {id}"), "")));
                continue;
            }
            let (id, secret) = stand.key("--tenant acme --user ada");
            // A key of a user who is switched off is known, and not active.
            let refused = if kind == "users disable" { 403 } else { 401 };
            let ending = Asking { path: "/v1/customers", field: ("X-API-Key", &secret), refused };
            ends_at_once(&gate, &ending, &other, || match kind {
                "delete_key" => {
                    let path = format!("/v1/secrets/api/keys/{id}");
                    assert_eq!(gate.client().request("DELETE", &path, &[other.field], b"").status, 204);
                }
                "users disable" => drop(stand.keygate("users disable ada", "")),
                _ => drop(stand.keygate(&format!("{kind} {id}"), "")),
            });
            if kind == "users disable" {
                stand.keygate("users enable ada", "");
            }
        }
    }
}

/// Whoever asks twice has one key in the end, and whoever was answered last has it.
#[test]
fn of_many_regenerations_at_once_one_secret_is_good() {
    let stand = Shipped::unlimited("certopay");
    let gate = stand.start();
    stand.user("seller@example.com", "--role seller");
    let (_, first) = stand.key("--user seller@example.com");
    let content = json!({ "email": "seller@example.com", "password": PASSWORD });
    let bearer = format!("Bearer {}", text_at(&post(&gate, "/api/auth/login", &[], &content), "/accessToken"));
    for _ in 0..5 {
        let answers = at_once(16, |_, barrier| {
            let mut client = gate.client();
            assert_eq!(client.request("GET", "/.well-known/jwks.json", &[], b"").status, 200);
            barrier.wait();
            client.request("POST", "/api/api-keys/me/regenerate", &[("Authorization", &bearer)], b"")
        });
        let secrets = answers.iter().map(|answer| text_at(answer, "/fullKey")).chain([first.clone()]);
        let good = secrets.filter(|secret| gate.get("/api/orders", &[("X-Api-Key", secret)]).status == 200);
        assert_eq!(good.count(), 1);
    }
}
