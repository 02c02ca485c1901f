//! Where shards go: weighted rendezvous hashing of (blob, epoch) over the drives.
//!
//! Each drive draws a score from the blob and its own uuid, stretched by its capacity; the best k + m carry the blob,
//! the next ones are its spares. Adding or losing a drive moves only what that drive gains or held. Reads do not rest
//! on this: they look where shards are.

use objstore_base::BlobId;
use objstore_shard::DriveUuid;
use xxhash_rust::xxh3::xxh3_64;

/// A drive as placement sees it. `weight` is its capacity in any unit, the same for all.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Candidate {
    pub(crate) slot: u16,
    pub(crate) uuid: DriveUuid,
    pub(crate) weight: u64,
}

/// The slots, best first.
pub(crate) fn rank(blob: BlobId, epoch: u64, candidates: &[Candidate]) -> Vec<u16> {
    let mut scored: Vec<(f64, u16)> = candidates.iter().map(|c| (score(blob, epoch, c), c.slot)).collect();
    scored.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
    scored.into_iter().map(|(_, slot)| slot).collect()
}

fn score(blob: BlobId, epoch: u64, candidate: &Candidate) -> f64 {
    let mut key = [0; 33];
    key[..16].copy_from_slice(&candidate.uuid.0);
    key[16] = blob.class as u8;
    key[17..25].copy_from_slice(&blob.number.to_le_bytes());
    key[25..].copy_from_slice(&epoch.to_le_bytes());
    // 53 bits in the open interval (0, 1): the logarithm is finite and negative.
    let chance = ((xxh3_64(&key) >> 11) as f64 + 0.5) / (1_u64 << 53) as f64;
    candidate.weight.max(1) as f64 / -chance.ln()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drives(weights: &[u64]) -> Vec<Candidate> {
        let drive = |(slot, weight): (usize, &u64)| Candidate {
            slot: slot as u16,
            uuid: DriveUuid([slot as u8 + 1; 16]),
            weight: *weight,
        };
        weights.iter().enumerate().map(drive).collect()
    }

    fn share(weights: &[u64], n: usize) -> Vec<f64> {
        let mut held = vec![0.0; weights.len()];
        for number in 0..20_000 {
            for slot in rank(BlobId::segment(number), 1, &drives(weights)).into_iter().take(n) {
                held[usize::from(slot)] += 1.0 / 20_000.0;
            }
        }
        held
    }

    #[test]
    fn drives_are_used_by_their_capacity() {
        let held = share(&[1, 1, 2, 4], 1);
        for (got, wanted) in held.iter().zip([0.125, 0.125, 0.25, 0.5]) {
            assert!((got - wanted).abs() < 0.02, "{held:?}");
        }
        assert!(share(&[5; 8], 6).iter().all(|got| (got - 0.75).abs() < 0.02));
    }

    #[test]
    fn a_new_drive_takes_its_part_and_moves_nothing_else() {
        let (old, new) = (drives(&[3; 6]), drives(&[3; 7]));
        for number in 0..2000 {
            let blob = BlobId::segment(number);
            let before: Vec<u16> = rank(blob, 1, &old);
            let mut after = rank(blob, 1, &new);
            after.retain(|&slot| slot != 6);
            assert_eq!(before, after);
        }
    }

    #[test]
    fn placement_differs_by_blob_and_epoch() {
        let drives = drives(&[1; 12]);
        let first = rank(BlobId::segment(1), 1, &drives);
        assert_ne!(first, rank(BlobId::segment(2), 1, &drives));
        assert_ne!(first, rank(BlobId::segment(1), 2, &drives));
    }
}
