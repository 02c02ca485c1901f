//! NLM v4 and NSM v1 on the wire: numbers, arguments and results, without any meaning.
//!
//! # Source
//! RFC 1813 appendix II (NLM 4); The Open Group, "Protocols for Interworking: XNFS, Version 3W", chapters 10 and 11.

use bytes::Bytes;
use gateway_sunrpc::Body;
use gateway_sunrpc::xdr::{Decoder, Encoder, Garbage};

pub const NLM_PROGRAM: u32 = 100_021;
pub const NLM_VERSION: u32 = 4;
pub const NSM_PROGRAM: u32 = 100_024;
pub const NSM_VERSION: u32 = 1;

/// `MAXNETOBJ_SZ`.
pub const NETOBJ_BYTES_MAX: usize = 1024;
/// `LM_MAXSTRLEN`.
pub const NAME_BYTES_MAX: usize = 1024;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Procedure {
    Null = 0,
    Test = 1,
    Lock = 2,
    Cancel = 3,
    Unlock = 4,
    Granted = 5,
    TestMsg = 6,
    LockMsg = 7,
    CancelMsg = 8,
    UnlockMsg = 9,
    GrantedMsg = 10,
    TestRes = 11,
    LockRes = 12,
    CancelRes = 13,
    UnlockRes = 14,
    GrantedRes = 15,
    Share = 20,
    Unshare = 21,
    NmLock = 22,
    FreeAll = 23,
}

impl Procedure {
    pub const fn from_number(number: u32) -> Option<Self> {
        Some(match number {
            0 => Self::Null,
            1 => Self::Test,
            2 => Self::Lock,
            3 => Self::Cancel,
            4 => Self::Unlock,
            5 => Self::Granted,
            6 => Self::TestMsg,
            7 => Self::LockMsg,
            8 => Self::CancelMsg,
            9 => Self::UnlockMsg,
            10 => Self::GrantedMsg,
            11 => Self::TestRes,
            12 => Self::LockRes,
            13 => Self::CancelRes,
            14 => Self::UnlockRes,
            15 => Self::GrantedRes,
            20 => Self::Share,
            21 => Self::Unshare,
            22 => Self::NmLock,
            23 => Self::FreeAll,
            _ => return None,
        })
    }
}

/// `nlm4_stats`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Status {
    Granted = 0,
    Denied = 1,
    DeniedNoLocks = 2,
    Blocked = 3,
    DeniedGracePeriod = 4,
    Deadlock = 5,
    ReadOnly = 6,
    StaleHandle = 7,
    FileTooBig = 8,
    Failed = 9,
}

/// `nlm4_lock`. The bytes are slices of the received record.
#[derive(Clone, Debug)]
pub struct WireLock {
    pub caller_name: Bytes,
    pub handle: Bytes,
    pub owner: Bytes,
    pub svid: u32,
    pub offset: u64,
    pub length: u64,
}

impl WireLock {
    fn decode(input: &mut Decoder) -> Result<Self, Garbage> {
        Ok(Self {
            caller_name: input.string(NAME_BYTES_MAX)?,
            handle: input.opaque(NETOBJ_BYTES_MAX)?,
            owner: input.opaque(NETOBJ_BYTES_MAX)?,
            svid: input.u32()?,
            offset: input.u64()?,
            length: input.u64()?,
        })
    }

