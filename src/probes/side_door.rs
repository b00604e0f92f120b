//! The side door: a Unix socket by which a command of this machine tells a running gateway to send its clients elsewhere.
//!
//! The admin door may be open to a whole cluster, so nothing there changes anything without a credential. This one is a
//! socket in Linux' abstract namespace: it has no address that a packet could be sent to, it needs no folder that could be
//! written to, and it is seen in its own network namespace only, which is that of a pod. Who comes must be the user whom
//! the gateway runs as, or root; the kernel says who it is, to both sides: a name that anybody could take is no proof of
//! who answers. What can be asked for is one thing, which a signal would do as well, but for the end of the process.
//!
//! ```text
//! drain 127.0.0.1:9901\n   asks the gateway with this admin door
//! draining\n               answers, as soon as `/readyz` says no
//! ```

use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::os::unix::net as blocking;
use std::time::{Duration, Instant};

use rustix::net::sockopt::socket_peercred;
use rustix::process::geteuid;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::time::{sleep, timeout};

/// What is asked for, before the address of the admin door.
const DRAIN: &str = "drain ";

/// Bytes of a question, at most.
const QUESTION_BYTES_MAX: u64 = 128;

/// What is answered.
const DRAINING: &[u8] = b"draining\n";

/// What is answered to somebody else.
const DENIED: &[u8] = b"denied\n";

/// What is answered to somebody who asks another gateway.
const ANOTHER: &[u8] = b"another\n";

/// How long a visitor may take to say what it wants. They are heard one after the other.
const VISIT: Duration = Duration::from_millis(500);

/// How long the command waits: for its own turn, too.
const PATIENCE: Duration = Duration::from_secs(5);

/// How long nobody is let in after the system has refused to accept.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How long nothing is said of those who were turned away, once it was said.
const SILENCE: Duration = Duration::from_secs(60);

/// The user id of root.
const ROOT: u32 = 0;

/// A side door that is open.
#[derive(Debug)]
pub struct SideDoor {
    listener: UnixListener,
    admin: SocketAddr,
    owner: u32,
    turned_away: Option<Instant>,
}

impl SideDoor {
    /// Opens the side door of the gateway with this admin door, whose port is in its name. To be called inside a runtime.
    ///
    /// # Errors
    ///
    /// If another process has one of this name, or the system has no abstract sockets.
    pub fn open(admin: SocketAddr) -> io::Result<Self> {
        let listener = blocking::UnixListener::bind_addr(&name(admin.port())?)?;
        listener.set_nonblocking(true)?;
        let listener = UnixListener::from_std(listener)?;
        Ok(Self { listener, admin, owner: geteuid().as_raw(), turned_away: None })
    }

