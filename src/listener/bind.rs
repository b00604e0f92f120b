//! The listening sockets: one for each worker, all at the same address.
//!
//! With `SO_REUSEPORT` the kernel spreads new connections over the sockets of the workers, so that workers share
//! nothing. The same option lets *another* process join in silently and take half of our connections; a probe without
//! the option, made first, finds it.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};

use socket2::{Domain, Protocol, Socket, Type};

/// What Linux says of a family of addresses that it does not have.
const EAFNOSUPPORT: i32 = 97;

/// Connections that may wait to be accepted, for each worker. The kernel lowers it to `net.core.somaxconn`.
const BACKLOG: i32 = 4096;

/// Opens one listening socket for each of `workers` (at least one), non-blocking.
///
/// Port 0 takes a free port, the same for all workers. An unspecified IPv6 address listens to IPv4 as well, and on a machine
/// without IPv6 to IPv4 alone.
///
/// # Errors
///
/// The error of the operating system, with the address and what can be done about it.
pub fn bind(address: SocketAddr, workers: usize) -> io::Result<Vec<TcpListener>> {
    let bound = bind_all(address, workers);
    let bound = match (&bound, address.ip()) {
        (Err(error), IpAddr::V6(Ipv6Addr::UNSPECIFIED)) if is_without_ipv6(error) => {
            tracing::warn!(%address, "this machine has no IPv6; listening on IPv4 alone");
            bind_all(SocketAddr::from((Ipv4Addr::UNSPECIFIED, address.port())), workers)
        }
        _ => bound,
    };
    bound.map_err(|error| explain(address, &error))
}

/// Whether the system has no such addresses at all: `EAFNOSUPPORT`, for which `io::ErrorKind` has no name.
fn is_without_ipv6(error: &io::Error) -> bool {
    error.raw_os_error() == Some(EAFNOSUPPORT)
}

fn bind_all(address: SocketAddr, workers: usize) -> io::Result<Vec<TcpListener>> {
    let shared = workers > 1;
    if shared && address.port() != 0 {
        drop(bound(address, false)?);
    }
    let first = listening(address, shared)?;
    let address = first.local_addr()?;

    let mut sockets = vec![first];
    for _ in 1..workers {
        sockets.push(listening(address, shared)?);
    }
    Ok(sockets)
}

fn listening(address: SocketAddr, shared: bool) -> io::Result<TcpListener> {
    let socket = bound(address, shared)?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

fn bound(address: SocketAddr, shared: bool) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    // A restart must not wait for the connections of the last run to leave TIME_WAIT.
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(shared)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    Ok(socket)
}

/// The same error with the address and a way out.
fn explain(address: SocketAddr, error: &io::Error) -> io::Error {
    let advice = if error.kind() == io::ErrorKind::AddrInUse {
        "something already listens there: stop it, or choose another address"
    } else if error.kind() == io::ErrorKind::PermissionDenied {
        "ports below 1024 need CAP_NET_BIND_SERVICE: grant it, or choose a port from 1024 up"
    } else if error.kind() == io::ErrorKind::AddrNotAvailable {
        "no interface of this machine has this address: use one that `ip address` shows, or 0.0.0.0"
    } else {
        "check the address and the limits of the process"
    };
    io::Error::new(error.kind(), format!("cannot listen on {address}: {error}; {advice}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpStream;

    const LOCAL: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

    #[test]
    fn all_workers_get_the_same_free_port() {
        let sockets = bind(LOCAL, 3).unwrap();
        let ports: Vec<u16> = sockets.iter().map(|socket| socket.local_addr().unwrap().port()).collect();
        assert_eq!(ports.len(), 3);
        assert_ne!(ports[0], 0);
        assert!(ports.iter().all(|port| *port == ports[0]), "{ports:?}");
    }

    #[test]
    fn sockets_do_not_block() {
        let socket = bind(LOCAL, 1).unwrap().remove(0);
        assert_eq!(socket.accept().unwrap_err().kind(), io::ErrorKind::WouldBlock);
    }

    #[test]
    fn an_address_in_use_is_refused_with_advice_also_when_its_holder_would_share() {
        for (row, held, wanted) in [("one and one", 1, 1), ("shared and shared", 2, 2), ("shared and one", 2, 1)] {
            let sockets = bind(LOCAL, held).unwrap();
            let address = sockets[0].local_addr().unwrap();
            let error = bind(address, wanted).expect_err(row);
            assert_eq!(error.kind(), io::ErrorKind::AddrInUse, "{row}");
            let text = error.to_string();
            assert!(text.contains(&address.to_string()), "{row}: {text}");
            assert!(text.contains("choose another address"), "{row}: {text}");
        }
    }

    #[test]
    fn an_address_of_nobody_is_named() {
        let error = bind("192.0.2.1:0".parse().unwrap(), 2).unwrap_err();
        assert!(error.to_string().starts_with("cannot listen on 192.0.2.1:0: "), "{error}");
    }

    #[test]
    fn only_a_machine_without_ipv6_is_one() {
        assert!(is_without_ipv6(&io::Error::from_raw_os_error(EAFNOSUPPORT)));
        for error in [io::ErrorKind::AddrInUse, io::ErrorKind::AddrNotAvailable, io::ErrorKind::PermissionDenied] {
            assert!(!is_without_ipv6(&error.into()), "{error}");
        }
    }

    #[test]
    fn the_unspecified_ipv6_address_hears_ipv4() {
        let Ok(sockets) = bind(SocketAddr::new(IpAddr::V6(Ipv6Addr::UNSPECIFIED), 0), 1) else {
            return; // A machine without IPv6.
        };
        let port = sockets[0].local_addr().unwrap().port();
        TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
    }
}
