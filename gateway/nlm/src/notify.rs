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
    /// Who was told stays on the list until the grace period is over: where this server dies before that client took its
    /// locks again, the next start has to tell it, and to keep others from them, once more.
    pub(crate) async fn tell_restart(&self, mut hosts: Vec<Monitored>) {
        let limits = &self.options.limits;
        let mut told = Vec::new();
        for attempt in 0..limits.notify_attempts_max {
            if attempt > 0 {
                self.hooks.clock.sleep(limits.pause_after(attempt - 1)).await;
            }
            hosts = self.tell_all(hosts, &mut told).await;
            if hosts.is_empty() {
                break;
            }
            if !self.in_grace() {
                // They do not wait for those who never answer.
                self.off_the_list(std::mem::take(&mut told)).await;
            }
        }
        self.grace_over().await;
        for host in hosts {
            let name = String::from_utf8_lossy(&host.name);
            tracing::warn!(proto = "nsm", client = %host.address, %name, "a client could not be told of the restart");
            told.push(host);
        }
        self.off_the_list(told).await;
    }

    /// Those who have to be told once more.
    async fn tell_all(&self, hosts: Vec<Monitored>, told: &mut Vec<Monitored>) -> Vec<Monitored> {
        let mut calls = stream::iter(hosts).map(|host| self.tell(host)).buffer_unordered(AT_ONCE);
        let mut deaf = Vec::new();
        while let Some(answer) = calls.next().await {
            match answer {
                Ok(host) => told.push(host),
                Err(host) => deaf.push(host),
            }
        }
        deaf
    }

    /// The client that was told, or that has to be told once more.
    async fn tell(&self, host: Monitored) -> Result<Monitored, Monitored> {
        let what = CallBack { program: NSM_PROGRAM, version: NSM_VERSION, procedure: NOTIFY, args: self.news() };
        match self.caller.call(host.address, what).await {
            Ok(_) => Ok(host),
            Err(error) => {
                tracing::debug!(proto = "nsm", client = %host.address, %error, "a client does not hear of the restart yet");
                Err(host)
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

    async fn off_the_list(&self, hosts: Vec<Monitored>) {
        let clients = hosts.len();
        if let Err(error) = self.monitors.forget(hosts).await {
            // They will be told again at the next start, which costs calls and a grace period.
            tracing::warn!(proto = "nsm", clients, %error, "clients stay on the list");
        }
    }
}
