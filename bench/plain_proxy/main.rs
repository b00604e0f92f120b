//! A proxy of hyper alone: a server connection on one side, a client connection on the other, and nothing between. What
//! it allocates for a request, keygate cannot avoid (bench/instructions.py).
//!
//!     plain_proxy LISTEN UPSTREAM

use std::cell::RefCell;
use std::error::Error;
use std::rc::Rc;

use hyper::body::Incoming;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::LocalSet;

type Idle = Rc<RefCell<Vec<SendRequest<Incoming>>>>;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(listen), Some(upstream)) = (arguments.next(), arguments.next()) else {
        return Err("usage: plain_proxy LISTEN UPSTREAM".into());
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    LocalSet::new().block_on(&runtime, accept(listen, upstream.into()))
}

async fn accept(listen: String, upstream: Rc<str>) -> Result<(), Box<dyn Error>> {
    let listener = TcpListener::bind(listen).await?;
    let idle = Idle::default();
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let (idle, upstream) = (Rc::clone(&idle), Rc::clone(&upstream));
        let service = service_fn(move |request| answer(request, Rc::clone(&idle), Rc::clone(&upstream)));
        tokio::task::spawn_local(
            http1::Builder::new().timer(TokioTimer::new()).serve_connection(TokioIo::new(stream), service),
        );
    }
}

/// Forwards a request as it is. If the upstream cannot be had, the connection to the client ends.
async fn answer(
    request: Request<Incoming>,
    idle: Idle,
    upstream: Rc<str>,
) -> Result<Response<Incoming>, Box<dyn Error + Send + Sync>> {
    let kept = idle.borrow_mut().pop();
    let mut sender = match kept {
        Some(sender) => sender,
        None => connect(&upstream).await?,
    };
    sender.ready().await?;
    let response = sender.send_request(request).await?;
    idle.borrow_mut().push(sender);
    Ok(response)
}

async fn connect(upstream: &str) -> Result<SendRequest<Incoming>, Box<dyn Error + Send + Sync>> {
    let stream = TcpStream::connect(upstream).await?;
    stream.set_nodelay(true)?;
    let (sender, connection) = handshake(TokioIo::new(stream)).await?;
    tokio::task::spawn_local(async move {
        // How it ends is told to the request that was on it.
        let _ = connection.await;
    });
    Ok(sender)
}
