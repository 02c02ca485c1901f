//! Clients of a share: addresses, networks, and names of machines.
//!
//! A name is looked up when it is set and whenever the configuration is read again, never for a call: a client is judged
//! by its address alone. A name that leads nowhere admits nobody.

use std::net::IpAddr;
use std::time::Duration;

use gateway_nfs::ClientNet;
use objstore_env::Env;

/// For one name; a resolver that does not answer is as good as one that does not know it.
const LOOKUP_MAX: Duration = Duration::from_secs(5);
const NAME_BYTES_MAX: usize = 253;
/// Each is compared at every call.
pub(super) const CLIENTS_MAX: usize = 128;

/// One entry of a list of clients, understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Client {
    Net(ClientNet),
    Host(String),
}

/// What the clients of a share are now.
#[derive(Clone, Debug, Default)]
pub(super) struct Admitted {
    pub(super) nets: Vec<ClientNet>,
    /// Names that lead nowhere.
    pub(super) unresolved: Vec<String>,
}

impl Client {
    /// # Errors
    /// What is wrong with `text`, and how it should look.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        if let Some(net) = ClientNet::parse(text) {
            return Ok(Self::Net(net));
        }
        if is_name(text) {
            return Ok(Self::Host(text.to_owned()));
        }
        Err(format!(
            "`{text}` is no client: write an address (10.1.2.3, 2001:db8::7), a network (10.1.0.0/16, 2001:db8::/32), \
             or the name of a machine"
        ))
    }
}

/// A name of RFC 1123 that cannot be meant as an address: its last part does not begin with a digit.
fn is_name(text: &str) -> bool {
    let fits = |label: &str| {
        let inside = label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
        (1..=63).contains(&label.len()) && inside && !label.starts_with('-') && !label.ends_with('-')
    };
    let last_is_word = text.rsplit('.').next().is_some_and(|last| last.starts_with(|c: char| c.is_ascii_alphabetic()));
    text.len() <= NAME_BYTES_MAX && text.split('.').all(fits) && last_is_word
}

/// Looks up the names among `clients`.
pub(super) async fn admit(env: &Env, clients: &[String]) -> Admitted {
    let mut admitted = Admitted::default();
    for text in clients {
        match Client::parse(text) {
            Ok(Client::Net(net)) => admitted.nets.push(net),
            Ok(Client::Host(name)) => {
                let found = look_up(env, &name).await;
                if found.is_empty() {
                    admitted.unresolved.push(name);
                }
                admitted.nets.extend(found);
            }
            // It was looked at before it was stored; what a later program wrote admits nobody here.
            Err(_) => admitted.unresolved.push(text.clone()),
        }
    }
    admitted
}

async fn look_up(env: &Env, name: &str) -> Vec<ClientNet> {
    let found = tokio::select! {
        found = tokio::net::lookup_host((name, 0)) => found,
        () = env.clock.sleep(LOOKUP_MAX) => return Vec::new(),
    };
    let addresses = found.into_iter().flatten().map(|address| address.ip());
    addresses.filter_map(|ip| ClientNet::new(ip, if ip.to_canonical().is_ipv4() { 32 } else { 128 })).collect()
}

/// This machine only: what a share admits that names nobody.
pub(super) fn local() -> Vec<String> {
    [IpAddr::from([127, 0, 0, 1]), IpAddr::from([0, 0, 0, 0, 0, 0, 0, 1])].map(|ip| ip.to_string()).to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_networks_and_names_are_told_apart_and_the_rest_is_refused() {
        for net in ["10.1.2.3", "10.1.0.0/16", "::1", "2001:db8::/32", "0.0.0.0/0"] {
            assert!(matches!(Client::parse(net), Ok(Client::Net(_))), "{net}");
        }
        for name in ["localhost", "build-7.example.org", "a.b"] {
            assert_eq!(Client::parse(name), Ok(Client::Host(name.to_owned())));
        }
        for bad in ["", "10.1.0.0/33", "10.1.2", "300.1.1.1", "*", "*.example.org", "a b", "-x", "@group", "::1/129"] {
            let why = Client::parse(bad).expect_err(bad);
            assert!(why.contains(&format!("`{bad}`")) && why.contains("10.1.0.0/16"), "{why}");
        }
    }

    #[tokio::test]
    async fn a_name_that_leads_nowhere_admits_nobody() {
        let env = objstore_env::real::env(tokio::runtime::Handle::current()).expect("the system has chance");
        // `.invalid` is never given to anybody (RFC 6761).
        let admitted = admit(&env, &["10.0.0.0/8".to_owned(), "nobody.invalid".to_owned()]).await;
        assert_eq!(admitted.nets.len(), 1);
        assert_eq!(admitted.unresolved, ["nobody.invalid"]);
        let own = admit(&env, &["localhost".to_owned()]).await;
        assert!(own.nets.iter().any(|net| net.contains(IpAddr::from([127, 0, 0, 1]))), "{own:?}");
    }
}
