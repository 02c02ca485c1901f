//! One TCP connection with many calls in flight, each in a numbered slot.
//!
//! Calls gather in one buffer until the next wait, so that the generator costs few system calls; a reply is a slice of
//! what was received. It is the measuring side: a server that breaks the protocol, refuses a call or is silent ends it.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use gateway_sunrpc::Body;
use gateway_sunrpc::xdr::{Decoder, Encoder};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const DEADLINE: Duration = Duration::from_secs(60);
const LAST: u32 = 0x8000_0000;
/// The lower bits of an xid name the slot.
const SLOT_BITS: u32 = 6;
pub const SLOTS_MAX: usize = 1 << SLOT_BITS;
/// Room for one of the largest replies.
const ROOM_BYTES: usize = (1 << 20) + 4096;
/// Pieces from here on go to the socket as they are.
const COPY_BYTES_MAX: usize = 16 << 10;

/// A procedure of a program.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    pub program: u32,
    pub version: u32,
    pub procedure: u32,
}

pub struct Wire {
    stream: TcpStream,
    /// What every call carries after its procedure: root by AUTH_SYS, no verifier.
    credentials: Bytes,
    calls: u32,
    out: BytesMut,
    received: BytesMut,
    fragments: BytesMut,
}

impl Wire {
    pub async fn connect(address: SocketAddr) -> Result<Self, String> {
        let stream = within(TcpStream::connect(address)).await?;
        stream.set_nodelay(true).map_err(|error| error.to_string())?;
        Ok(Self {
            stream,
            credentials: credentials(),
            calls: 0,
            out: BytesMut::new(),
            received: BytesMut::new(),
            fragments: BytesMut::new(),
        })
    }

    /// Puts a call on its way; it is sent at the latest by the next `reply`.
    pub async fn call(&mut self, slot: usize, target: Target, args: &Body) -> Result<(), String> {
        self.calls = self.calls.wrapping_add(1);
        let xid = self.calls << SLOT_BITS | slot as u32;
        let length = 24 + self.credentials.len() + args.len();
        for word in [LAST | length as u32, xid, 0, 2, target.program, target.version, target.procedure] {
            self.out.put_u32(word);
        }
        self.out.put_slice(&self.credentials);
        for piece in args.chunks() {
            if piece.len() < COPY_BYTES_MAX {
                self.out.put_slice(piece);
            } else {
                self.send().await?;
                within(self.stream.write_all(piece)).await?;
            }
        }
        Ok(())
    }

    /// The next reply, whichever call it answers: its slot and its results.
    pub async fn reply(&mut self) -> Result<(usize, Decoder), String> {
        loop {
            if let Some(record) = self.record()? {
                return opened(record);
            }
            self.send().await?;
            self.received.reserve(if self.received.len() > 4 { ROOM_BYTES } else { COPY_BYTES_MAX });
            if within(self.stream.read_buf(&mut self.received)).await? == 0 {
                return Err("the server closed the connection".to_owned());
            }
        }
    }

    /// One call and its results, with nothing else in flight.
    pub async fn ask(&mut self, target: Target, args: &Body) -> Result<Decoder, String> {
        self.call(0, target, args).await?;
        self.reply().await.map(|(_, results)| results)
    }

    async fn send(&mut self) -> Result<(), String> {
        if !self.out.is_empty() {
            within(self.stream.write_all(&self.out)).await?;
            self.out.clear();
        }
        Ok(())
    }

    fn record(&mut self) -> Result<Option<Bytes>, String> {
        while let Some(mark) = self.received.first_chunk::<4>() {
            let mark = u32::from_be_bytes(*mark);
            let length = (mark & !LAST) as usize;
            if length > 2 * ROOM_BYTES {
                return Err(format!("a record of {length} bytes"));
            }
            if self.received.len() < 4 + length {
                return Ok(None);
            }
            self.received.advance(4);
            let fragment = self.received.split_to(length);
            match (mark & LAST != 0, self.fragments.is_empty()) {
                (true, true) => return Ok(Some(fragment.freeze())),
                (last, _) => {
                    self.fragments.extend_from_slice(&fragment);
                    if last {
                        return Ok(Some(self.fragments.split().freeze()));
                    }
                }
            }
        }
        Ok(None)
    }
}

fn credentials() -> Bytes {
    let mut body = Encoder::new();
    body.u32(0);
    body.opaque(b"bench");
    // uid, gid, no further groups
    [0, 0, 0].into_iter().for_each(|word| body.u32(word));
    let mut whole = Encoder::new();
    whole.u32(1);
    whole.opaque(&body.finish().to_bytes());
    [0, 0].into_iter().for_each(|word| whole.u32(word));
    whole.finish().to_bytes()
}

/// Slot and results of a reply that accepts its call.
fn opened(record: Bytes) -> Result<(usize, Decoder), String> {
    let mut record = Decoder::new(record);
    let mut head = || {
        let xid = record.u32()?;
        let (kind, accepted, _verifier) = (record.u32()?, record.u32()?, record.u32()?);
        record.opaque(400)?;
        Ok::<_, gateway_sunrpc::xdr::Garbage>((xid, [kind, accepted, record.u32()?]))
    };
    match head() {
        Ok((xid, [1, 0, 0])) => Ok((xid as usize % SLOTS_MAX, record)),
        Ok((_, words)) => Err(format!("the server refuses a call: {words:?}")),
        Err(_) => Err("the server's reply is cut".to_owned()),
    }
}

async fn within<T>(work: impl Future<Output = std::io::Result<T>>) -> Result<T, String> {
    match tokio::time::timeout(DEADLINE, work).await {
        Ok(done) => done.map_err(|error| error.to_string()),
        Err(_) => Err(format!("the server did nothing for {DEADLINE:?}")),
    }
}
