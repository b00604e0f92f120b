//! Issuers whose keys are elsewhere: fetched in the background, kept when that fails, fetched early when needed.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::*;

/// A server that gives one answer after the other, the last one for ever, and counts.
struct Server {
    url: url::Url,
    asked: Arc<AtomicUsize>,
    answers: Arc<Mutex<VecDeque<String>>>,
}

impl Server {
    async fn start(answers: &[String]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/jwks.json", listener.local_addr().unwrap()).parse().unwrap();
        let (asked, answers) = (Arc::default(), Arc::new(Mutex::new(answers.iter().cloned().collect())));
        let server = Self { url, asked: Arc::clone(&asked), answers: Arc::clone(&answers) };
        tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                asked.fetch_add(1, Ordering::SeqCst);
                drop(stream.read(&mut [0; 4096]).await);
                let answer = next(&answers);
                drop(stream.write_all(answer.as_bytes()).await);
            }
        });
        server
    }

    fn will_answer(&self, answer: String) {
        *self.answers.lock().unwrap() = [answer].into();
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

fn next(answers: &Mutex<VecDeque<String>>) -> String {
    let mut answers = answers.lock().unwrap();
    if answers.len() > 1 { answers.pop_front().unwrap() } else { answers[0].clone() }
}

fn set(forges: &[&Forge]) -> String {
    let keys: Vec<Value> = forges.iter().map(|forge| forge.jwk()).collect();
    let content = json!({ "keys": keys }).to_string();
    format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{content}", content.len())
}

const FAILURE: &str = "HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\n\r\n";

/// Tokens that believe the issuer behind `server`, read every `refresh_every`, and early every `early_every`.
fn following(server: &Server, refresh_every: Duration, early_every: Duration) -> Arc<Tokens> {
    let settings = IssuerSettings { refresh_every, ..foreign_settings(JwksSource::Url(server.url.clone())) };
    let mut tokens = Tokens::open(None, vec![settings], at(NOW_S)).unwrap();
    tokens.issuers[0].early.every = early_every;
    Arc::new(tokens)
}

fn token(forge: &Forge) -> String {
    let claims = json!({ "iss": ISSUER, "aud": API, "sub": "u", "iat": NOW_S, "exp": NOW_S + 900, "tenant": "t" });
    forge.sign(&forge.header().to_string(), &claims.to_string())
}

/// A moment with the clock of the process, as a request has it, and the date of the tests.
fn now() -> Moment {
    Moment { monotonic_ns: crate::moment::monotonic_ns(), ..at(NOW_S) }
}

/// Waits for something that will be, for at most ten seconds.
async fn until(what: &str, mut is: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is() {
        assert!(start.elapsed() < Duration::from_secs(10), "{what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

const SOON: Duration = Duration::from_millis(20);
const LATER: Duration = Duration::from_secs(3600);

#[tokio::test]
async fn keys_are_fetched_in_the_background_and_kept_when_that_fails() {
    let (one, other) = (Forge::new(Algorithm::EdDsa), Forge::new(Algorithm::Es256));
    let server = Server::start(&[set(&[&one])]).await;
    let tokens = following(&server, SOON, LATER);
    let verdict = |forge: &Forge| tokens.verify(&token(forge), now()).map(drop);
    assert_eq!(verdict(&one), Err(TokenError::UnknownKey), "nobody waits for a key");
    let following = tokio::spawn(Arc::clone(&tokens).follow());
    until("the first keys", || verdict(&one).is_ok()).await;
    let remembered = tokens.verify(&token(&one), now()).unwrap();

    for failure in [
        FAILURE.to_owned(),
        "HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n".to_owned(),
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}".to_owned(),
        "HTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\n{\"keys\":[]}".to_owned(),
        String::new(),
    ] {
        let before = server.asked();
        server.will_answer(failure);
        until("two failures", || server.asked() > before + 2).await;
        assert_eq!(verdict(&one), Ok(()));
    }
    assert!(Arc::ptr_eq(&remembered, &tokens.verify(&token(&one), now()).unwrap()), "the same keys forget nothing");

    server.will_answer(set(&[&other]));
    until("the other keys", || verdict(&other).is_ok()).await;
    assert_eq!(verdict(&one), Err(TokenError::UnknownKey), "what is withdrawn is forgotten");
    following.abort();
}

/// However many tokens come with keys that nobody knows, there is one early fetch in its time; and none for those with a
/// wrong signature.
#[tokio::test]
async fn an_unknown_key_is_asked_for_early_but_not_often() {
    let (one, other) = (Forge::new(Algorithm::EdDsa), Forge::new(Algorithm::EdDsa));
    let server = Server::start(&[set(&[&one]), set(&[&one, &other])]).await;
    let early_every = Duration::from_millis(400);
    let tokens = following(&server, LATER, early_every);
    let verdict = |forge: &Forge| tokens.verify(&token(forge), now()).map(drop);
    let following = tokio::spawn(Arc::clone(&tokens).follow());
    until("the first keys", || verdict(&one).is_ok()).await;
    assert_eq!(server.asked(), 1);

    tokio::time::sleep(early_every).await;
    let forged = format!("{}AAAA", &token(&one)[..token(&one).len() - 4]);
    assert_eq!(tokens.verify(&forged, now()).err(), Some(TokenError::Signature));
    tokio::time::sleep(early_every / 4).await;
    assert_eq!(server.asked(), 1, "a wrong signature fetches nothing");

    assert_eq!(verdict(&other), Err(TokenError::UnknownKey), "refused now");
    until("the second keys", || verdict(&other).is_ok()).await;
    assert_eq!(server.asked(), 2);
    let (start, stranger) = (Instant::now(), Forge::new(Algorithm::EdDsa));
    while start.elapsed() < early_every * 4 {
        assert_eq!(verdict(&stranger), Err(TokenError::UnknownKey));
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let (asked, most) = (server.asked() - 2, start.elapsed().as_millis() / early_every.as_millis() + 1);
    assert!(asked >= 1 && asked as u128 <= most, "{asked} fetches in {:?}", start.elapsed());
    following.abort();
}

/// A file of keys is read again too, and a broken one changes nothing.
#[tokio::test]
async fn keys_in_a_file_are_read_again() {
    let (folder, one, other) =
        (tempfile::tempdir().unwrap(), Forge::new(Algorithm::EdDsa), Forge::new(Algorithm::Rs256));
    let file = folder.path().join("jwks.json");
    fs::write(&file, json!({ "keys": [one.jwk()] }).to_string()).unwrap();
    let settings = IssuerSettings { refresh_every: SOON, ..foreign_settings(JwksSource::File(file.clone())) };
    let tokens = Arc::new(Tokens::open(None, vec![settings], at(NOW_S)).unwrap());
    assert!(tokens.verify(&token(&one), now()).is_ok(), "there at once");
    let following = tokio::spawn(Arc::clone(&tokens).follow());
    fs::write(&file, "{").unwrap();
    tokio::time::sleep(SOON * 5).await;
    assert!(tokens.verify(&token(&one), now()).is_ok());
    fs::write(&file, json!({ "keys": [other.jwk()] }).to_string()).unwrap();
    until("the other key", || tokens.verify(&token(&other), now()).is_ok()).await;
    following.abort();
}

/// Another gateway has made a key, and its tokens come before we have looked.
#[tokio::test]
async fn a_key_that_another_gateway_has_just_made_is_looked_for() {
    let folder = tempfile::tempdir().unwrap();
    let settings = settings(&folder, Algorithm::EdDsa);
    let mut here = open(settings.clone());
    here.early.every = SOON;
    let here = Arc::new(here);
    let following = tokio::spawn(Arc::clone(&here).follow());
    for file in fs::read_dir(&settings.keys).unwrap() {
        fs::remove_file(file.unwrap().path()).unwrap();
    }
    let there = Tokens::open(Some(settings), Vec::new(), Moment::now()).unwrap();
    let token = there.issue_access(&holder("user_1", "login_1"), at(NOW_S)).unwrap().token;
    assert_eq!(here.verify(token.expose(), now()).err(), Some(TokenError::UnknownKey));
    until("the key of the other", || here.verify(token.expose(), now()).is_ok()).await;
    following.abort();
}

/// A reload makes new tokens. What was fetched for the old ones is not missing until it is fetched anew.
#[tokio::test]
async fn keys_outlive_a_reload_where_the_issuer_is_the_same() {
    let forge = Forge::new(Algorithm::EdDsa);
    let server = Server::start(&[set(&[&forge])]).await;
    let earlier = following(&server, LATER, LATER);
    let task = tokio::spawn(Arc::clone(&earlier).follow());
    until("the keys", || earlier.verify(&token(&forge), now()).is_ok()).await;
    task.abort();

    let same = foreign_settings(JwksSource::Url(server.url.clone()));
    let same = IssuerSettings { refresh_every: LATER, ..same };
    let others = [
        IssuerSettings { algorithms: vec![Algorithm::Es256], ..same.clone() },
        IssuerSettings { jwks: JwksSource::Url("http://127.0.0.1:1/".parse().unwrap()), ..same.clone() },
    ];
    let succeeding = |settings: IssuerSettings| {
        let mut tokens = Tokens::open(None, vec![settings], at(NOW_S)).unwrap();
        tokens.succeed(&earlier);
        tokens.verify(&token(&forge), now()).map(drop)
    };
    assert_eq!(succeeding(same), Ok(()));
    for other in others {
        assert_eq!(succeeding(other), Err(TokenError::UnknownKey));
    }
}
