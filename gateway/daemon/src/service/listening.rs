//! Addresses that a service listens on: taken before anything is opened, so that one in use is said at once.

use std::io;
use std::net::SocketAddr;

use nix::sys::socket::{setsockopt, sockopt};
use tokio::net::TcpSocket;

use crate::exit::{Exit, Failure};

/// Who listens, for what is said where it cannot.
pub(super) struct Listener {
    opens: &'static str,
    key: &'static str,
    /// Who may have the address, beyond what `ss` shows.
    rival: &'static str,
}

pub(super) const NFS: Listener =
    Listener { opens: "open the NFS door", key: "[nfs] listen", rival: "; it may be the kernel's NFS server" };
pub(super) const ADMIN: Listener = Listener { opens: "open the admin interface", key: "[admin] listen", rival: "" };

impl Listener {
    /// Takes `address`; nothing listens yet.
    ///
    /// # Errors
    /// One line that names the address and what to do.
    pub(super) fn take(&self, address: SocketAddr) -> Result<TcpSocket, Failure> {
        socket(address).map_err(|error| self.refused(address, &error))
    }

    pub(super) fn refused(&self, address: SocketAddr, error: &io::Error) -> Failure {
        use io::ErrorKind::{AddrInUse, AddrNotAvailable, PermissionDenied};
        let key = self.key;
        let (exit, why) = match error.kind() {
            AddrInUse => {
                let rival = self.rival;
                let why = "another program has this address: end it (`ss -ltnp` names it";
                (Exit::InUse, format!("{why}{rival}), or choose another in {key}"))
            }
            AddrNotAvailable => (Exit::Failure, format!("this machine does not have this address: correct {key}")),
            PermissionDenied => {
                let why = "ports below 1024 are root's: choose another in";
                (Exit::Failure, format!("{why} {key}, or run this as root"))
            }
            _ => (Exit::Failure, error.to_string()),
        };
        Failure::refuse(self.opens, address, why).with_exit(exit)
    }
}

fn socket(address: SocketAddr) -> io::Result<TcpSocket> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    // Connections of an earlier life that wait for their end do not hold the port.
    socket.set_reuseaddr(true)?;
    if address.is_ipv6() {
        // `[::]` beside `0.0.0.0`, each what it says.
        setsockopt(&socket, sockopt::Ipv6V6Only, &true)?;
    }
    socket.bind(address)?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_in_use_is_named_with_what_to_do() {
        let other = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = other.local_addr().expect("an address");
        for (listener, key) in [(NFS, "[nfs] listen"), (ADMIN, "[admin] listen")] {
            let failure = listener.take(address).map(drop).expect_err("taken");
            assert_eq!(failure.exit, Exit::InUse);
            assert!(failure.message.contains(&address.to_string()) && failure.message.contains(key));
        }
    }
}