    pub fn encode(&self, out: &mut Encoder) {
        out.opaque(&self.caller_name);
        out.opaque(&self.handle);
        out.opaque(&self.owner);
        out.u32(self.svid);
        out.u64(self.offset);
        out.u64(self.length);
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LockMode {
    pub block: bool,
    pub exclusive: bool,
    pub reclaim: bool,
}

/// Arguments of every call that speaks of one lock.
#[derive(Clone, Debug)]
pub struct LockArgs {
    pub cookie: Bytes,
    pub mode: LockMode,
    pub lock: WireLock,
}

impl LockArgs {
    /// `nlm4_testargs`: of TEST and GRANTED.
    pub fn decode_test(mut input: Decoder) -> Result<Self, Garbage> {
        let cookie = input.opaque(NETOBJ_BYTES_MAX)?;
        let mode = LockMode { block: false, exclusive: input.bool()?, reclaim: false };
        let lock = WireLock::decode(&mut input)?;
        input.finish()?;
        Ok(Self { cookie, mode, lock })
    }

    /// `nlm4_lockargs`: of LOCK and NM_LOCK.
    pub fn decode_lock(mut input: Decoder) -> Result<Self, Garbage> {
        let cookie = input.opaque(NETOBJ_BYTES_MAX)?;
        let (block, exclusive) = (input.bool()?, input.bool()?);
        let lock = WireLock::decode(&mut input)?;
        let reclaim = input.bool()?;
        let _state_of_the_clients_monitor = input.i32()?;
        input.finish()?;
        Ok(Self { cookie, mode: LockMode { block, exclusive, reclaim }, lock })
    }

    /// `nlm4_cancargs`.
    pub fn decode_cancel(mut input: Decoder) -> Result<Self, Garbage> {
        let cookie = input.opaque(NETOBJ_BYTES_MAX)?;
        let mode = LockMode { block: input.bool()?, exclusive: input.bool()?, reclaim: false };
        let lock = WireLock::decode(&mut input)?;
        input.finish()?;
        Ok(Self { cookie, mode, lock })
    }

    /// `nlm4_unlockargs`.
    pub fn decode_unlock(mut input: Decoder) -> Result<Self, Garbage> {
        let cookie = input.opaque(NETOBJ_BYTES_MAX)?;
        let mode = LockMode { block: false, exclusive: false, reclaim: false };
        let lock = WireLock::decode(&mut input)?;
        input.finish()?;
        Ok(Self { cookie, mode, lock })
    }

    /// `nlm4_testargs`, for GRANTED.
    pub fn encode_granted(&self) -> Body {
        let mut out = Encoder::new();
        out.opaque(&self.cookie);
        out.bool(self.mode.exclusive);
        self.lock.encode(&mut out);
        out.finish()
    }
}

/// `nlm4_shareargs`. Access and deny are bits: 1 reads, 2 writes.
#[derive(Clone, Debug)]
pub struct ShareArgs {
    pub cookie: Bytes,
    pub caller_name: Bytes,
    pub handle: Bytes,
    pub owner: Bytes,
    pub deny: u32,
    pub access: u32,
    pub reclaim: bool,
}

impl ShareArgs {
    pub fn decode(mut input: Decoder) -> Result<Self, Garbage> {
        let args = Self {
            cookie: input.opaque(NETOBJ_BYTES_MAX)?,
            caller_name: input.string(NAME_BYTES_MAX)?,
            handle: input.opaque(NETOBJ_BYTES_MAX)?,
            owner: input.opaque(NETOBJ_BYTES_MAX)?,
            deny: input.u32()?,
            access: input.u32()?,
            reclaim: input.bool()?,
        };
        input.finish()?;
        if args.deny > 3 || args.access > 3 { Err(Garbage) } else { Ok(args) }
    }
}

/// `nlm4_notify` and `stat_chge`: a name and a state.
pub fn decode_name_and_state(mut input: Decoder) -> Result<(Bytes, i32), Garbage> {
    let named = (input.string(NAME_BYTES_MAX)?, input.i32()?);
    input.finish()?;
    Ok(named)
}

/// `nlm4_holder`.
#[derive(Clone, Debug)]
pub struct Holder {
    pub exclusive: bool,
    pub svid: u32,
    pub owner: [u8; 8],
    pub offset: u64,
    pub length: u64,
}

/// `nlm4_res`.
pub fn result(cookie: &[u8], status: Status) -> Body {
    let mut out = Encoder::new();
    out.opaque(cookie);
    out.u32(status as u32);
    out.finish()
}

/// `nlm4_testres`; a holder stands only beside `Denied`.
pub fn test_result(cookie: &[u8], answer: Result<Option<Holder>, Status>) -> Body {
    let mut out = Encoder::new();
    out.opaque(cookie);
    match answer {
        Ok(None) => out.u32(Status::Granted as u32),
        Ok(Some(holder)) => {
            out.u32(Status::Denied as u32);
            out.bool(holder.exclusive);
            out.u32(holder.svid);
            out.opaque(&holder.owner);
            out.u64(holder.offset);
            out.u64(holder.length);
        }
        Err(status) => out.u32(status as u32),
    }
    out.finish()
}

/// `nlm4_shareres`. The sequence number means nothing since version 3.
pub fn share_result(cookie: &[u8], status: Status) -> Body {
    let mut out = Encoder::new();
    out.opaque(cookie);
    out.u32(status as u32);
    out.i32(0);
    out.finish()
}
