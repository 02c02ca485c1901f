//! POSIX ACLs: the extended-attribute form, validity, evaluation, and their tie to the mode bits.
//!
//! An access ACL that says no more than the mode is never kept: then the mode alone decides. Where one is kept, the
//! mode shows it: owner and other as they are, the mask in place of the group (or the group, where there is no mask).

use fs_api::{AccessMask, Credentials};
use objstore_base::{Error, ErrorKind, Result};

pub const ACCESS_ACL_XATTR: &[u8] = b"system.posix_acl_access";
pub const DEFAULT_ACL_XATTR: &[u8] = b"system.posix_acl_default";

const VERSION: u32 = 2;
const TAG_OWNER: u16 = 0x01;
const TAG_USER: u16 = 0x02;
const TAG_GROUP_OWNER: u16 = 0x04;
const TAG_GROUP: u16 = 0x08;
const TAG_MASK: u16 = 0x10;
const TAG_OTHER: u16 = 0x20;
/// The id field of entries that have no id.
const NO_ID: u32 = u32::MAX;
const ENTRY_BYTES: usize = 8;

/// Some of read (4), write (2) and execute (1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Perm(u8);

impl Perm {
    /// The lowest three bits of `bits`.
    pub const fn from_bits(bits: u32) -> Self {
        Self((bits & 7) as u8)
    }

    pub const fn bits(self) -> u32 {
        self.0 as u32
    }

    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    pub const fn contains(self, want: Self) -> bool {
        self.0 & want.0 == want.0
    }

    pub const fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }
}

impl From<AccessMask> for Perm {
    fn from(mask: AccessMask) -> Self {
        Self(u8::from(mask.read) << 2 | u8::from(mask.write) << 1 | u8::from(mask.execute))
    }
}

/// The entry of a named user or group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NamedEntry {
    pub id: u32,
    pub perm: Perm,
}

/// A valid ACL. Named entries keep the order in which they were given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Acl {
    owner: Perm,
    users: Vec<NamedEntry>,
    group: Perm,
    groups: Vec<NamedEntry>,
    mask: Option<Perm>,
    other: Perm,
}

impl Acl {
    /// The ACL that says what `mode` says.
    pub const fn from_mode(mode: u32) -> Self {
        Self {
            owner: Perm::from_bits(mode >> 6),
            users: Vec::new(),
            group: Perm::from_bits(mode >> 3),
            groups: Vec::new(),
            mask: None,
            other: Perm::from_bits(mode),
        }
    }

    /// The ACL that the extended attribute `value` stands for; `None` where it lists nothing, which removes the ACL.
    ///
    /// # Errors
    /// `NotSupported` for another version, `InvalidArgument` for anything that is no valid ACL.
    ///
    /// # Source
    /// Linux `posix_acl_from_xattr` and `posix_acl_valid`.
    pub fn decode(value: &[u8]) -> Result<Option<Self>> {
        let Some((version, entries)) = value.split_first_chunk::<4>() else {
            return if value.is_empty() { Ok(None) } else { Err(invalid("it ends inside its header")) };
        };
        if u32::from_le_bytes(*version) != VERSION {
            return Err(Error::new(ErrorKind::NotSupported, "decode ACL"));
        }
        let (entries, rest) = entries.as_chunks::<ENTRY_BYTES>();
        if !rest.is_empty() {
            return Err(invalid("it ends inside an entry"));
        }
        if entries.is_empty() { Ok(None) } else { Decoder::default().acl(entries).map(Some) }
    }

    pub fn encode(&self) -> Vec<u8> {
        let mut value = VERSION.to_le_bytes().to_vec();
        let mut entry = |tag: u16, perm: Perm, id: u32| {
            value.extend_from_slice(&tag.to_le_bytes());
            value.extend_from_slice(&u16::from(perm.0).to_le_bytes());
            value.extend_from_slice(&id.to_le_bytes());
        };
        entry(TAG_OWNER, self.owner, NO_ID);
        self.users.iter().for_each(|user| entry(TAG_USER, user.perm, user.id));
        entry(TAG_GROUP_OWNER, self.group, NO_ID);
        self.groups.iter().for_each(|group| entry(TAG_GROUP, group.perm, group.id));
        if let Some(mask) = self.mask {
            entry(TAG_MASK, mask, NO_ID);
        }
        entry(TAG_OTHER, self.other, NO_ID);
        value
    }

