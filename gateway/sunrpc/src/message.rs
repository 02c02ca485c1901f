//! Call and reply headers (RFC 5531 section 9).

use bytes::{BufMut, Bytes, BytesMut};

use crate::program::{Auth, Refusal};
use crate::xdr::{Decoder, Garbage};

const CALL: u32 = 0;
const REPLY: u32 = 1;
const RPC_VERSION: u32 = 2;
const ACCEPTED: u32 = 0;
const DENIED: u32 = 1;
const AUTH_NONE: u32 = 0;
const AUTH_SYS: u32 = 1;
/// RFC 5531 section 8.2.
const AUTH_BODY_BYTES_MAX: usize = 400;
const MACHINE_BYTES_MAX: usize = 255;
const GIDS_MAX: u32 = 16;

/// The head of a call; what follows it in the record are the arguments.
#[derive(Debug)]
pub(crate) struct CallHead {
    pub(crate) xid: u32,
    pub(crate) program: u32,
    pub(crate) version: u32,
    pub(crate) procedure: u32,
    pub(crate) auth: Auth,
}

/// What a record that is no servable call deserves.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum NotACall {
    /// Not even a call's first words: this is no RPC client, and nothing can be answered.
    Garbage,
    Refused(u32, Answer),
}

/// Every reply that is not a plain success.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answer {
    Success,
    ProgramUnavailable,
    ProgramMismatch { low: u32, high: u32 },
    ProcedureUnavailable,
    GarbageArguments,
    SystemError,
    RpcMismatch,
    AuthBadCredentials,
    AuthBadVerifier,
    AuthTooWeak,
}

impl Answer {
    /// None: no reply at all.
    pub(crate) const fn of(refusal: Refusal) -> Option<Self> {
        match refusal {
            Refusal::ProcedureUnavailable => Some(Self::ProcedureUnavailable),
            Refusal::GarbageArguments => Some(Self::GarbageArguments),
            Refusal::SystemError => Some(Self::SystemError),
            Refusal::AuthTooWeak => Some(Self::AuthTooWeak),
            Refusal::AuthBad => Some(Self::AuthBadCredentials),
            Refusal::Drop => None,
        }
    }

    /// The words after (xid, REPLY).
    fn words(self) -> ([u32; 6], usize) {
        let accepted = |status| ([ACCEPTED, AUTH_NONE, 0, status, 0, 0], 4);
        match self {
            Self::Success => accepted(0),
            Self::ProgramUnavailable => accepted(1),
            Self::ProgramMismatch { low, high } => ([ACCEPTED, AUTH_NONE, 0, 2, low, high], 6),
            Self::ProcedureUnavailable => accepted(3),
            Self::GarbageArguments => accepted(4),
            Self::SystemError => accepted(5),
            Self::RpcMismatch => ([DENIED, 0, RPC_VERSION, RPC_VERSION, 0, 0], 4),
            Self::AuthBadCredentials => ([DENIED, 1, 1, 0, 0, 0], 3),
            Self::AuthBadVerifier => ([DENIED, 1, 3, 0, 0, 0], 3),
            Self::AuthTooWeak => ([DENIED, 1, 5, 0, 0, 0], 3),
        }
    }

    /// Appends record mark and reply head for a body of `body_bytes`.
    pub(crate) fn put(self, xid: u32, body_bytes: usize, out: &mut BytesMut) {
        let (words, count) = self.words();
        let length = u32::try_from(8 + 4 * count + body_bytes).expect("replies are far below 2 GiB");
        out.put_u32(0x8000_0000 | length);
        out.put_u32(xid);
        out.put_u32(REPLY);
        for word in &words[..count] {
            out.put_u32(*word);
        }
    }
}

/// Takes the head off a record.
pub(crate) fn take_call(record: &mut Decoder) -> Result<CallHead, NotACall> {
    let garbage = |_: Garbage| NotACall::Garbage;
    let xid = record.u32().map_err(garbage)?;
    if record.u32().map_err(garbage)? != CALL {
        return Err(NotACall::Garbage);
    }
    if record.u32().map_err(garbage)? != RPC_VERSION {
        return Err(NotACall::Refused(xid, Answer::RpcMismatch));
    }
    let program = record.u32().map_err(garbage)?;
    let version = record.u32().map_err(garbage)?;
    let procedure = record.u32().map_err(garbage)?;
    let auth = take_auth(record).map_err(|_| NotACall::Refused(xid, Answer::AuthBadCredentials))?;
    take_verifier(record).map_err(|_| NotACall::Refused(xid, Answer::AuthBadVerifier))?;
    Ok(CallHead { xid, program, version, procedure, auth })
}

fn take_auth(record: &mut Decoder) -> Result<Auth, Garbage> {
    let flavor = record.u32()?;
    let body = record.opaque(AUTH_BODY_BYTES_MAX)?;
    match flavor {
        AUTH_NONE => Ok(Auth::None),
        AUTH_SYS => take_sys(body),
        _ => Err(Garbage),
    }
}

fn take_sys(body: Bytes) -> Result<Auth, Garbage> {
    let mut body = Decoder::new(body);
    let _stamp = body.u32()?;
    let machine = body.string(MACHINE_BYTES_MAX)?;
    let uid = body.u32()?;
    let gid = body.u32()?;
    let count = body.u32()?;
    if count > GIDS_MAX {
        return Err(Garbage);
    }
    let gids = (0..count).map(|_| body.u32()).collect::<Result<_, _>>()?;
    body.finish()?;
    Ok(Auth::Sys { machine, uid, gid, gids })
}

fn take_verifier(record: &mut Decoder) -> Result<(), Garbage> {
    record.u32()?;
    record.opaque(AUTH_BODY_BYTES_MAX)?;
    Ok(())
}

/// The head of a call for the client, without its record mark.
pub(crate) fn put_call(out: &mut BytesMut, xid: u32, target: [u32; 3], auth: &Auth) {
    for word in [xid, CALL, RPC_VERSION].into_iter().chain(target) {
        out.put_u32(word);
    }
    let (flavor, body) = match auth {
        Auth::None => (AUTH_NONE, Vec::new()),
        Auth::Sys { machine, uid, gid, gids } => {
            let mut body = crate::xdr::Encoder::new();
            body.u32(0);
            body.opaque(machine);
            body.u32(*uid);
            body.u32(*gid);
            body.u32(u32::try_from(gids.len()).expect("at most 16"));
            for gid in gids {
                body.u32(*gid);
            }
            (AUTH_SYS, body.finish().to_bytes().to_vec())
        }
    };
    out.put_u32(flavor);
    out.put_u32(u32::try_from(body.len()).expect("below 400 bytes"));
    out.put_slice(&body);
    out.put_u32(AUTH_NONE);
    out.put_u32(0);
}

/// Takes the head off a reply: its xid, and whether results follow.
pub(crate) fn take_reply(record: &mut Decoder) -> Result<(u32, Result<(), [u32; 2]>), Garbage> {
    let xid = record.u32()?;
    if record.u32()? != REPLY {
        return Err(Garbage);
    }
    if record.u32()? != ACCEPTED {
        return Ok((xid, Err([DENIED, record.u32()?])));
    }
    take_verifier(record)?;
    let status = record.u32()?;
    Ok((xid, if status == 0 { Ok(()) } else { Err([ACCEPTED, status]) }))
}
