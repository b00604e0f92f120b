//! The side door: a Unix socket by which a command of this machine tells a running gateway to send its clients elsewhere.
//!
//! The admin door may be open to a whole cluster, so nothing there changes anything without a credential. This one is a
//! socket in Linux' abstract namespace: it has no address that a packet could be sent to, it needs no folder that could be
//! written to, and it is seen in its own network namespace only, which is that of a pod. Who comes must be the user whom
//! the gateway runs as, or root; the kernel says who it is. What can be asked for is one thing, which a signal would do
//! as well, but for the end of the process.
//!
//! ```text
//! drain\n      asks
//! draining\n   answers, as soon as `/readyz` says no
//! ```

use std::io::{self, Read, Write};
use std::os::unix::net as blocking;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{UnixListener, UnixStream};
use tokio::time::{sleep, timeout};

/// What is asked for.
const DRAIN: &[u8] = b"drain\n";

/// What is answered.
const DRAINING: &[u8] = b"draining\n";

/// What is answered to somebody else.
const DENIED: &[u8] = b"denied\n";

/// How long a visitor may take to say what it wants. They are heard one after the other.
const VISIT: Duration = Duration::from_millis(500);

/// How long the command waits: for its own turn, too.
const PATIENCE: Duration = Duration::from_secs(5);

/// How long nobody is let in after the system has refused to accept.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The user id of root.
const ROOT: u32 = 0;

/// A side door that is open.
#[derive(Debug)]
pub struct SideDoor {
    listener: UnixListener,
    owner: u32,
}

impl SideDoor {
    /// Opens the side door of the gateway whose admin door has this port. To be called inside a runtime.
    ///
    /// # Errors
    ///
    /// If another process has one of this name, or the system has no abstract sockets.
    pub fn open(port: u16) -> io::Result<Self> {
        let listener = blocking::UnixListener::bind_addr(&name(port)?)?;
        listener.set_nonblocking(true)?;
        // Both ends of a pair are ours, so what the kernel says of one of them is who we are.
        let (here, _there) = UnixStream::pair()?;
        Ok(Self { listener: UnixListener::from_std(listener)?, owner: here.peer_cred()?.uid() })
    }

    /// Calls `drain` each time that it is asked for, before that is answered. Never ends.
    pub async fn serve(self, drain: impl Fn()) {
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
    async fn hear(&self, mut visitor: UnixStream, drain: &impl Fn()) -> io::Result<()> {
        let user = visitor.peer_cred()?.uid();
        if user != self.owner && user != ROOT {
            tracing::warn!(user, "somebody else was turned away at the side door");
            return visitor.write_all(DENIED).await;
        }
        let mut asked = [0; DRAIN.len()];
        visitor.read_exact(&mut asked).await?;
        if asked == DRAIN {
            drain();
            visitor.write_all(DRAINING).await?;
        }
        Ok(())
    }
}

/// Asks the gateway whose admin door has this port to send its clients elsewhere. Blocks for ten seconds at most.
///
/// # Errors
///
/// A sentence for the operator: there is no such gateway, or it is another user's.
pub fn drain(port: u16) -> Result<(), String> {
    let answer = ask(port).map_err(|error| {
        format!(
            "no answer from a gateway whose admin door has port {port}: {error}; it must run in the same network \
             namespace (the same pod), and its admin door must not be `off`"
        )
    })?;
    match answer.as_slice() {
        DRAINING => Ok(()),
        DENIED => Err("the gateway runs as another user; run this command as that user".to_owned()),
        _ => Err(format!("what listens for the admin door at port {port} is no gateway")),
    }
}

fn ask(port: u16) -> io::Result<Vec<u8>> {
    let mut stream = blocking::UnixStream::connect_addr(&name(port)?)?;
    stream.set_write_timeout(Some(PATIENCE))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    // Who is turned away is told so before he has asked, and the answer is there although this fails.
    let asked = stream.write_all(DRAIN);
    let mut answer = Vec::new();
    stream.take(DRAINING.len() as u64 + 1).read_to_end(&mut answer)?;
    if answer.is_empty() {
        asked?;
    }
    Ok(answer)
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
    fn port() -> (std::net::TcpListener, u16) {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("binds");
        let port = listener.local_addr().expect("bound").port();
        (listener, port)
    }

    /// A door that counts how often a drain was asked for.
    fn open(port: u16) -> Arc<AtomicUsize> {
        let door = SideDoor::open(port).expect("opens");
        let asked = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&asked);
        tokio::spawn(door.serve(move || {
            counted.fetch_add(1, Ordering::SeqCst);
        }));
        asked
    }

    async fn told(port: u16) -> Result<(), String> {
        tokio::task::spawn_blocking(move || drain(port)).await.expect("runs")
    }

    #[tokio::test]
    async fn it_is_done_when_it_is_answered() {
        let (_held, port) = port();
        let asked = open(port);
        for times in 1..4 {
            assert_eq!(told(port).await, Ok(()));
            assert_eq!(asked.load(Ordering::SeqCst), times);
        }
    }

    #[tokio::test]
    async fn who_says_nothing_or_something_else_asks_for_nothing_and_keeps_nobody_waiting_for_ever() {
        let (_held, port) = port();
        let asked = open(port);
        let visitor = || blocking::UnixStream::connect_addr(&name(port).expect("a name")).expect("connects");
        let _silent = visitor();
        visitor().write_all(b"train\n").expect("writes");
        visitor().write_all(b"dra").expect("writes");
        assert_eq!(told(port).await, Ok(()));
        assert_eq!(asked.load(Ordering::SeqCst), 1);
    }

    #[tokio::test]
    async fn somebody_else_is_turned_away() {
        let (_held, port) = port();
        let mut door = SideDoor::open(port).expect("opens");
        // As if the gateway were another user's; root may come all the same.
        door.owner = door.owner.wrapping_add(1);
        let is_root = door.owner == ROOT + 1;
        tokio::spawn(door.serve(|| {}));
        let said = told(port).await;
        assert_eq!(said.is_ok(), is_root, "{said:?}");
        assert!(is_root || said.unwrap_err().contains("another user"));
    }

    #[test]
    fn without_a_gateway_it_is_said_what_to_look_for() {
        let (_held, port) = port();
        let error = drain(port).expect_err("there is none");
        assert!(error.contains(&format!("port {port}")) && error.contains("same pod"), "{error}");
    }

    #[tokio::test]
    async fn a_name_that_is_taken_is_an_error() {
        let (_held, port) = port();
        let _first = SideDoor::open(port).expect("opens");
        assert_eq!(SideDoor::open(port).expect_err("taken").kind(), io::ErrorKind::AddrInUse);
    }
}
