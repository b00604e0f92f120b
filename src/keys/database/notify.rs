//! How a command, or a gateway, tells the gateways that run on a store that it has changed, and waits until the change is in
//! force.
//!
//! ```text
//! command   sync 17\n
//! gateway   ok 17\n         the store is known here up to revision 17 or later
//!           behind 12\n     it could not be read so far; whoever asks must not believe that the change is in force
//! ```
//!
//! The gateway listens on a Unix socket beside the file of the store: `<file>.sock`, mode 0600. Several gateways may run
//! on one store, so there are places for a few of them, `<file>.sock.2` and so on, and a command tells them all, as each of
//! them tells the others of what it has written itself. A socket
//! that a gateway has left behind when it died is replaced by the next. All symbolic links are followed first, so that both
//! sides meet whatever they call the store.
//!
//! Nothing secret is said, and nothing but "look again" can be asked for.

use std::fs::{self, File};
use std::future::Future;
use std::io::{self, BufRead, BufReader, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener as StdListener, UnixStream as StdStream};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};

use super::record::Revision;

/// How long a command waits for the answer of a gateway.
pub const ANSWER_WAIT: Duration = Duration::from_secs(5);

/// How long a gateway waits for each of the others. Less than a command: somebody waits for its own answer meanwhile.
pub const PEER_WAIT: Duration = Duration::from_secs(1);

/// Gateways that may listen for one store.
const PLACES: usize = 8;

/// Bytes a line may have.
const LINE_BYTES_MAX: u64 = 64;

/// How long a gateway waits for the line of a command. Shorter than commands wait: one that hangs must not make the next
/// one give up.
const LINE_WAIT: Duration = Duration::from_secs(1);

/// How long to wait for another gateway that is starting.
const LOCK_WAIT: Duration = Duration::from_secs(5);

/// Bytes of a path that a socket can have, less one for the end.
const SOCKET_PATH_BYTES_MAX: usize = 107;

/// Whom a change was announced to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Announced {
    /// Gateways in which the change is in force now. None running: none to tell.
    pub gateways: usize,
}

/// A gateway runs, and did not say that the change is in force. The change itself is stored.
#[derive(Debug, thiserror::Error)]
pub enum AnnounceError {
    /// It did not answer in time.
    #[error("the change is stored, but there was no answer within {} s from a running gateway", .waited.as_secs())]
    Late {
        /// How long it had.
        waited: Duration,
    },
    /// It could not be asked, or broke off.
    #[error("the change is stored, but a running gateway did not confirm that it is in force")]
    Silent {
        /// What happened.
        source: io::Error,
    },
    /// It could not take the change.
    #[error("the change is stored, but a running gateway could not take it; its log says why")]
    Behind,
}

/// Says to all gateways that listen for the store at `path` that it was written up to `revision`, and waits until each
/// has taken what is new; up to [`ANSWER_WAIT`]. Blocks.
///
/// # Errors
///
/// [`AnnounceError`] if one of them listens and does not confirm.
pub fn announce(path: &Path, revision: Revision) -> Result<Announced, AnnounceError> {
    let deadline = Instant::now() + ANSWER_WAIT;
    let left = || deadline.saturating_duration_since(Instant::now());
    announce_to(&real(path), |socket| say(socket, revision, left(), ANSWER_WAIT))
}

/// As [`announce`], by the gateway that listens at the socket `own` and knows already; waits up to [`PEER_WAIT`] for each of
/// the others. Blocks.
///
/// # Errors
///
/// As [`announce`].
pub fn announce_to_others(path: &Path, revision: Revision, own: &Path) -> Result<Announced, AnnounceError> {
    announce_to(
        &real(path),
        |socket| {
            if socket == own { Ok(false) } else { say(socket, revision, PEER_WAIT, PEER_WAIT) }
        },
    )
}

