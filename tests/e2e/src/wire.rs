//! A client that sends whatever bytes a test wants, and reads what comes back.

use std::io::{self, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::AsRawFd;
use std::time::Duration;

use bytes::Bytes;
use gateway_nfs::protocol::{MOUNT_PROGRAM, NFS_PROGRAM, Procedure, VERSION};
use gateway_sunrpc::xdr::{Decoder, Encoder};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, SockaddrIn, bind, connect, socket};

/// For one read or write; a service that is silent for so long fails the test.
pub const DEADLINE: Duration = Duration::from_secs(120);
pub const OK: u32 = 0;
const LAST: u32 = 0x8000_0000;
const RECORD_BYTES_MAX: usize = 2 << 20;

/// Who a call says it is from.
#[derive(Clone, Debug)]
pub struct User {
    pub uid: u32,
    pub gid: u32,
    pub gids: Vec<u32>,
}

pub const ROOT: User = User { uid: 0, gid: 0, gids: Vec::new() };

pub struct Wire {
    stream: BufReader<TcpStream>,
    xid: u32,
}

/// A reply, after its xid: the words of its head, and what follows.
#[derive(Clone, Debug)]
pub struct Reply {
    pub xid: u32,
    pub body: Bytes,
}

impl Reply {
    /// The first `count` words.
    pub fn words(&self, count: usize) -> Vec<u32> {
        let mut input = Decoder::new(self.body.clone());
        (0..count).map(|_| input.u32().expect("the reply goes on")).collect()
    }

    /// The results of a call that was carried out.
    pub fn results(&self) -> Decoder {
        let mut input = Decoder::new(self.body.clone());
        // A reply, accepted, an empty verifier, success.
        for expected in [1, 0, 0, 0, 0] {
            assert_eq!(input.u32().expect("a reply"), expected, "the call is carried out: {:?}", self.body);
        }
        input
    }

    pub fn status(&self) -> u32 {
        self.results().u32().expect("a status")
    }
}

