//! The head of a shard file: identity, geometry, and one checksum per 64 KiB of the body. Byte table in FORMAT.md.

use objstore_base::{BlobClass, BlobId, Error, Result};
use xxhash_rust::xxh3::{Xxh3, xxh3_64, xxh3_64_with_seed};

use crate::{Generation, PoolUuid, ShardName, Stripe};

/// Bytes of the body under one checksum.
pub const UNIT_BYTES: usize = 64 << 10;
/// Header and table together are padded to a multiple of this, so that the body starts on a page.
pub const HEADER_ALIGN: usize = 4 << 10;

const MAGIC: [u8; 8] = *b"TGSHARD\0";
const VERSION: u16 = 1;
/// Offset of the header's own checksum, and end of the fixed part.
const SUM_AT: usize = 120;
const FIXED_BYTES: usize = 128;
const K_MAX: u8 = 16;
const M_MAX: u8 = 4;

/// Everything a shard is bound to: what its header says and what seeds its checksums.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShardIdentity {
    pub pool: PoolUuid,
    pub name: ShardName,
    pub k: u8,
    pub m: u8,
    /// The pool's epoch when the blob was placed.
    pub epoch: u64,
    pub blob_len: u64,
    pub cell_bytes: u32,
}

impl ShardIdentity {
    /// # Errors
    /// `InvalidArgument` where the numbers make no stripe.
    pub fn stripe(&self) -> Result<Stripe> {
        Stripe::new(self.k, self.cell_bytes, self.blob_len)
    }

    /// The seed of unit 0; the others count up from it.
    fn seed(&self) -> u64 {
        let mut fixed = [0; FIXED_BYTES];
        self.write(&mut fixed);
        xxh3_64(&fixed)
    }

    fn write(&self, out: &mut [u8; FIXED_BYTES]) {
        out[..8].copy_from_slice(&MAGIC);
        out[8..10].copy_from_slice(&VERSION.to_le_bytes());
        out[16..32].copy_from_slice(&self.pool.0);
        out[32..36].copy_from_slice(&[self.name.blob.class as u8, self.name.index, self.k, self.m]);
        out[36..40].copy_from_slice(&self.cell_bytes.to_le_bytes());
        out[40..48].copy_from_slice(&self.name.blob.number.to_le_bytes());
        out[48..56].copy_from_slice(&self.name.generation.0.to_le_bytes());
        out[56..64].copy_from_slice(&self.epoch.to_le_bytes());
        out[64..72].copy_from_slice(&self.blob_len.to_le_bytes());
    }
}

/// A decoded, verified header.
#[derive(Debug, PartialEq, Eq)]
pub struct ShardHeader {
    identity: ShardIdentity,
    stripe: Stripe,
    seed: u64,
    sums: Box<[u64]>,
}

impl ShardHeader {
    /// The header of a shard with `identity` whose body is the concatenation of `body`.
    ///
    /// # Errors
    /// `InvalidArgument` where the identity makes no stripe or the body has not the length it asks for.
    pub fn seal(identity: ShardIdentity, body: &[bytes::Bytes]) -> Result<Self> {
        let stripe = identity.stripe()?;
        let given: u64 = body.iter().map(|part| part.len() as u64).sum();
        if given != stripe.shard_len() {
            let why = format!("a body of {given} bytes where the stripe has {}", stripe.shard_len());
            return Err(Error::new(objstore_base::ErrorKind::InvalidArgument, "seal shard").context(why));
        }
        let seed = identity.seed();
        let sums = checksums(seed, body);
        Ok(Self { identity, stripe, seed, sums })
    }

    pub const fn identity(&self) -> &ShardIdentity {
        &self.identity
    }

    pub const fn stripe(&self) -> &Stripe {
        &self.stripe
    }

    /// Where the body starts in the file.
    pub fn body_at(&self) -> u64 {
        header_bytes(self.stripe.shard_len())
    }

    pub fn file_len(&self) -> u64 {
        self.body_at() + self.stripe.shard_len()
    }