/// Tells all the places beside the store at `path`; `tell` says whether there was somebody.
fn announce_to(path: &Path, tell: impl Fn(&Path) -> Result<bool, AnnounceError>) -> Result<Announced, AnnounceError> {
    let mut announced = Announced { gateways: 0 };
    let mut failed = None;
    for place in 0..PLACES {
        match tell(&socket_path(path, place)) {
            Ok(true) => announced.gateways += 1,
            Ok(false) => {}
            // The others are told nevertheless.
            Err(error) => failed = Some(error),
        }
    }
    failed.map_or(Ok(announced), Err)
}

/// Says it to one gateway, which has `left` of the time that it is `waited` for in all; `false` if there is none.
fn say(socket: &Path, revision: Revision, left: Duration, waited: Duration) -> Result<bool, AnnounceError> {
    let silent = |source: io::Error| {
        // Either is what the system calls a timeout of a socket.
        let late = matches!(source.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut);
        if late { AnnounceError::Late { waited } } else { AnnounceError::Silent { source } }
    };
    if fs::symlink_metadata(socket).is_err() {
        return Ok(false);
    }
    let near = Near::of(socket).map_err(silent)?;
    let mut stream = match StdStream::connect(&near.path) {
        Ok(stream) => stream,
        Err(error) if matches!(error.kind(), io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound) => {
            return Ok(false);
        }
        Err(error) => return Err(silent(error)),
    };
    // A timeout of zero would be none at all.
    let left = left.max(Duration::from_millis(1));
    stream.set_read_timeout(Some(left)).map_err(silent)?;
    stream.set_write_timeout(Some(left)).map_err(silent)?;
    let mut answer = String::new();
    stream
        .write_all(format!("sync {revision}\n").as_bytes())
        .and_then(|()| BufReader::new(io::Read::take(stream, LINE_BYTES_MAX)).read_line(&mut answer))
        .map_err(silent)?;
    match parsed("ok", &answer) {
        Some(known) if known >= revision => Ok(true),
        Some(_) => Err(AnnounceError::Behind),
        None if parsed("behind", &answer).is_some() => Err(AnnounceError::Behind),
        None => Err(silent(io::ErrorKind::UnexpectedEof.into())),
    }
}

/// `<word> <revision>\n`, and nothing else.
fn parsed(word: &str, line: &str) -> Option<Revision> {
    line.strip_suffix('\n')?.strip_prefix(word)?.strip_prefix(' ')?.parse().ok()
}

/// The listening side.
///
/// The socket is there from [`Announcements::listen`] on, so a command that comes before [`Announcements::serve`] waits.
/// It is removed when this is dropped.
#[derive(Debug)]
pub struct Announcements {
    listener: UnixListener,
    path: PathBuf,
    inode: (u64, u64),
}

impl Announcements {
    /// Listens beside the store at `path`. Must be called within a tokio runtime; blocks shortly.
    ///
    /// # Errors
    ///
    /// If the socket cannot be made, something that is no socket is in its place, or more than eight gateways listen
    /// already.
    pub fn listen(path: &Path) -> io::Result<Self> {
        let path = &real(path);
        let _lock = lock(path)?;
        for place in 0..PLACES {
            let socket = socket_path(path, place);
            if is_taken(&socket)? {
                continue;
            }
            let listener = bind(&socket)?;
            listener.set_nonblocking(true)?;
            let metadata = fs::symlink_metadata(&socket)?;
            let listener = UnixListener::from_std(listener)?;
            return Ok(Self { listener, path: socket, inode: (metadata.dev(), metadata.ino()) });
        }
        Err(io::Error::new(io::ErrorKind::AddrInUse, format!("{PLACES} gateways listen for this store already")))
    }

    /// The path of the socket.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Answers commands for ever, one after the other. `take` takes what is new in the store and returns the revision up
    /// to which it is in force when it is done; it is given the one that was announced.
    pub async fn serve<F: Future<Output = Revision>>(self, take: impl Fn(Revision) -> F) {
        loop {
            match self.listener.accept().await {
                // Who breaks off hears nothing; that is all.
                Ok((stream, _)) => drop(answer(stream, &take).await),
                // Out of file descriptors, for example: it may pass.
                Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
            }
        }
    }
}

