//! An upstream that records the bytes it receives and answers what the test says.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

/// A request as it reached the upstream.
#[derive(Clone, Debug)]
pub(crate) struct Received {
    /// The head as it came, without the empty line.
    pub(crate) head: String,
    /// The content, chunks joined.
    pub(crate) content: Vec<u8>,
    /// Which connection it came over, counted from 1.
    pub(crate) connection: usize,
}

impl Received {
    /// The values of a field, in order.
    pub(crate) fn values(&self, name: &str) -> Vec<&str> {
        self.head
            .lines()
            .skip(1)
            .filter_map(|line| line.split_once(':'))
            .filter(|(field, _)| field.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.trim())
            .collect()
    }

    /// The only value of a field.
    #[track_caller]
    pub(crate) fn value(&self, name: &str) -> &str {
        let values = self.values(name);
        assert_eq!(values.len(), 1, "{name} in {}", self.head);
        values[0]
    }

    /// Whether a text occurs anywhere.
    pub(crate) fn mentions(&self, text: &str) -> bool {
        self.head.contains(text) || String::from_utf8_lossy(&self.content).contains(text)
    }
}

type Answer = dyn Fn(&Received, &mut TcpStream) -> Then + Send + Sync;

/// What happens to the connection after an answer.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Then {
    /// It waits for the next request.
    Keep,
    /// It is closed.
    Close,
}

/// An upstream that runs until the test ends.
pub(crate) struct Upstream {
    address: SocketAddr,
    received: Arc<Mutex<Vec<Received>>>,
    connections: Arc<AtomicUsize>,
}

impl Upstream {
    /// Answers everything with 200 and `hello`.
    pub(crate) fn hello() -> Self {
        Self::answering(|_, stream| respond(stream, "200 OK", "content-type: text/plain\r\n", b"hello"))
    }

    /// Answers with the content it was sent.
    pub(crate) fn echo() -> Self {
        Self::answering(|request, stream| respond(stream, "200 OK", "", &request.content))
    }

    /// Answers as `answer` does.
    pub(crate) fn answering(answer: impl Fn(&Received, &mut TcpStream) -> Then + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let received = Arc::new(Mutex::new(Vec::new()));
        let connections = Arc::new(AtomicUsize::new(0));
        let (log, count, answer) = (Arc::clone(&received), Arc::clone(&connections), Arc::new(answer));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (log, answer) = (Arc::clone(&log), Arc::clone(&answer));
                let number = count.fetch_add(1, Ordering::SeqCst) + 1;
                std::thread::spawn(move || serve(stream, number, &log, &*answer));
            }
        });
        Self { address, received, connections }
    }

    /// Everything it has received.
    pub(crate) fn received(&self) -> Vec<Received> {
        self.received.lock().unwrap().clone()
    }

    /// The last request it has received.
    #[track_caller]
    pub(crate) fn last(&self) -> Received {
        self.received().pop().expect("the upstream received nothing")
    }

    /// How many connections were opened to it.
    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

impl std::fmt::Display for Upstream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "http://{}", self.address)
    }
}

/// Writes a response of known length.
pub(crate) fn respond(stream: &mut TcpStream, status: &str, fields: &str, content: &[u8]) -> Then {
    let head = format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n{fields}\r\n", content.len());
    let _ = stream.write_all(&[head.as_bytes(), content].concat());
    Then::Keep
}

fn serve(mut stream: TcpStream, connection: usize, log: &Mutex<Vec<Received>>, answer: &Answer) {
    let _ = stream.set_nodelay(true);
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    while let Some(request) = read_request(&mut reader, connection) {
        log.lock().unwrap().push(request.clone());
        if answer(&request, &mut stream) == Then::Close {
            let _ = stream.shutdown(std::net::Shutdown::Both);
            return;
        }
    }
}

fn read_request(reader: &mut BufReader<TcpStream>, connection: usize) -> Option<Received> {
    let mut head = String::new();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
        if line == "\r\n" {
            break;
        }
        head.push_str(&line);
    }
    let mut request = Received { head: head.trim_end().to_owned(), content: Vec::new(), connection };
    if request.values("transfer-encoding") == ["chunked"] {
        loop {
            let mut size = String::new();
            reader.read_line(&mut size).ok()?;
            let size = usize::from_str_radix(size.trim(), 16).ok()?;
            let mut chunk = vec![0; size + 2];
            reader.read_exact(&mut chunk).ok()?;
            request.content.extend_from_slice(&chunk[..size]);
            if size == 0 {
                break;
            }
        }
    } else if let [length] = request.values("content-length")[..] {
        let mut content = vec![0; length.parse().ok()?];
        reader.read_exact(&mut content).ok()?;
        request.content = content;
    }
    Some(request)
}
