//! Which drive takes which shard of a put.
//!
//! One shard a drive while enough drives can be counted on. With fewer than n of them the shards that have no drive of
//! their own go, as evenly as possible, beside others: they are displaced until a heal moves them. What must hold is
//! that losing one more drive leaves k shards, so no drive may hold more than m, and a put needs ceil(n / m) drives (n
//! where m = 0): 3 for 4+2.

use std::collections::VecDeque;

use crate::PoolConfig;

/// What is to be thought of a drive before a shard is given to it. Better comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Standing {
    Ready,
    /// Suspect, full, or it does not say how much room it has.
    Doubtful,
    /// Still busy with a shard of an earlier put. It may have recovered since: the last resort.
    Behind,
}

/// A drive that may take shards of a put.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Offer {
    pub(crate) slot: u16,
    pub(crate) standing: Standing,
    /// Shards it has room for; the first is tried in any case.
    pub(crate) shards_max: u64,
}

/// Where the shards go first, and who takes one that a drive refuses: a drive is in `spares` once for each shard more
/// that it may take.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Plan {
    pub(crate) homes: Vec<Option<u16>>,
    pub(crate) spares: VecDeque<u16>,
}

/// Divides the shards of one put among `offers`, best first; nothing where they are too few for a put that bears the
/// loss of one of them.
pub(crate) fn plan(config: &PoolConfig, offers: &[Offer]) -> Option<Plan> {
    let of = |standing: Standing| offers.iter().filter(move |offer| offer.standing == standing);
    let mut chosen: Vec<&Offer> = of(Standing::Ready).collect();
    // With a quorum beside it a drive in doubt gets its try: it costs at most the wait. Without one it is asked only
    // when those that are trusted cannot carry the blob.
    if chosen.len() >= config.quorum() {
        chosen.extend(of(Standing::Doubtful));
    } else {
        let lacking = config.drives_min().saturating_sub(chosen.len());
        chosen.extend(of(Standing::Doubtful).chain(of(Standing::Behind)).take(lacking));
    }
    if chosen.len() < config.drives_min() {
        return None;
    }
    let mut places = VecDeque::new();
    for level in 0..config.shards().div_ceil(chosen.len()) as u64 {
        let takes = |offer: &&&Offer| level == 0 || level < offer.shards_max;
        places.extend(chosen.iter().filter(takes).map(|offer| offer.slot));
    }
    let homes = (0..config.shards()).map(|_| places.pop_front()).collect();
    Some(Plan { homes, spares: places })
}

#[cfg(test)]
mod tests {
    use objstore_shard::PoolUuid;

    use super::*;

    fn config(k: usize, m: usize) -> PoolConfig {
        let drives = (0..k + m).map(|slot| format!("/{slot}").into()).collect();
        PoolConfig::new(PoolUuid([1; 16]), k, m, drives, "/heal".into())
    }

    fn offers(standings: &[Standing]) -> Vec<Offer> {
        let offer = |(slot, &standing): (usize, &Standing)| Offer { slot: slot as u16, standing, shards_max: 100 };
        standings.iter().enumerate().map(offer).collect()
    }

    fn homes(k: usize, m: usize, standings: &[Standing]) -> Option<Vec<u16>> {
        plan(&config(k, m), &offers(standings)).map(|plan| plan.homes.into_iter().flatten().collect())
    }

    #[test]
    fn fewer_drives_than_shards_take_more_than_one_evenly() {
        use Standing::Ready;
        assert_eq!(homes(4, 2, &[Ready; 6]), Some(vec![0, 1, 2, 3, 4, 5]));
        assert_eq!(homes(4, 2, &[Ready; 5]), Some(vec![0, 1, 2, 3, 4, 0]));
        assert_eq!(homes(4, 2, &[Ready; 4]), Some(vec![0, 1, 2, 3, 0, 1]));
        assert_eq!(homes(4, 2, &[Ready; 3]), Some(vec![0, 1, 2, 0, 1, 2]));
        assert_eq!(homes(4, 2, &[Ready; 2]), None, "three each: the loss of one would be too much");
        assert_eq!(homes(2, 1, &[Ready; 2]), None, "one lost drive takes all the parity there is");
        assert_eq!(homes(1, 0, &[Ready]), Some(vec![0]));
        assert_eq!(homes(2, 0, &[Ready]), None);
        assert_eq!(homes(1, 1, &[Ready]), None);
        let spares = plan(&config(4, 2), &offers(&[Ready; 4])).map(|plan| plan.spares);
        assert_eq!(spares, Some([2, 3].into()), "each of four may hold two");
    }

    #[test]
    fn no_plan_loses_more_to_one_drive_than_the_code_bears() {
        for (k, m) in (1..=16).flat_map(|k| (1..=4).map(move |m| (k, m))) {
            for drives in 0..=k + m {
                let Some(plan) = plan(&config(k, m), &offers(&vec![Standing::Ready; drives])) else {
                    assert!(drives == 0 || (k + m).div_ceil(drives) > m, "{k}+{m} over {drives} is possible");
                    continue;
                };
                let held = |slot: u16| plan.homes.iter().flatten().filter(|home| **home == slot).count();
                let most = (0..drives as u16).map(held).max().unwrap_or_default();
                assert!(plan.homes.iter().all(Option::is_some) && most <= m, "{k}+{m} over {drives}: {plan:?}");
                assert!(config(k, m).bears_a_loss(k + m, most));
            }
        }
    }

    #[test]
    fn who_is_not_trusted_is_tried_beside_a_quorum_or_when_nobody_else_is_left() {
        use Standing::{Behind, Doubtful, Ready};
        assert_eq!(homes(4, 2, &[Doubtful, Ready, Ready, Ready, Ready, Ready]), Some(vec![1, 2, 3, 4, 5, 0]));
        assert_eq!(homes(4, 2, &[Doubtful, Doubtful, Ready, Ready, Ready, Ready]), Some(vec![2, 3, 4, 5, 2, 3]));
        assert_eq!(homes(4, 2, &[Behind, Ready, Ready, Ready, Ready, Ready]), Some(vec![1, 2, 3, 4, 5, 1]));
        assert_eq!(homes(4, 2, &[Behind, Doubtful, Ready, Ready]), Some(vec![2, 3, 1, 2, 3, 1]));
        assert_eq!(homes(4, 2, &[Behind, Ready, Ready]), Some(vec![1, 2, 0, 1, 2, 0]));
        assert_eq!(homes(2, 1, &[Ready, Behind, Ready]), Some(vec![0, 2, 1]));
    }

    #[test]
    fn a_drive_takes_no_more_than_it_has_room_for() {
        let mut offers = offers(&[Standing::Ready; 4]);
        offers[0].shards_max = 1;
        let plan = plan(&config(4, 2), &offers).expect("a plan");
        assert_eq!(plan.homes, [0, 1, 2, 3, 1, 2].map(Some));
        assert_eq!(plan.spares, [3]);
    }
}
