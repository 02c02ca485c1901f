//! The mount against the local filesystem under it, in one run.
//!
//! Every figure is a ratio of medians over interleaved pairs (local, mount, local, mount, …), so that what else the
//! machine does weighs on both. The durability level is part of each name. Needs root: it drops the page cache.

mod figures;
mod work;

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use figures::Figure;
use tests_e2e::{Run, Site, SiteOptions};
use work::{Scale, WORKLOADS, Workload};

use crate::memory;

struct Options {
    runs: usize,
    only: Option<String>,
    scale: Scale,
    json: bool,
}

pub fn run(args: impl Iterator<Item = String>) -> Result<(), String> {
    let options = parse(args)?;
    let mut site = Site::new(SiteOptions::default());
    site.mount();
    let local = site.dir().join("local");
    fs::create_dir(&local).expect("a fresh folder takes a new name");
    // Without it ext4 looks for free inodes near freshly deleted ones and seems many times slower than it is.
    Run::new("chattr").arg("+T").arg(&local).finish();

    let mut figures = Vec::new();
    for workload in WORKLOADS.iter().filter(|w| options.only.as_ref().is_none_or(|only| w.name.contains(only.as_str())))
    {
        let figure = measure(workload, &site, &local, &options);
        if !options.json {
            println!("{figure}");
        }
        figures.push(figure);
    }
    if options.json {
        println!("{}", serde_json::to_string_pretty(&figures).expect("figures are plain numbers"));
    }
    site.stop();
    Ok(())
}

fn measure(workload: &Workload, site: &Site, local: &Path, options: &Options) -> Figure {
    let mount = site.mnt();
    let mut pairs = Vec::new();
    for run in 0..options.runs {
        let pair = [local, &mount].map(|root| {
            let dir = root.join(format!("{}-{run}", workload.name.replace(' ', "-")));
            fs::create_dir(&dir).expect("a fresh folder takes a new name");
            let took = timed(workload, &dir, site, options.scale);
            fs::remove_dir_all(&dir).expect("what was written can be removed");
            // What the mount still uploads must not slow down the next.
            site.flush();
            took
        });
        pairs.push(pair);
    }
    Figure::new(workload, options.scale, &pairs)
}

fn timed(workload: &Workload, dir: &Path, site: &Site, scale: Scale) -> Duration {
    memory::back(site.dir(), 2 * scale.mib).expect("there is room for a file");
    (workload.prepare)(dir, scale, site).expect("the preparation works");
    let begin = Instant::now();
    (workload.work)(dir, scale).expect("the workload works");
    (workload.end)(dir, site).expect("the workload ends");
    begin.elapsed()
}

fn parse(mut args: impl Iterator<Item = String>) -> Result<Options, String> {
    let mut options = Options { runs: 5, only: None, scale: Scale { files: 2000, mib: 1024 }, json: false };
    while let Some(arg) = args.next() {
        let mut value = || args.next().ok_or_else(|| format!("{arg} needs a value"));
        let number = |text: String| text.parse::<u64>().map_err(|_| format!("{text} is no number"));
        match arg.as_str() {
            "--runs" => options.runs = usize::try_from(number(value()?)?).map_err(|_| "too many runs")?.max(1),
            "--files" => options.scale.files = number(value()?)?,
            "--mib" => options.scale.mib = number(value()?)?,
            "--only" => options.only = Some(value()?),
            "--json" => options.json = true,
            other => return Err(format!("unknown option {other}; --help lists them")),
        }
    }
    Ok(options)
}
