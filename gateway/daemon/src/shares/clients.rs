//! Clients of a share: addresses, networks, and names of machines.
//!
//! A name is looked up when it is set and whenever the configuration is read again, never for a call: a client is judged
//! by its address alone. A name that leads nowhere admits nobody.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use futures::stream::{self, StreamExt};
use gateway_nfs::ClientNet;
use objstore_env::Env;
use parking_lot::Mutex;

/// For all names together; a resolver that does not answer is as good as one that does not know them.
const LOOKUPS_TIME_MAX: Duration = Duration::from_secs(10);
/// Side by side: each takes a thread that may block.
const LOOKUPS_MAX: usize = 16;
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

/// Whom each of `lists` admits now. Names are looked up side by side, and all of them within one limit.
pub(super) async fn admit(env: &Env, lists: &[&[String]]) -> Vec<Admitted> {
    let hosts: BTreeSet<String> = lists.iter().copied().flatten().filter_map(|text| host(text)).collect();
    let known: BTreeMap<String, Mutex<Vec<ClientNet>>> =
        hosts.into_iter().map(|name| (name, Mutex::default())).collect();
    let lookups = stream::iter(&known).for_each_concurrent(LOOKUPS_MAX, async |(name, found)| {
        let addresses = tokio::net::lookup_host((name.as_str(), 0)).await;
        *found.lock() = addresses.into_iter().flatten().filter_map(|address| single(address.ip())).collect();
    });
    tokio::select! {
        () = lookups => {}
        () = env.clock.sleep(LOOKUPS_TIME_MAX) => tracing::warn!("not all names of clients could be looked up in time"),
    }
    lists.iter().map(|list| admitted(list, &known)).collect()
}

fn admitted(list: &[String], known: &BTreeMap<String, Mutex<Vec<ClientNet>>>) -> Admitted {
    let mut admitted = Admitted::default();
    for text in list {
        if let Some(net) = ClientNet::parse(text) {
            admitted.nets.push(net);
            continue;
        }
        // What is no name either was stored by a later program: it admits nobody here.
        let found = known.get(text).map(|found| found.lock().clone()).unwrap_or_default();
        if found.is_empty() {
            admitted.unresolved.push(text.clone());
        }
        admitted.nets.extend(found);
    }
    admitted
}

fn host(text: &str) -> Option<String> {
    match Client::parse(text) {
        Ok(Client::Host(name)) => Some(name),
        Ok(Client::Net(_)) | Err(_) => None,
    }
}

/// The network of one address.
fn single(ip: IpAddr) -> Option<ClientNet> {
    ClientNet::new(ip, if ip.to_canonical().is_ipv4() { 32 } else { 128 })
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
        let (first, second) = (["10.0.0.0/8", "nobody.invalid"], ["localhost", "10.9.9.9", "newer%client"]);
        let [first, second] = [first.map(String::from).to_vec(), second.map(String::from).to_vec()];
        let admitted = admit(&env, &[&first, &second]).await;
        let [first, second] = admitted.as_slice() else { panic!("one answer a list") };
        assert_eq!((first.nets.len(), first.unresolved.as_slice()), (1, &["nobody.invalid".to_owned()][..]));
        assert!(second.nets.iter().any(|net| net.contains(IpAddr::from([127, 0, 0, 1]))), "{second:?}");
        assert_eq!(second.unresolved, ["newer%client"]);
    }
}