    /// Calls `drain` each time that it is asked for, before that is answered. Never ends.
    pub async fn serve(mut self, drain: impl Fn()) {
        loop {
            match self.listener.accept().await {
                // One after the other: nobody but the owner can take more than a moment.
                Ok((visitor, _)) => drop(timeout(VISIT, self.hear(visitor, &drain)).await),
                Err(error) => {
                    tracing::warn!(%error, "the side door cannot accept a connection");
                    sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    /// Hears what one visitor wants.
    async fn hear(&mut self, mut visitor: UnixStream, drain: &impl Fn()) -> io::Result<()> {
        let user = visitor.peer_cred()?.uid();
        if user != self.owner && user != ROOT {
            if self.turned_away.is_none_or(|said| said.elapsed() > SILENCE) {
                self.turned_away = Some(Instant::now());
                tracing::warn!(user, "somebody else was turned away at the side door");
            }
            return visitor.write_all(DENIED).await;
        }
        let mut asked = String::new();
        BufReader::new((&mut visitor).take(QUESTION_BYTES_MAX)).read_line(&mut asked).await?;
        let admin = asked.strip_suffix('\n').and_then(|asked| asked.strip_prefix(DRAIN));
        match admin.and_then(|admin| admin.parse().ok()) {
            Some(admin) if is_same(admin, self.admin) => {
                drain();
                visitor.write_all(DRAINING).await
            }
            Some(_) => visitor.write_all(ANOTHER).await,
            None => Ok(()),
        }
    }
}

/// Whether one admin door is meant by two addresses. An unspecified one is every address of its port.
fn is_same(asked: SocketAddr, admin: SocketAddr) -> bool {
    let (one, other) = (asked.ip().to_canonical(), admin.ip().to_canonical());
    asked.port() == admin.port() && (one == other || one.is_unspecified() || other.is_unspecified())
}

/// Asks the gateway with this admin door to send its clients elsewhere. Blocks for ten seconds at most.
///
/// # Errors
///
/// A sentence for the operator: there is no such gateway, it is another user's, or who answers is somebody else.
pub fn drain(admin: SocketAddr) -> Result<(), String> {
    let answer = ask(admin).map_err(|error| {
        format!(
            "no answer from a gateway whose admin door is {admin}: {error}; it must run in the same network namespace \
             (the same pod), and its admin door must not be `off`"
        )
    })?;
    match answer {
        Answer::Said(said) => match said.as_slice() {
            DRAINING => Ok(()),
            DENIED => Err("the gateway runs as another user; run this command as that user".to_owned()),
            ANOTHER => Err(format!("the gateway at port {} has another admin door than {admin}", admin.port())),
            _ => Err(format!("what listens for the admin door {admin} is no gateway")),
        },
        Answer::Stranger(user) => Err(format!(
            "what listens for the admin door {admin} is another user's ({user}): run this command as that user if it is \
             the gateway; if not, it has taken the gateway's place"
        )),
    }
}

/// What came of asking.
enum Answer {
    Said(Vec<u8>),
    /// Who listens is another user, who was asked nothing.
    Stranger(u32),
}

fn ask(admin: SocketAddr) -> io::Result<Answer> {
    let mut stream = blocking::UnixStream::connect_addr(&name(admin.port())?)?;
    let (user, own) = (socket_peercred(&stream)?.uid.as_raw(), geteuid().as_raw());
    // Root may drain everybody's gateway, and cannot know whose it is.
    if user != own && user != ROOT && own != ROOT {
        return Ok(Answer::Stranger(user));
    }
    stream.set_write_timeout(Some(PATIENCE))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    // Who is turned away is told so before he has asked, and the answer is there although either of these fails.
    let asked = stream.write_all(format!("{DRAIN}{admin}\n").as_bytes());
    let mut answer = Vec::new();
    let read = stream.take(DRAINING.len() as u64 + 1).read_to_end(&mut answer);
    if answer.is_empty() {
        asked?;
        read?;
    }
    Ok(Answer::Said(answer))
}

/// The name of the side door that belongs to an admin door.
#[cfg(target_os = "linux")]
fn name(port: u16) -> io::Result<blocking::SocketAddr> {
    use std::os::linux::net::SocketAddrExt as _;

    blocking::SocketAddr::from_abstract_name(format!("keygate-{port}"))
}

/// Other systems have no sockets without a file.
#[cfg(not(target_os = "linux"))]
fn name(_port: u16) -> io::Result<blocking::SocketAddr> {
    Err(io::ErrorKind::Unsupported.into())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    /// A port that no other process of this machine has an admin door at, because we have it.
    fn port() -> (std::net::TcpListener, SocketAddr) {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("binds");
        let admin = listener.local_addr().expect("bound");
        (listener, admin)
    }

    /// A door that counts how often a drain was asked for.
    fn open(admin: SocketAddr) -> Arc<AtomicUsize> {
        let door = SideDoor::open(admin).expect("opens");
        let asked = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&asked);
        tokio::spawn(door.serve(move || {
            counted.fetch_add(1, Ordering::SeqCst);
        }));
        asked
    }

    async fn told(admin: SocketAddr) -> Result<(), String> {
        tokio::task::spawn_blocking(move || drain(admin)).await.expect("runs")
    }

    #[tokio::test]
    async fn it_is_done_when_it_is_answered() {
        let (_held, admin) = port();
        let asked = open(admin);
        for times in 1..4 {
            assert_eq!(told(admin).await, Ok(()));
            assert_eq!(asked.load(Ordering::SeqCst), times);
        }
    }

    #[tokio::test]
    async fn who_says_nothing_or_something_else_asks_for_nothing_and_keeps_nobody_waiting_for_ever() {
        let (_held, admin) = port();
        let asked = open(admin);
        let visitor = || blocking::UnixStream::connect_addr(&name(admin.port()).expect("a name")).expect("connects");
        let _silent = visitor();
        visitor().write_all(b"train\n").expect("writes");
        visitor().write_all(b"dra").expect("writes");
        assert_eq!(told(admin).await, Ok(()));
        assert_eq!(asked.load(Ordering::SeqCst), 1);
    }

    #[tokio::test]
    async fn somebody_else_is_turned_away() {
        let (_held, admin) = port();
        let mut door = SideDoor::open(admin).expect("opens");
        // As if the gateway were another user's; root may come all the same.
        door.owner = door.owner.wrapping_add(1);
        let is_root = door.owner == ROOT + 1;
        tokio::spawn(door.serve(|| {}));
        let said = told(admin).await;
        assert_eq!(said.is_ok(), is_root, "{said:?}");
        assert!(is_root || said.unwrap_err().contains("another user"));
    }

    #[tokio::test]
    async fn another_gateway_at_the_same_port_is_not_drained() {
        let (_held, admin) = port();
        let asked = open(admin);
        let other = SocketAddr::new([127, 0, 0, 2].into(), admin.port());
        assert!(told(other).await.unwrap_err().contains("another admin door"));
        assert_eq!(asked.load(Ordering::SeqCst), 0);
        let every = SocketAddr::new([0, 0, 0, 0].into(), admin.port());
        assert_eq!(told(every).await, Ok(()));
        assert_eq!(asked.load(Ordering::SeqCst), 1);
    }

    #[test]
    fn without_a_gateway_it_is_said_what_to_look_for() {
        let (_held, admin) = port();
        let error = drain(admin).expect_err("there is none");
        assert!(error.contains(&admin.to_string()) && error.contains("same pod"), "{error}");
    }

    #[tokio::test]
    async fn a_name_that_is_taken_is_an_error() {
        let (_held, admin) = port();
        let _first = SideDoor::open(admin).expect("opens");
        assert_eq!(SideDoor::open(admin).expect_err("taken").kind(), io::ErrorKind::AddrInUse);
    }
}