impl Drop for Announcements {
    fn drop(&mut self) {
        // Not somebody else's, who has taken the place in the meantime.
        let ours = fs::symlink_metadata(&self.path).is_ok_and(|found| (found.dev(), found.ino()) == self.inode);
        if ours {
            // Best effort: a socket that is left behind is replaced by the next gateway.
            drop(fs::remove_file(&self.path));
        }
    }
}

async fn answer<F: Future<Output = Revision>>(mut stream: UnixStream, take: &impl Fn(Revision) -> F) -> io::Result<()> {
    let mut line = String::new();
    let reading = async {
        let (reader, _) = stream.split();
        tokio::io::BufReader::new(reader.take(LINE_BYTES_MAX)).read_line(&mut line).await
    };
    tokio::time::timeout(LINE_WAIT, reading).await??;
    let Some(announced) = parsed("sync", &line) else { return Ok(()) };
    let known = take(announced).await;
    let word = if known >= announced { "ok" } else { "behind" };
    tokio::time::timeout(LINE_WAIT, stream.write_all(format!("{word} {known}\n").as_bytes())).await?
}

/// The store's own path, without symbolic links; of one that is not there, by way of its folder. What cannot be followed
/// stays as it is.
fn real(path: &Path) -> PathBuf {
    let by_folder = || Some(fs::canonicalize(directory_of(path)).ok()?.join(path.file_name()?));
    fs::canonicalize(path).ok().or_else(by_folder).unwrap_or_else(|| path.to_owned())
}

fn socket_path(path: &Path, place: usize) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".sock");
    if place > 0 {
        name.push(format!(".{}", place + 1));
    }
    name.into()
}

/// Says whether a gateway listens there.
fn is_taken(socket: &Path) -> io::Result<bool> {
    match fs::symlink_metadata(socket) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(error),
        Ok(metadata) if metadata.file_type().is_socket() => {}
        Ok(_) => {
            let message =
                format!("{}: is not a socket; it stands where the socket of the store shall be", socket.display());
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, message));
        }
    }
    match StdStream::connect(&Near::of(socket)?.path) {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Ok(false),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        // A full queue, for example: somebody is there.
        Err(_) => Ok(true),
    }
}

/// Makes the socket under another name and renames it: at no instant has it another mode, and what was left behind is
/// replaced in one step.
fn bind(socket: &Path) -> io::Result<StdListener> {
    let mut unfinished = socket.as_os_str().to_owned();
    unfinished.push(".new");
    let unfinished = PathBuf::from(unfinished);
    match fs::remove_file(&unfinished) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let listener = StdListener::bind(&Near::of(&unfinished)?.path)?;
    fs::set_permissions(&unfinished, fs::Permissions::from_mode(0o600))?;
    fs::rename(&unfinished, socket)?;
    Ok(listener)
}

/// Two gateways that start at once must not remove one another's socket. The lock dies with its holder.
fn lock(path: &Path) -> io::Result<File> {
    let directory = File::open(directory_of(path))?;
    let start = Instant::now();
    loop {
        match directory.try_lock() {
            Ok(()) => return Ok(directory),
            Err(fs::TryLockError::WouldBlock) if start.elapsed() < LOCK_WAIT => {
                thread::sleep(Duration::from_millis(10));
            }
            Err(error) => return Err(error.into()),
        }
    }
}

fn directory_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        Some(_) | None => Path::new("."),
    }
}

/// A path that is short enough for a socket: the system takes 107 bytes. A longer one is named by way of its open
/// directory, which must stay open as long as the path is used.
struct Near {
    path: PathBuf,
    _directory: Option<File>,
}

impl Near {
    fn of(socket: &Path) -> io::Result<Self> {
        if socket.as_os_str().len() <= SOCKET_PATH_BYTES_MAX {
            return Ok(Self { path: socket.to_owned(), _directory: None });
        }
        let directory = File::open(directory_of(socket))?;
        let mut path = PathBuf::from(format!("/proc/self/fd/{}", directory.as_raw_fd()));
        path.extend(socket.file_name());
        Ok(Self { path, _directory: Some(directory) })
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};

    use tempfile::TempDir;

    use super::*;

