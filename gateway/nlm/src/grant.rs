//! The end of a wait: the client is called back, and loses the lock where it does not want it or never answers.

use std::net::IpAddr;
use std::sync::Arc;

use bytes::Bytes;
use gateway_sunrpc::xdr::Decoder;

use crate::callback::CallBack;
use crate::client::Client;
use crate::door::NlmDoor;
use crate::protocol::{LockArgs, NETOBJ_BYTES_MAX, NLM_PROGRAM, NLM_VERSION, Procedure, Status};
use crate::waiter::{Outcome, Waiter};

impl NlmDoor {
    /// Watches a wait to its end. Whoever takes the waiter out of the client's record meanwhile has decided about it.
    pub(crate) async fn grant(&self, client: &Client, address: IpAddr, waiter: &Arc<Waiter>) {
        let outcome = std::future::poll_fn(|task| waiter.poll(task)).await;
        {
            let mut record = client.record.lock().await;
            if !record.is_waiting(waiter) {
                return;
            }
            if outcome != Outcome::Granted {
                record.forget(waiter);
                return;
            }
            record.holds(&waiter.key);
        }
        let wanted = self.tell_granted(address, &waiter.args).await;
        let mut record = client.record.lock().await;
        if record.forget(waiter) && !wanted {
            tracing::debug!(proto = "nlm", client = %address, ino = waiter.key.ino.0, "a lock goes back: not wanted any more");
            let (ino, owner, range) = (waiter.key.ino, waiter.key.owner, waiter.key.range);
            if let Err(error) = self.free(0, &mut record, ino, owner, range).await {
                tracing::warn!(proto = "nlm", client = %address, ino = ino.0, %error, "a lock could not be taken back");
            }
        }
    }

    /// Whether the client said that it takes the lock.
    async fn tell_granted(&self, client: IpAddr, args: &LockArgs) -> bool {
        let limits = &self.options.limits;
        for attempt in 0..limits.grant_attempts_max {
            if attempt > 0 {
                self.hooks.clock.sleep(limits.pause_after(attempt - 1)).await;
            }
            let procedure = Procedure::Granted as u32;
            let args = args.encode_granted();
            let what = CallBack { program: NLM_PROGRAM, version: NLM_VERSION, procedure, args };
            match self.caller.call(client, what).await.map(status) {
                Ok(Some(status)) if status == Status::Granted as u32 => return true,
                // Its own grace period: it will know later.
                Ok(Some(status)) if status == Status::DeniedGracePeriod as u32 => {}
                Ok(Some(_)) => return false,
                Ok(None) => tracing::debug!(proto = "nlm", %client, "no answer to GRANTED that can be read"),
                Err(error) => tracing::debug!(proto = "nlm", %client, %error, "a client is not told of its lock"),
            }
        }
        tracing::warn!(proto = "nlm", %client, "a client never answered that it got a lock; it goes back");
        false
    }
}

/// Of `nlm4_res`. The connection tells which call it answers; the cookie says no more.
fn status(mut reply: Decoder) -> Option<u32> {
    let _cookie: Bytes = reply.opaque(NETOBJ_BYTES_MAX).ok()?;
    reply.u32().ok()
}