impl Wire {
    pub fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect_timeout(&address, DEADLINE).expect("the door is open");
        Self::over(stream)
    }

    /// From 127.0.0.`host`, which is another client to the service.
    pub fn connect_from(host: u8, address: SocketAddr) -> io::Result<Self> {
        let SocketAddr::V4(to) = address else { panic!("the door listens on IPv4") };
        let from = SockaddrIn::new(127, 0, 0, host, 0);
        let socket = socket(AddressFamily::Inet, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?;
        bind(socket.as_raw_fd(), &from)?;
        let [a, b, c, d] = to.ip().octets();
        connect(socket.as_raw_fd(), &SockaddrIn::new(a, b, c, d, to.port()))?;
        Ok(Self::over(TcpStream::from(socket)))
    }

    fn over(stream: TcpStream) -> Self {
        stream.set_nodelay(true).expect("a TCP socket");
        stream.set_read_timeout(Some(DEADLINE)).expect("a TCP socket");
        stream.set_write_timeout(Some(DEADLINE)).expect("a TCP socket");
        Self { stream: BufReader::with_capacity(64 << 10, stream), xid: 1 }
    }

    pub fn stream(&self) -> &TcpStream {
        self.stream.get_ref()
    }

    pub fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.get_mut().write_all(bytes)
    }

    /// A call on its way; its xid.
    pub fn start(&mut self, target: [u32; 3], user: &User, args: &[u8]) -> u32 {
        self.xid = self.xid.wrapping_add(1);
        let bytes = record(&call_bytes(self.xid, target, user, args));
        self.send(&bytes).expect("the connection is open");
        self.xid
    }

    pub fn reply(&mut self) -> io::Result<Reply> {
        let mut record = Vec::new();
        loop {
            let mark = self.word()?;
            let length = (mark & !LAST) as usize;
            assert!(record.len() + length <= RECORD_BYTES_MAX, "a reply of {length} bytes");
            let begin = record.len();
            record.resize(begin + length, 0);
            self.stream.read_exact(&mut record[begin..])?;
            if mark & LAST != 0 {
                break;
            }
        }
        let mut body = Bytes::from(record);
        let head = body.split_to(4);
        Ok(Reply { xid: u32::from_be_bytes(head[..].try_into().expect("four bytes")), body })
    }

    fn word(&mut self) -> io::Result<u32> {
        let mut word = [0; 4];
        self.stream.read_exact(&mut word)?;
        Ok(u32::from_be_bytes(word))
    }

    /// One call and its reply.
    pub fn ask(&mut self, target: [u32; 3], user: &User, args: &[u8]) -> Reply {
        let xid = self.start(target, user, args);
        let reply = self.reply().expect("a reply");
        assert_eq!(reply.xid, xid, "the reply to this call");
        reply
    }

    pub fn nfs(&mut self, procedure: Procedure, user: &User, args: impl FnOnce(&mut Encoder)) -> Decoder {
        self.ask([NFS_PROGRAM, VERSION, procedure as u32], user, &encoded(args)).results()
    }

    /// The root of a share, or the status of the refusal.
    pub fn mount(&mut self, path: &str) -> Result<Bytes, u32> {
        let args = encoded(|out| out.opaque(path.as_bytes()));
        let mut reply = self.ask([MOUNT_PROGRAM, VERSION, 1], &ROOT, &args).results();
        match number(&mut reply) {
            OK => Ok(opaque(&mut reply)),
            status => Err(status),
        }
    }

    pub fn getattr(&mut self, handle: &[u8]) -> u32 {
        number(&mut self.nfs(Procedure::GetAttr, &ROOT, |out| out.opaque(handle)))
    }

    pub fn lookup(&mut self, dir: &[u8], name: &[u8]) -> Result<Bytes, u32> {
        let mut reply = self.nfs(Procedure::Lookup, &ROOT, |out| {
            out.opaque(dir);
            out.opaque(name);
        });
        match number(&mut reply) {
            OK => Ok(opaque(&mut reply)),
            status => Err(status),
        }
    }

    /// Whether the service ends the connection; anything that it still sends is read over.
    pub fn is_closed(&mut self) -> bool {
        let mut rest = [0; 4096];
        loop {
            match self.stream.read(&mut rest) {
                Ok(0) => return true,
                Ok(_) => {}
                Err(error) => return error.kind() == io::ErrorKind::ConnectionReset,
            }
        }
    }

    /// Whether the service has not ended the connection by now.
    pub fn is_open_still(&mut self) -> bool {
        self.stream().set_nonblocking(true).expect("a TCP socket");
        let mut byte = [0; 1];
        let read = self.stream.read(&mut byte);
        self.stream().set_nonblocking(false).expect("a TCP socket");
        read.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
    }
}

pub fn encoded(args: impl FnOnce(&mut Encoder)) -> Vec<u8> {
    let mut out = Encoder::new();
    args(&mut out);
    out.finish().to_bytes().to_vec()
}

/// `bytes` as one record of one fragment.
pub fn record(bytes: &[u8]) -> Vec<u8> {
    [&(bytes.len() as u32 | LAST).to_be_bytes(), bytes].concat()
}

/// A call without its record mark.
pub fn call_bytes(xid: u32, [program, version, procedure]: [u32; 3], user: &User, args: &[u8]) -> Vec<u8> {
    let auth = encoded(|out| {
        out.u32(0);
        out.opaque(b"hostile");
        out.u32(user.uid);
        out.u32(user.gid);
        out.u32(user.gids.len() as u32);
        user.gids.iter().for_each(|gid| out.u32(*gid));
    });
    let head = encoded(|out| {
        // A call, of RPC version 2, by AUTH_SYS and without a verifier.
        [xid, 0, 2, program, version, procedure, 1].into_iter().for_each(|word| out.u32(word));
        out.opaque(&auth);
        out.u32(0);
        out.u32(0);
    });
    [head, args.to_vec()].concat()
}

pub fn number(input: &mut Decoder) -> u32 {
    input.u32().expect("the reply goes on")
}

pub fn opaque(input: &mut Decoder) -> Bytes {
    input.opaque(1 << 21).expect("the reply goes on")
}

/// `post_op_attr`, passed over.
pub fn skip_post_op(input: &mut Decoder) {
    if input.bool().expect("whether there are attributes") {
        input.fixed::<84>().expect("fattr3");
    }
}

/// `wcc_data`, passed over.
pub fn skip_wcc(input: &mut Decoder) {
    if input.bool().expect("whether there are attributes") {
        input.fixed::<24>().expect("size, mtime, ctime");
    }
    skip_post_op(input);
}
