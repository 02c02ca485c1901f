//! After a start: the clients of before are told, so that they take their locks again.

use futures::StreamExt;
use futures::stream;
use gateway_sunrpc::Body;
use gateway_sunrpc::xdr::Encoder;

use crate::callback::CallBack;
use crate::door::NlmDoor;
use crate::monitor::Monitored;
use crate::protocol::{NSM_PROGRAM, NSM_VERSION};
use crate::status_monitor::NOTIFY;

/// Clients that are called at the same time: the grace period runs for all of them.
const AT_ONCE: usize = 64;

impl NlmDoor {
    pub(crate) async fn tell_restart(&self, mut hosts: Vec<Monitored>) {
        let limits = &self.options.limits;
        for attempt in 0..limits.notify_attempts_max {
            if attempt > 0 {
                self.hooks.clock.sleep(limits.pause_after(attempt - 1)).await;
            }
            let rounds = stream::iter(hosts).map(|host| self.tell(host)).buffer_unordered(AT_ONCE);
            hosts = rounds.filter_map(std::future::ready).collect().await;
            if hosts.is_empty() {
                return;
            }
        }
        for host in hosts {
            let name = String::from_utf8_lossy(&host.name);
            tracing::warn!(proto = "nsm", client = %host.address, %name, "a client could not be told of the restart");
            self.off_the_list(&host).await;
        }
    }

    /// Gives the client back where it has to be told once more.
    async fn tell(&self, host: Monitored) -> Option<Monitored> {
        let what = CallBack { program: NSM_PROGRAM, version: NSM_VERSION, procedure: NOTIFY, args: self.news() };
        match self.caller.call(host.address, what).await {
            Ok(_) => {
                self.off_the_list(&host).await;
                None
            }
            Err(error) => {
                tracing::debug!(proto = "nsm", client = %host.address, %error, "a client does not hear of the restart yet");
                Some(host)
            }
        }
    }

    /// `stat_chge`.
    fn news(&self) -> Body {
        let mut out = Encoder::new();
        out.opaque(&self.options.server_name);
        out.i32(self.state);
        out.finish()
    }

    async fn off_the_list(&self, host: &Monitored) {
        if let Err(error) = self.monitors.told(host.address).await {
            // It will be told again at the next start, which costs nothing but a call.
            tracing::warn!(proto = "nsm", client = %host.address, %error, "a client stays on the list");
        }
    }
}
