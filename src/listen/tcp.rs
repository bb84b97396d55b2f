//! TCP addresses: both loopback families on one port, or a clear reason why not.

use std::io;
use std::net::{SocketAddr, TcpListener};

use super::listener::BoundSocket;
use super::{Error, backlog};
use crate::peer::ProcessInfo;
use crate::tcp_options::{CALLER_USER_TIMEOUT, bound_silence};

/// Binds `addresses`. Port 0 is chosen once and shared by all addresses with port 0. A family that
/// this machine does not have is left out, as long as one address remains.
///
/// # Errors
///
/// [`Error::InUse`] with the process that holds the port, [`Error::Bind`] for everything else.
pub fn bind(addresses: &[SocketAddr]) -> Result<Vec<BoundSocket>, Error> {
    for _ in 0..MAX_PORT_ATTEMPTS {
        match bind_once(addresses) {
            // The port that was free on one family is taken on the other: choose again.
            Err(Error::InUse { .. }) if addresses.iter().all(|address| address.port() == 0) => {}
            other => return other,
        }
    }
    bind_once(addresses)
}

fn bind_once(addresses: &[SocketAddr]) -> Result<Vec<BoundSocket>, Error> {
    let mut bound = vec![];
    let mut chosen = None;
    let mut left_out = None;
    for &wanted in addresses {
        let mut address = wanted;
        if wanted.port() == 0 {
            address.set_port(chosen.unwrap_or(0));
        }
        match listen(address) {
            Ok(listener) => {
                if wanted.port() == 0 {
                    chosen = listener.local_addr().ok().map(|address| address.port());
                }
                bound.push(BoundSocket::Tcp(listener));
            }
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                return Err(Error::InUse { address, holder: ProcessInfo::listening_on(address) });
            }
            Err(source) if is_missing_family(&source) => {
                tracing::warn!(%address, error = %source, "this address is not available here");
                left_out = Some(Error::Bind { address, source });
            }
            Err(source) => return Err(Error::Bind { address, source }),
        }
    }
    match left_out {
        Some(error) if bound.is_empty() => Err(error),
        Some(_) | None => Ok(bound),
    }
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let listener = TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    bound_silence(&listener, CALLER_USER_TIMEOUT);
    backlog::extend(&listener)?;
    Ok(listener)
}

/// A machine without IPv6 has no `::1`.
fn is_missing_family(error: &io::Error) -> bool {
    #[cfg(unix)]
    let unsupported = error.raw_os_error() == Some(nix::errno::Errno::EAFNOSUPPORT as i32);
    #[cfg(not(unix))]
    let unsupported = false;
    unsupported || error.kind() == io::ErrorKind::AddrNotAvailable
}

/// Tries to find a port that is free on every family.
const MAX_PORT_ATTEMPTS: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_port_is_chosen_for_both_families() {
        let both = ["127.0.0.1:0", "[::1]:0"].map(|text| text.parse().unwrap());
        let ports: Vec<u16> = bind(&both).unwrap().iter().map(port).collect();

        assert!(ports.iter().all(|port| *port == ports[0] && *port != 0), "{ports:?}");
    }

    #[test]
    fn a_port_in_use_names_who_holds_it() {
        let first = bind(&["127.0.0.1:0".parse().unwrap()]).unwrap();
        let taken = SocketAddr::from(([127, 0, 0, 1], port(&first[0])));

        let error = bind(&[taken]).unwrap_err();

        let Error::InUse { address, holder } = error else { panic!("{error}") };
        assert_eq!(address, taken);
        #[cfg(target_os = "linux")]
        assert_eq!(holder.unwrap().pid, std::process::id());
        #[cfg(not(target_os = "linux"))]
        drop(holder);
    }

    fn port(bound: &BoundSocket) -> u16 {
        bound.address().unwrap().port()
    }
}
