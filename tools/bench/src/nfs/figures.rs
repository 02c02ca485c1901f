//! A figure of one load: medians, spread, ratio, and what an operation costs the server.

use std::fmt;
use std::fs;
use std::time::Duration;

use serde::Serialize;

use super::drive::Outcome;
use super::loads::Load;

/// Kernel ticks of /proc; Linux has had no other value on these machines.
const TICK_US: f64 = 10_000.0;

/// Processor time that a process has used, in microseconds.
pub fn cpu_us(pid: u32) -> Result<f64, String> {
    let path = format!("/proc/{pid}/stat");
    let text = fs::read_to_string(&path).map_err(|error| format!("{path}: {error}"))?;
    // The name in brackets may hold anything; utime and stime are the 12th and 13th field after it.
    let fields = text.rsplit_once(')').map_or("", |(_, fields)| fields).split_whitespace().skip(11);
    let ticks: Vec<f64> = fields.take(2).filter_map(|field| field.parse().ok()).collect();
    Ok(ticks.iter().sum::<f64>() * TICK_US)
}

/// One run of one server.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    ops_per_sec: f64,
    cpu_us_per_op: f64,
}

impl Sample {
    pub fn new(outcome: &Outcome, cpu_us: f64) -> Self {
        let per_sec = |took: Duration| outcome.ops as f64 / took.as_secs_f64();
        Self { ops_per_sec: per_sec(outcome.took), cpu_us_per_op: cpu_us / outcome.ops as f64 }
    }
}

/// One server's side of a figure.
#[derive(Debug, Serialize)]
pub struct Side {
    pub level: &'static str,
    pub ops_per_sec: f64,
    /// Slowest and fastest run.
    pub spread: [f64; 2],
    pub cpu_us_per_op: f64,
}

#[derive(Debug, Serialize)]
pub struct Figure {
    pub name: &'static str,
    pub tidegate: Side,
    pub ganesha: Option<Side>,
    /// Above 1 Tidegate is faster.
    pub ratio: Option<f64>,
}

impl Figure {
    /// From the samples of Tidegate and of ganesha (none where it does not run).
    pub fn new(load: &Load, tidegate: &[Sample], ganesha: &[Sample]) -> Self {
        let side = |level, samples: &[Sample]| {
            let rates = sorted(samples.iter().map(|sample| sample.ops_per_sec));
            let costs = sorted(samples.iter().map(|sample| sample.cpu_us_per_op));
            Side {
                level,
                ops_per_sec: rates[rates.len() / 2],
                spread: [rates[0], rates[rates.len() - 1]],
                cpu_us_per_op: costs[costs.len() / 2],
            }
        };
        let [own, peer] = load.levels;
        let tidegate = side(own, tidegate);
        let ganesha = (!ganesha.is_empty()).then(|| side(peer, ganesha));
        let ratio = ganesha.as_ref().map(|peer| tidegate.ops_per_sec / peer.ops_per_sec);
        Self { name: load.name, tidegate, ganesha, ratio }
    }
}

fn sorted(values: impl Iterator<Item = f64>) -> Vec<f64> {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { level, ops_per_sec, spread: [slow, fast], cpu_us_per_op } = self;
        write!(f, "{level:<2} {ops_per_sec:>8.0}/s ({slow:.0}–{fast:.0}) {cpu_us_per_op:>6.1} µs")
    }
}

impl fmt::Display for Figure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:<48} tidegate {}", self.name, self.tidegate)?;
        if let (Some(ganesha), Some(ratio)) = (&self.ganesha, self.ratio) {
            write!(f, "  ganesha {ganesha}  ratio {ratio:.2}")?;
        }
        Ok(())
    }
}
