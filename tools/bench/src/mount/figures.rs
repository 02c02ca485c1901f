//! A figure: medians, spread and ratio.

use std::fmt;
use std::time::Duration;

use serde::Serialize;

use crate::mount::work::{Scale, Workload};

/// One workload's outcome. `ratio` above 1 means that the mount is faster than the local filesystem.
#[derive(Debug, Serialize)]
pub struct Figure {
    pub name: &'static str,
    pub durability: &'static str,
    pub unit: &'static str,
    pub local: f64,
    pub mount: f64,
    pub ratio: f64,
    /// Slowest and fastest of the mount's runs, in `unit`.
    pub mount_spread: [f64; 2],
    pub runs: usize,
}

impl Figure {
    /// From pairs of (local, mount) times.
    pub fn new(workload: &Workload, scale: Scale, pairs: &[[Duration; 2]]) -> Self {
        let amount = (workload.amount)(scale);
        let rates = |side: usize| {
            let mut rates: Vec<f64> = pairs.iter().map(|pair| amount / pair[side].as_secs_f64()).collect();
            rates.sort_by(f64::total_cmp);
            rates
        };
        let (local, mount) = (rates(0), rates(1));
        let median = |sorted: &[f64]| sorted[sorted.len() / 2];
        Self {
            name: workload.name,
            durability: workload.durability,
            unit: workload.unit,
            local: median(&local),
            mount: median(&mount),
            ratio: median(&mount) / median(&local),
            mount_spread: [mount[0], mount[mount.len() - 1]],
            runs: pairs.len(),
        }
    }
}

impl fmt::Display for Figure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:<28} {:<3} local {:>9.0} {:<8} mount {:>9.0} ({:.0}–{:.0})  ratio {:.2}",
            self.name,
            self.durability,
            self.local,
            self.unit,
            self.mount,
            self.mount_spread[0],
            self.mount_spread[1],
            self.ratio
        )
    }
}
