//! Arguments of the procedures. Every count is bounded before it is believed.

use bytes::Bytes;
use gateway_sunrpc::xdr::{Decoder, Encoder, Garbage};

use super::attributes::{NewAttributes, guard, put_time};
use super::{HANDLE_BYTES_MAX, NAME_WIRE_BYTES_MAX, TRANSFER_BYTES_MAX};
use fs_api::Time;

pub type Parsed<T> = Result<T, Garbage>;

/// An undecoded file handle.
pub fn handle(input: &mut Decoder) -> Parsed<Bytes> {
    input.opaque(HANDLE_BYTES_MAX)
}

/// `diropargs3`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    pub dir: Bytes,
    pub name: Bytes,
}

impl Place {
    pub fn decode(input: &mut Decoder) -> Parsed<Self> {
        Ok(Self { dir: handle(input)?, name: input.string(NAME_WIRE_BYTES_MAX)? })
    }

    pub fn encode(&self, out: &mut Encoder) {
        out.opaque(&self.dir);
        out.opaque(&self.name);
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetAttrArgs {
    pub object: Bytes,
    pub attributes: NewAttributes,
    pub guard: Option<Option<Time>>,
}

impl SetAttrArgs {
    pub fn decode(input: &mut Decoder) -> Parsed<Self> {
        Ok(Self { object: handle(input)?, attributes: NewAttributes::decode(input)?, guard: guard(input)? })
    }

    pub fn encode(&self, out: &mut Encoder) {
        out.opaque(&self.object);
        self.attributes.encode(out);
        out.bool(self.guard.is_some());
        if let Some(time) = self.guard {
            put_time(out, time.unwrap_or_default());
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadArgs {
    pub file: Bytes,
    pub offset: u64,
    pub count: u32,
}

impl ReadArgs {
    pub fn decode(input: &mut Decoder) -> Parsed<Self> {
        Ok(Self { file: handle(input)?, offset: input.u64()?, count: input.u32()? })
    }

    pub fn encode(&self, out: &mut Encoder) {
        out.opaque(&self.file);
        out.u64(self.offset);
        out.u32(self.count);
    }
}

/// `stable_how`, and what a reply says was kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Stable {
    Unstable = 0,
    DataSync = 1,
    FileSync = 2,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WriteArgs {
    pub file: Bytes,
    pub offset: u64,
    pub count: u32,
    pub stable: Stable,
    pub data: Bytes,
}

impl WriteArgs {
    pub fn decode(input: &mut Decoder) -> Parsed<Self> {
        let (file, offset, count) = (handle(input)?, input.u64()?, input.u32()?);
        let stable = match input.u32()? {
            0 => Stable::Unstable,
            1 => Stable::DataSync,
            2 => Stable::FileSync,
            _ => return Err(Garbage),
        };
        let data = input.opaque(TRANSFER_BYTES_MAX as usize)?;
        Ok(Self { file, offset, count, stable, data })
    }

    pub fn encode(&self, out: &mut Encoder) {
        out.opaque(&self.file);
        out.u64(self.offset);
        out.u32(self.count);
        out.u32(self.stable as u32);
        out.payload(self.data.clone());
    }
}

/// `createhow3`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CreateHow {
    Unchecked(NewAttributes),
    Guarded(NewAttributes),
    Exclusive([u8; 8]),
}

impl CreateHow {
    pub fn decode(input: &mut Decoder) -> Parsed<Self> {
        match input.u32()? {
            0 => Ok(Self::Unchecked(NewAttributes::decode(input)?)),
            1 => Ok(Self::Guarded(NewAttributes::decode(input)?)),
            2 => Ok(Self::Exclusive(input.fixed::<8>()?)),
            _ => Err(Garbage),
        }
    }

    pub fn encode(&self, out: &mut Encoder) {
        match self {
            Self::Unchecked(attributes) => {
                out.u32(0);
                attributes.encode(out);
            }
            Self::Guarded(attributes) => {
                out.u32(1);
                attributes.encode(out);
            }
            Self::Exclusive(verifier) => {
                out.u32(2);
                out.fixed(verifier);
            }
        }
    }
}

/// `mknoddata3`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MkNodData {
    Device {
        block: bool,
        attributes: NewAttributes,
        major: u32,
        minor: u32,
    },
    Socket(NewAttributes),
    Fifo(NewAttributes),
    /// A type that MKNOD does not make (`BADTYPE`).
    Other,
}

impl MkNodData {
    pub fn decode(input: &mut Decoder) -> Parsed<Self> {
        match input.u32()? {
            kind @ (3 | 4) => {
                let attributes = NewAttributes::decode(input)?;
                Ok(Self::Device { block: kind == 3, attributes, major: input.u32()?, minor: input.u32()? })
            }
            6 => Ok(Self::Socket(NewAttributes::decode(input)?)),
            7 => Ok(Self::Fifo(NewAttributes::decode(input)?)),
            1 | 2 | 5 => Ok(Self::Other),
            _ => Err(Garbage),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadDirArgs {
    pub dir: Bytes,
    pub cookie: u64,
    pub verifier: [u8; 8],
    /// Bytes of names, cookies and numbers (READDIRPLUS); the same as `maxcount` for READDIR.
    pub dircount: u32,
    /// Bytes of the whole result.
    pub maxcount: u32,
}

impl ReadDirArgs {
    pub fn decode(input: &mut Decoder, plus: bool) -> Parsed<Self> {
        let (dir, cookie, verifier) = (handle(input)?, input.u64()?, input.fixed::<8>()?);
        let dircount = input.u32()?;
        let maxcount = if plus { input.u32()? } else { dircount };
        Ok(Self { dir, cookie, verifier, dircount, maxcount })
    }

    pub fn encode(&self, out: &mut Encoder, plus: bool) {
        out.opaque(&self.dir);
        out.u64(self.cookie);
        out.fixed(&self.verifier);
        out.u32(self.dircount);
        if plus {
            out.u32(self.maxcount);
        }
    }
}

#[cfg(test)]
mod tests {
    use fs_api::{SetAttr, SetTime};

    use super::*;

    /// A chance that repeats: xorshift from a fixed seed.
    struct Chance(u64);

    impl Chance {
        fn next(&mut self) -> u64 {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            self.0
        }

        fn bytes(&mut self, max: usize) -> Bytes {
            let length = self.next() as usize % (max + 1);
            (0..length).map(|_| self.next() as u8).collect::<Vec<u8>>().into()
        }

        fn time(&mut self) -> Time {
            Time { secs: i64::from(self.next() as u32), nanos: (self.next() % 1_000_000_000) as u32 }
        }

        fn maybe<T>(&mut self, value: impl FnOnce(&mut Self) -> T) -> Option<T> {
            self.next().is_multiple_of(2).then(|| value(self))
        }

        fn attributes(&mut self) -> NewAttributes {
            let set_time = |chance: &mut Self| match chance.next() % 2 {
                0 => SetTime::Now,
                _ => SetTime::To(chance.time()),
            };
            let set = SetAttr {
                mode: self.maybe(|c| c.next() as u32 & 0o7777),
                uid: self.maybe(|c| c.next() as u32),
                gid: self.maybe(|c| c.next() as u32),
                size: self.maybe(Self::next),
                atime: self.maybe(set_time),
                mtime: self.maybe(set_time),
                kill_suid_sgid: false,
            };
            NewAttributes { set, times_valid: true }
        }
    }

    fn returns<T: PartialEq + std::fmt::Debug>(
        value: T,
        encode: impl Fn(&T, &mut Encoder),
        decode: impl Fn(&mut Decoder) -> Parsed<T>,
    ) {
        let mut out = Encoder::new();
        encode(&value, &mut out);
        let mut input = Decoder::new(out.finish().to_bytes());
        assert_eq!(decode(&mut input), Ok(value));
        assert_eq!(input.remaining(), 0);
    }

    #[test]
    fn arguments_return_from_the_wire_as_they_went() {
        let chance = &mut Chance(0x1234_5678_9abc_def1);
        for _ in 0..2000 {
            let place = Place { dir: chance.bytes(64), name: chance.bytes(300) };
            returns(place, Place::encode, Place::decode);
            let (object, attributes) = (chance.bytes(64), chance.attributes());
            let guard = chance.maybe(|c| Some(c.time()));
            returns(SetAttrArgs { object, attributes, guard }, SetAttrArgs::encode, SetAttrArgs::decode);
            let how = match chance.next() % 3 {
                0 => CreateHow::Unchecked(chance.attributes()),
                1 => CreateHow::Guarded(chance.attributes()),
                _ => CreateHow::Exclusive(chance.next().to_be_bytes()),
            };
            returns(how, CreateHow::encode, CreateHow::decode);
            let (file, data) = (chance.bytes(64), chance.bytes(100));
            let (offset, count, stable) = (chance.next(), data.len() as u32, Stable::DataSync);
            returns(WriteArgs { file, offset, count, stable, data }, WriteArgs::encode, WriteArgs::decode);
        }
    }

    #[test]
    fn h40_random_bytes_are_garbage_or_arguments_and_never_a_panic() {
        let chance = &mut Chance(0xdead_beef_cafe_f00d);
        for _ in 0..20_000 {
            let input = Decoder::new(chance.bytes(200));
            // Whatever each says of it: that it comes back is the test.
            let answers = [
                Place::decode(&mut input.clone()).is_ok(),
                SetAttrArgs::decode(&mut input.clone()).is_ok(),
                WriteArgs::decode(&mut input.clone()).is_ok(),
                CreateHow::decode(&mut input.clone()).is_ok(),
                MkNodData::decode(&mut input.clone()).is_ok(),
                ReadDirArgs::decode(&mut input.clone(), true).is_ok(),
            ];
            assert_eq!(answers.len(), 6);
        }
    }
}