    /// The header as it stands in the file, padding included.
    pub fn encode(&self) -> Vec<u8> {
        let mut fixed = [0; FIXED_BYTES];
        self.identity.write(&mut fixed);
        let units = self.sums.len() as u32;
        fixed[12..16].copy_from_slice(&(self.body_at() as u32).to_le_bytes());
        fixed[72..80].copy_from_slice(&self.stripe.shard_len().to_le_bytes());
        fixed[80..84].copy_from_slice(&units.to_le_bytes());
        fixed[84..88].copy_from_slice(&(UNIT_BYTES as u32).to_le_bytes());
        let mut out = fixed.to_vec();
        self.sums.iter().for_each(|sum| out.extend_from_slice(&sum.to_le_bytes()));
        let sum = header_sum(&out);
        out[SUM_AT..FIXED_BYTES].copy_from_slice(&sum.to_le_bytes());
        out.resize(self.body_at() as usize, 0);
        out
    }

    /// How many bytes [`Self::decode`] needs of a file of `file_len` bytes whose first page is `page`.
    ///
    /// # Errors
    /// `Corrupt` where the page is no shard header or the file's length does not fit it.
    pub fn encoded_len(page: &[u8], file_len: u64) -> Result<usize> {
        let fixed = Fixed::parse(page)?;
        if fixed.header_bytes + fixed.stripe.shard_len() != file_len {
            let wanted = fixed.header_bytes + fixed.stripe.shard_len();
            return Err(corrupt(format!("the file has {file_len} bytes where its header asks for {wanted}")));
        }
        usize::try_from(fixed.header_bytes).map_err(|_| corrupt("the header is too long for this machine"))
    }

    /// Decodes a whole header: magic, version, checksum, every field against every other.
    ///
    /// # Errors
    /// `Corrupt` naming the field.
    pub fn decode(header: &[u8]) -> Result<Self> {
        let fixed = Fixed::parse(header)?;
        let table_end = FIXED_BYTES + fixed.units * 8;
        let table = header.get(FIXED_BYTES..table_end).ok_or_else(|| corrupt("the checksum table is cut off"))?;
        let padding = header.get(table_end..).unwrap_or_default();
        if header.len() as u64 != fixed.header_bytes || padding.iter().any(|&byte| byte != 0) {
            return Err(corrupt("the padding of the header is not zero"));
        }
        let covered = header.get(..table_end).unwrap_or_default();
        if header_sum(covered) != fixed.sum {
            return Err(corrupt("the header's checksum does not fit"));
        }
        let sums = table.as_chunks::<8>().0.iter().map(|bytes| u64::from_le_bytes(*bytes)).collect();
        Ok(Self { identity: fixed.identity, stripe: fixed.stripe, seed: fixed.identity.seed(), sums })
    }

    /// Checks that this is the header of shard `name` of `pool`, as the file's place says.
    ///
    /// # Errors
    /// `Corrupt` naming what it belongs to.
    pub fn expect(&self, pool: PoolUuid, name: ShardName) -> Result<()> {
        if self.identity.pool != pool {
            return Err(corrupt(format!("the shard belongs to pool {}", self.identity.pool)));
        }
        if self.identity.name != name {
            return Err(corrupt(format!("the shard is {}", self.identity.name)));
        }
        Ok(())
    }

    /// Checks whole units of the body, the first of which is `unit`; the last unit of the body may be short.
    ///
    /// # Errors
    /// `Corrupt` naming the first unit that does not fit.
    pub fn check(&self, unit: usize, bytes: &[u8]) -> Result<()> {
        for (number, content) in (unit..).zip(bytes.chunks(UNIT_BYTES)) {
            let wanted = self.sums.get(number).ok_or_else(|| corrupt(format!("unit {number} is behind the end")))?;
            if xxh3_64_with_seed(content, unit_seed(self.seed, number)) != *wanted {
                return Err(corrupt(format!("the checksum of unit {number} does not fit")));
            }
        }
        Ok(())
    }
}

/// The fixed part, all fields checked against each other; its checksum is checked with the table.
struct Fixed {
    identity: ShardIdentity,
    stripe: Stripe,
    header_bytes: u64,
    units: usize,
    sum: u64,
}

