//! [`StatusMonitor`]: the NSM program. Of use here is NOTIFY, by which a client says that it restarted.
//!
//! MON asks a monitor to call a program of the caller's choice later: that is for lock managers on the same machine, and
//! this one needs no other process for it. It is refused, so that nobody makes this server call others. Statistics and
//! state are told to everyone; a simulated crash is a command of the machine's own, and nothing happens.

use std::ops::RangeInclusive;
use std::sync::Arc;

use futures::FutureExt;
use futures::future::BoxFuture;
use gateway_sunrpc::xdr::{Encoder, Garbage};
use gateway_sunrpc::{Body, Call, Program, Refusal};

use crate::door::NlmDoor;
use crate::protocol::{NSM_PROGRAM, NSM_VERSION, decode_name_and_state};

const NULL: u32 = 0;
const STAT: u32 = 1;
const MON: u32 = 2;
const UNMON: u32 = 3;
const UNMON_ALL: u32 = 4;
const SIMU_CRASH: u32 = 5;
pub(crate) const NOTIFY: u32 = 6;
/// `STAT_FAIL`.
const REFUSED: u32 = 1;

pub struct StatusMonitor {
    door: Arc<NlmDoor>,
}

impl StatusMonitor {
    pub fn new(door: Arc<NlmDoor>) -> Arc<Self> {
        Arc::new(Self { door })
    }

    async fn answer(self: Arc<Self>, call: Call) -> Result<Body, Refusal> {
        let mut reply = Encoder::new();
        match call.procedure {
            NULL | SIMU_CRASH => {}
            STAT | MON => {
                reply.u32(REFUSED);
                reply.i32(self.door.state);
            }
            UNMON | UNMON_ALL => reply.i32(self.door.state),
            NOTIFY => {
                // The name is the client's word for itself; whose locks go is decided by where the call came from.
                let news = decode_name_and_state(call.args).map_err(|Garbage| Refusal::GarbageArguments)?;
                self.door.client_restarted(call.peer.ip().to_canonical(), news.1).await;
            }
            _ => return Err(Refusal::ProcedureUnavailable),
        }
        Ok(reply.finish())
    }
}

impl Program for StatusMonitor {
    fn number(&self) -> u32 {
        NSM_PROGRAM
    }

    fn versions(&self) -> RangeInclusive<u32> {
        NSM_VERSION..=NSM_VERSION
    }

    fn call(self: Arc<Self>, call: Call) -> BoxFuture<'static, Result<Body, Refusal>> {
        self.answer(call).boxed()
    }
}
