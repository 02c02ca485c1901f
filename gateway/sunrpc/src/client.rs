//! A small client over TCP: one call at a time, each with a deadline.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use objstore_env::Clock;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::message::{put_call, take_reply};
use crate::program::Auth;
use crate::record::Records;
use crate::xdr::{Body, Decoder};

/// The largest reply to any call that is made from here.
const REPLY_BYTES_MAX: usize = 4 << 20;

#[derive(Debug)]
pub enum ClientError {
    Io(io::Error),
    /// No answer in time. The connection is of no further use.
    Deadline,
    /// The reply is no RPC reply.
    Garbage,
    /// reply_stat and accept_stat or reject_stat of RFC 5531.
    Refused([u32; 2]),
}

impl std::fmt::Display for ClientError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Io(error) => write!(f, "rpc connection: {error}"),
            Self::Deadline => f.write_str("no rpc reply in time"),
            Self::Garbage => f.write_str("the reply is no rpc reply"),
            Self::Refused([reply, status]) => write!(f, "rpc call refused ({reply}, {status})"),
        }
    }
}

impl std::error::Error for ClientError {}

impl From<io::Error> for ClientError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

pub struct Client {
    stream: TcpStream,
    clock: Arc<dyn Clock>,
    deadline: Duration,
    records: Records,
    xid: u32,
}

impl Client {
    /// `deadline` holds for the connection and for each call on it.
    pub async fn connect(clock: Arc<dyn Clock>, address: SocketAddr, deadline: Duration) -> Result<Self, ClientError> {
        let stream = tokio::select! {
            stream = TcpStream::connect(address) => stream?,
            () = clock.sleep(deadline) => return Err(ClientError::Deadline),
        };
        stream.set_nodelay(true)?;
        Ok(Self { stream, clock, deadline, records: Records::new(REPLY_BYTES_MAX), xid: 1 })
    }

    /// The results of a call, after its reply's head.
    pub async fn call(
        &mut self,
        program: u32,
        version: u32,
        procedure: u32,
        auth: &Auth,
        args: Body,
    ) -> Result<Decoder, ClientError> {
        self.xid = self.xid.wrapping_add(1);
        let xid = self.xid;
        let mut head = BytesMut::new();
        head.put_u32(0);
        put_call(&mut head, xid, [program, version, procedure], auth);
        let length = head.len() - 4 + args.len();
        let mark = u32::try_from(length).map_err(|_| ClientError::Garbage)? | 0x8000_0000;
        head[..4].copy_from_slice(&mark.to_be_bytes());
        let timer = self.clock.sleep(self.deadline);
        tokio::select! {
            reply = self.exchange(xid, head.freeze(), args) => reply,
            () = timer => Err(ClientError::Deadline),
        }
    }

    async fn exchange(&mut self, xid: u32, head: Bytes, args: Body) -> Result<Decoder, ClientError> {
        self.stream.write_all(&head).await?;
        for chunk in args.chunks() {
            self.stream.write_all(chunk).await?;
        }
        loop {
            while let Some(record) = self.records.next().map_err(|_| ClientError::Garbage)? {
                let mut record = Decoder::new(record);
                let (answered, outcome) = take_reply(&mut record).map_err(|_| ClientError::Garbage)?;
                // A reply to a call that was given up is passed over.
                if answered == xid {
                    return outcome.map(|()| record).map_err(ClientError::Refused);
                }
            }
            if self.stream.read_buf(self.records.room()).await? == 0 {
                return Err(ClientError::Io(io::ErrorKind::UnexpectedEof.into()));
            }
        }
    }
}