impl Fixed {
    fn parse(page: &[u8]) -> Result<Self> {
        let fixed: &[u8; FIXED_BYTES] = page.first_chunk().ok_or_else(|| corrupt("the header is cut off"))?;
        if fixed[..8] != MAGIC {
            return Err(corrupt("no shard magic"));
        }
        if fixed[8..10] != VERSION.to_le_bytes() {
            return Err(corrupt("unknown shard version"));
        }
        let class = BlobClass::from_tag(fixed[32]).ok_or_else(|| corrupt("unknown blob class"))?;
        let name = ShardName {
            blob: BlobId::new(class, u64_at(fixed, 40)),
            index: fixed[33],
            generation: Generation(u64_at(fixed, 48)),
        };
        let mut pool = PoolUuid([0; 16]);
        pool.0.copy_from_slice(&fixed[16..32]);
        let (k, m) = (fixed[34], fixed[35]);
        let identity = ShardIdentity {
            pool,
            name,
            k,
            m,
            epoch: u64_at(fixed, 56),
            blob_len: u64_at(fixed, 64),
            cell_bytes: u32_at(fixed, 36),
        };
        if k > K_MAX || m > M_MAX || name.index >= k + m {
            return Err(corrupt(format!("shard {} of code {k}+{m}", name.index)));
        }
        let stripe = identity.stripe().map_err(|e| corrupt("the geometry makes no sense").source(e))?;
        let units = stripe.shard_len().div_ceil(UNIT_BYTES as u64);
        let fits = u64_at(fixed, 72) == stripe.shard_len()
            && u64::from(u32_at(fixed, 80)) == units
            && u32_at(fixed, 84) as usize == UNIT_BYTES
            && u64::from(u32_at(fixed, 12)) == header_bytes(stripe.shard_len())
            && fixed[10..12] == [0; 2]
            && fixed[88..SUM_AT] == [0; SUM_AT - 88];
        if !fits {
            return Err(corrupt("lengths or reserved bytes do not fit"));
        }
        let header_bytes = header_bytes(stripe.shard_len());
        Ok(Self { identity, stripe, header_bytes, units: units as usize, sum: u64_at(fixed, SUM_AT) })
    }
}

fn header_bytes(shard_len: u64) -> u64 {
    let table = shard_len.div_ceil(UNIT_BYTES as u64) * 8;
    (FIXED_BYTES as u64 + table).next_multiple_of(HEADER_ALIGN as u64)
}

/// The checksum of fixed part and table, the checksum field itself left out.
fn header_sum(covered: &[u8]) -> u64 {
    let (fixed, table) = covered.split_at(FIXED_BYTES.min(covered.len()));
    let mut state = Xxh3::new();
    state.update(fixed.get(..SUM_AT).unwrap_or_default());
    state.update(table);
    state.digest()
}

const fn unit_seed(seed: u64, unit: usize) -> u64 {
    seed.wrapping_add((unit as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15))
}

/// One checksum per unit of the concatenation of `body`.
fn checksums(seed: u64, body: &[bytes::Bytes]) -> Box<[u64]> {
    let mut sums = Vec::new();
    let mut state = Xxh3::with_seed(unit_seed(seed, 0));
    let mut filled = 0;
    for part in body {
        let mut rest = &part[..];
        while !rest.is_empty() {
            if filled == 0 && rest.len() >= UNIT_BYTES {
                let (unit, behind) = rest.split_at(UNIT_BYTES);
                sums.push(xxh3_64_with_seed(unit, unit_seed(seed, sums.len())));
                rest = behind;
                continue;
            }
            if filled == 0 {
                state = Xxh3::with_seed(unit_seed(seed, sums.len()));
            }
            let (now, behind) = rest.split_at(rest.len().min(UNIT_BYTES - filled));
            state.update(now);
            filled += now.len();
            rest = behind;
            if filled == UNIT_BYTES {
                sums.push(state.digest());
                filled = 0;
            }
        }
    }
    if filled > 0 {
        sums.push(state.digest());
    }
    sums.into_boxed_slice()
}

fn u64_at(fixed: &[u8; FIXED_BYTES], at: usize) -> u64 {
    fixed[at..].first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes))
}

fn u32_at(fixed: &[u8; FIXED_BYTES], at: usize) -> u32 {
    fixed[at..].first_chunk().map_or(0, |bytes| u32::from_le_bytes(*bytes))
}

fn corrupt(why: impl Into<String>) -> Error {
    Error::corrupt("read shard", why)
}
