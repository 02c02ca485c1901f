//! What a door wants to know again after a restart.

/// Stored with the change that a request makes, in the same record: after a restart it is there exactly if the change is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// A later receipt of the same slot takes the place of this one. Slots are the door's to give.
    pub slot: u32,
    /// The door's business.
    pub bytes: Box<[u8]>,
}