    fn place() -> (TempDir, PathBuf) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("k.db");
        (directory, path)
    }

    async fn say_so(path: &Path, revision: u64) -> Result<Announced, AnnounceError> {
        let path = path.to_owned();
        tokio::task::spawn_blocking(move || announce(&path, Revision(revision))).await.unwrap()
    }

    fn one() -> Announced {
        Announced { gateways: 1 }
    }

    /// Starts to listen, and takes everything at once.
    fn listening(path: &Path) -> tokio::task::JoinHandle<()> {
        tokio::spawn(Announcements::listen(path).unwrap().serve(|revision| async move { revision }))
    }

    #[tokio::test]
    async fn without_a_gateway_there_is_nothing_to_do() {
        let (_directory, path) = place();
        assert_eq!(say_so(&path, 1).await.unwrap(), Announced { gateways: 0 });
        drop(StdListener::bind(socket_path(&path, 0)).unwrap());
        assert_eq!(say_so(&path, 1).await.unwrap(), Announced { gateways: 0 }, "one that has died");
    }

    #[tokio::test]
    async fn a_command_returns_when_the_change_is_taken_and_not_before() {
        let (_directory, path) = place();
        let taken = Arc::new(AtomicU64::new(0));
        let announcements = Announcements::listen(&path).unwrap();
        let noted = Arc::clone(&taken);
        let gateway = tokio::spawn(announcements.serve(move |revision| {
            let noted = Arc::clone(&noted);
            async move {
                tokio::time::sleep(Duration::from_millis(100)).await;
                noted.store(revision.0, Ordering::SeqCst);
                revision
            }
        }));
        for revision in [7, 8] {
            assert_eq!(say_so(&path, revision).await.unwrap(), one());
            assert_eq!(taken.load(Ordering::SeqCst), revision);
        }
        gateway.abort();
    }

    #[tokio::test]
    async fn a_gateway_that_could_not_take_the_change_is_not_believed() {
        let (_directory, path) = place();
        let announcements = Announcements::listen(&path).unwrap();
        let gateway = tokio::spawn(announcements.serve(|_| async { Revision(6) }));
        assert!(matches!(say_so(&path, 7).await, Err(AnnounceError::Behind)));
        assert_eq!(say_so(&path, 6).await.unwrap(), one());
        gateway.abort();
    }

    #[tokio::test]
    async fn a_gateway_that_does_not_answer_is_not_waited_for_for_ever() {
        let (_directory, path) = place();
        let _silent = Announcements::listen(&path).unwrap();
        let start = Instant::now();
        let error = say_so(&path, 1).await.unwrap_err();
        assert!((5..7).contains(&start.elapsed().as_secs()), "{:?}", start.elapsed());
        let error = format!("{:#}", anyhow::Error::from(error));
        assert_eq!(error, "the change is stored, but there was no answer within 5 s from a running gateway");
    }

    #[tokio::test]
    async fn a_gateway_that_breaks_off_is_told_of_with_the_cause_once() {
        let (_directory, path) = place();
        let listener = StdListener::bind(socket_path(&path, 0)).unwrap();
        let gateway = thread::spawn(move || {
            let (stream, _) = listener.accept().unwrap();
            BufReader::new(stream).read_line(&mut String::new()).unwrap();
        });
        let error = format!("{:#}", anyhow::Error::from(say_so(&path, 1).await.unwrap_err()));
        assert_eq!(
            error,
            "the change is stored, but a running gateway did not confirm that it is in force: unexpected end of file"
        );
        gateway.join().unwrap();
    }

    #[tokio::test]
    async fn every_gateway_of_the_store_is_told_and_a_dead_one_gives_its_place_away() {
        let (directory, path) = place();
        let gateways = [listening(&path), listening(&path), listening(&path)];
        assert_eq!(say_so(&path, 1).await.unwrap().gateways, 3);
        let (store, own) = (path.clone(), real(&path).with_extension("db.sock.2"));
        let others = tokio::task::spawn_blocking(move || announce_to_others(&store, Revision(1), &own));
        assert_eq!(others.await.unwrap().unwrap().gateways, 2, "the one that tells knows");
        gateways[0].abort();
        while path.with_extension("db.sock").exists() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        assert_eq!(say_so(&path, 1).await.unwrap().gateways, 2);
        // Killed: its socket is left behind.
        drop(StdListener::bind(socket_path(&path, 0)).unwrap());
        let again = listening(&path);
        assert_eq!(say_so(&path, 1).await.unwrap().gateways, 3);
        let mut names: Vec<_> =
            fs::read_dir(directory.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        assert_eq!(names, ["k.db.sock", "k.db.sock.2", "k.db.sock.3"]);
        again.abort();
    }

    #[tokio::test]
    async fn the_socket_is_its_owners_alone_and_goes_with_the_gateway() {
        let (directory, path) = place();
        let announcements = Announcements::listen(&path).unwrap();
        assert_eq!(fs::metadata(announcements.path()).unwrap().mode() & 0o7777, 0o600);
        drop(announcements);
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
    }

    #[tokio::test]
    async fn both_sides_meet_whatever_symbolic_link_each_of_them_comes_by() {
        let (directory, path) = place();
        let at = |name: &str| directory.path().join(name);
        fs::create_dir(at("elsewhere")).unwrap();
        symlink(&path, at("elsewhere/link.db")).unwrap();
        symlink(directory.path(), at("folder")).unwrap();
        // Without the file, links to its folder are followed.
        let gateway = listening(&at("folder/k.db"));
        assert_eq!(say_so(&path, 1).await.unwrap(), one());
        fs::write(&path, "").unwrap();
        for (listens, says) in [("k.db", "elsewhere/link.db"), ("elsewhere/link.db", "folder/k.db")] {
            let another = listening(&at(listens));
            assert_eq!(say_so(&at(says), 1).await.unwrap(), Announced { gateways: 2 }, "{listens} {says}");
            another.abort();
            while at("k.db.sock.2").exists() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }
        gateway.abort();
    }

    #[tokio::test]
    async fn nothing_but_a_socket_is_ever_removed() {
        let (_directory, path) = place();
        fs::write(socket_path(&path, 0), "mine").unwrap();
        let error = Announcements::listen(&path).unwrap_err().to_string();
        assert!(error.contains("is not a socket"), "{error}");
        assert_eq!(fs::read_to_string(socket_path(&path, 0)).unwrap(), "mine");

        let (_directory, path) = place();
        let announcements = Announcements::listen(&path).unwrap();
        fs::remove_file(announcements.path()).unwrap();
        fs::write(announcements.path(), "mine").unwrap();
        let socket = announcements.path().to_owned();
        drop(announcements);
        assert_eq!(fs::read_to_string(socket).unwrap(), "mine");
    }

    #[tokio::test]
    async fn a_store_may_lie_deep() {
        let directory = tempfile::tempdir().unwrap();
        let deep = directory.path().join("a".repeat(90)).join("b".repeat(90));
        fs::create_dir_all(&deep).unwrap();
        let path = deep.join("k.db");
        let gateway = listening(&path);
        assert_eq!(say_so(&path, 3).await.unwrap(), one());
        gateway.abort();
    }

    #[tokio::test]
    async fn who_says_something_else_or_nothing_hears_nothing_and_hinders_nobody() {
        let (_directory, path) = place();
        let gateway = listening(&path);
        for line in ["", "sync\n", "sync x\n", "sync -1\n", "SYNC 1\n", "sync 1", "stop\n", &"x".repeat(1000)] {
            let mut stream = UnixStream::connect(socket_path(&path, 0)).await.unwrap();
            // It may have hung up already.
            drop(stream.write_all(line.as_bytes()).await);
            drop(stream.shutdown().await);
            let mut answer = Vec::new();
            drop(stream.read_to_end(&mut answer).await);
            assert!(answer.is_empty(), "{line:?}");
        }
        let hanging = UnixStream::connect(socket_path(&path, 0)).await.unwrap();
        assert_eq!(say_so(&path, 1).await.unwrap(), one());
        drop(hanging);
        gateway.abort();
    }
}