    /// The permission bits (`0o777`) that show this ACL.
    pub fn mode(&self) -> u32 {
        self.owner.bits() << 6 | self.mask.unwrap_or(self.group).bits() << 3 | self.other.bits()
    }

    /// Whether the mode alone says the same.
    pub fn is_minimal(&self) -> bool {
        self.users.is_empty() && self.groups.is_empty() && self.mask.is_none()
    }

    /// Takes over the permission bits of a `chmod`.
    pub fn chmod(&mut self, mode: u32) {
        let new = Self::from_mode(mode);
        self.owner = new.owner;
        *self.mask.as_mut().unwrap_or(&mut self.group) = new.group;
        self.other = new.other;
    }

    /// The access ACL of a new inode under this default ACL: what the creator's `mode` asks for and no more.
    #[must_use]
    pub fn for_new(&self, mode: u32) -> Self {
        let asked = Self::from_mode(mode);
        let mut acl = self.clone();
        acl.owner = acl.owner.and(asked.owner);
        let group = acl.mask.as_mut().unwrap_or(&mut acl.group);
        *group = group.and(asked.group);
        acl.other = acl.other.and(asked.other);
        acl
    }

    /// Whether this access ACL gives a caller who is not the owner all of `want`; `gid` owns the inode.
    ///
    /// A named user's entry decides for that user. Of the groups, one that gives all of `want` is enough; being in one
    /// that does not shuts out "other". The mask limits all but "other".
    pub(crate) fn grants(&self, caller: &Credentials, gid: u32, want: Perm) -> bool {
        let masked = |perm: Perm| self.mask.map_or(perm, |mask| perm.and(mask)).contains(want);
        if let Some(user) = self.users.iter().find(|user| user.id == caller.uid) {
            return masked(user.perm);
        }
        let group = NamedEntry { id: gid, perm: self.group };
        let mut member = false;
        for group in std::iter::once(&group).chain(&self.groups) {
            if caller.in_group(group.id) {
                member = true;
                if group.perm.contains(want) {
                    return masked(group.perm);
                }
            }
        }
        !member && self.other.contains(want)
    }
}

/// What was read so far; entries come in this order.
#[derive(Default)]
struct Decoder {
    owner: Option<Perm>,
    users: Vec<NamedEntry>,
    group: Option<Perm>,
    groups: Vec<NamedEntry>,
    mask: Option<Perm>,
    other: Option<Perm>,
}

impl Decoder {
    fn acl(mut self, entries: &[[u8; ENTRY_BYTES]]) -> Result<Acl> {
        for entry in entries {
            self.entry(*entry)?;
        }
        let missing = || invalid("an entry for owner, group or other is missing");
        let acl = Acl {
            owner: self.owner.ok_or_else(missing)?,
            users: self.users,
            group: self.group.ok_or_else(missing)?,
            groups: self.groups,
            mask: self.mask,
            other: self.other.ok_or_else(missing)?,
        };
        if acl.mask.is_none() && !acl.is_minimal() {
            return Err(invalid("named entries need a mask"));
        }
        Ok(acl)
    }

    fn entry(&mut self, [t0, t1, p0, p1, id @ ..]: [u8; ENTRY_BYTES]) -> Result<()> {
        let perm = match u16::from_le_bytes([p0, p1]) {
            bits @ 0..=7 => Perm::from_bits(bits.into()),
            _ => return Err(invalid("unknown permission bits")),
        };
        let named = NamedEntry { id: u32::from_le_bytes(id), perm };
        let (before_group, before_mask) = (self.group.is_none(), self.mask.is_none() && self.other.is_none());
        match u16::from_le_bytes([t0, t1]) {
            TAG_OWNER if self.owner.is_none() && before_group && before_mask => self.owner = Some(perm),
            TAG_USER if self.owner.is_some() && before_group && named.id != NO_ID => self.users.push(named),
            TAG_GROUP_OWNER if self.owner.is_some() && before_group => self.group = Some(perm),
            TAG_GROUP if !before_group && before_mask && named.id != NO_ID => self.groups.push(named),
            TAG_MASK if !before_group && before_mask => self.mask = Some(perm),
            TAG_OTHER if !before_group && self.other.is_none() => self.other = Some(perm),
            _ => return Err(invalid("an entry is unknown, repeated or out of order")),
        }
        Ok(())
    }
}

fn invalid(why: &str) -> Error {
    Error::new(ErrorKind::InvalidArgument, "decode ACL").context(why)
}

#[cfg(test)]
mod tests;
