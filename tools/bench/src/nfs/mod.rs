//! The NFS door against nfs-ganesha: the same calls over one TCP connection each, in interleaved pairs.
//!
//! Both servers keep their files on the same filesystem; each row says at which level of durability each of them
//! answers, for ganesha has no way to make a change of names durable before its reply. Before each run everything written
//! so far is in the pool and on disk, so that no run pays for another. A server's processor time counts whole: what it
//! does in the background while the load runs is part of the price.

mod drive;
mod export;
mod figures;
mod ganesha;
mod loads;
mod null;
mod wire;

use std::time::Duration;

use drive::{Extent, drive};
use export::Export;
use figures::{Figure, Sample, cpu_us};
use ganesha::Ganesha;
use loads::{End, FILLING, LOADS, Load, Names};
use tests_e2e::{Run, Site, SiteOptions};

use crate::memory;

const DOORS: &str = "[nfs]\nlisten = [\"127.0.0.1:0\"]\n";
/// Exports of the site: one whose changes of names are durable when they are answered, and one that relaxes this.
const SHARES: [&str; 2] = ["/synced", "/relaxed"];

struct Options {
    runs: usize,
    only: Option<String>,
    time: Duration,
    /// Size of the large file.
    mib: u64,
    /// Names that a run removes at the most.
    files: u64,
    json: bool,
    /// Without the peer.
    alone: bool,
    null: bool,
}

/// A server under load: its process and its exports. The peer has one, we have two.
struct Subject {
    pid: u32,
    exports: Vec<Export>,
}

pub fn run(args: impl Iterator<Item = String>) -> Result<(), String> {
    let options = parse(args)?;
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|error| error.to_string())?;
    if options.null {
        println!("{}", runtime.block_on(null::bounds(options.time))?);
        return Ok(());
    }
    let mut site = Site::new(SiteOptions { doors: Some(DOORS.to_owned()), ..SiteOptions::default() });
    site.mount();
    let ganesha = if options.alone { None } else { peer(&site) };
    let figures = runtime.block_on(compare(&site, ganesha.as_ref(), &options))?;
    if options.json {
        println!("{}", serde_json::to_string_pretty(&figures).expect("figures are plain numbers"));
    }
    drop(ganesha);
    site.stop();
    Ok(())
}

fn peer(site: &Site) -> Option<Ganesha> {
    Ganesha::start(site.dir())
        .inspect_err(|why| eprintln!("bench: NO COMPARISON, nfs-ganesha does not run: {why}\nOur figures alone:"))
        .ok()
}

async fn compare(site: &Site, ganesha: Option<&Ganesha>, options: &Options) -> Result<Vec<Figure>, String> {
    let mut tidegate = Subject { pid: site.pid(), exports: Vec::new() };
    let address = site.nfs_address().ok_or("the NFS door is not open")?;
    for (share, ack) in SHARES.into_iter().zip(["synced", "async"]) {
        site.share(&["create", share, "--make", "--squash", "none", "--ack", ack]).ok();
        tidegate.exports.push(Export::open(address, address, share, options.mib).await?);
    }
    let mut peer = match ganesha {
        Some(it) => {
            let export = Export::open(it.mount, it.nfs, &it.export, options.mib).await?;
            Some(Subject { pid: it.pid(), exports: vec![export] })
        }
        None => None,
    };
    let mut figures = Vec::new();
    for load in LOADS.iter().filter(|load| options.only.as_ref().is_none_or(|only| load.name.contains(only.as_str()))) {
        let (mut own, mut others) = (Vec::new(), Vec::new());
        for run in 0..options.runs {
            if let Some(peer) = &mut peer {
                settle(site, options)?;
                others.push(measure(peer, load, run, options).await.map_err(|why| format!("ganesha: {why}"))?);
            }
            settle(site, options)?;
            own.push(measure(&mut tidegate, load, run, options).await.map_err(|why| format!("tidegate: {why}"))?);
        }
        let figure = Figure::new(load, &own, &others);
        if !options.json {
            println!("{figure}");
        }
        figures.push(figure);
    }
    Ok(figures)
}

fn settle(site: &Site, options: &Options) -> Result<(), String> {
    site.flush();
    Run::new("sync").deadline_secs(300).ok();
    // What a pass over the large file takes: its pages, the log's, and the pool's.
    memory::back(site.dir(), 4 * options.mib).map_err(|error| error.to_string())
}

async fn measure(subject: &mut Subject, load: &Load, run: usize, options: &Options) -> Result<Sample, String> {
    let share = usize::from(load.relaxed).min(subject.exports.len() - 1);
    let export = subject.exports.get_mut(share).ok_or("a server without exports")?;
    let first = (run as u64) << 32;
    let ops = match load.end {
        End::Time => u64::MAX,
        End::Names => options.files,
        End::LargeFile => options.mib,
    };
    if load.names != Names::Untouched {
        export.renew(&format!("{} {run}", load.name)).await?;
    }
    if load.names == Names::Filled {
        drive(export, &FILLING, Extent { time: Duration::MAX, ops, first }).await?;
    }
    let time = if load.end == End::LargeFile { Duration::MAX } else { options.time };
    let before = cpu_us(subject.pid)?;
    let outcome = drive(export, load, Extent { time, ops, first }).await?;
    Ok(Sample::new(&outcome, cpu_us(subject.pid)? - before))
}

fn parse(mut args: impl Iterator<Item = String>) -> Result<Options, String> {
    let mut options = Options {
        runs: 5,
        only: None,
        time: Duration::from_secs(1),
        mib: 256,
        files: 8000,
        json: false,
        alone: false,
        null: false,
    };
    while let Some(arg) = args.next() {
        let mut value = || args.next().ok_or_else(|| format!("{arg} needs a value"));
        let number = |text: String| match text.parse::<u64>() {
            Ok(number) if number > 0 => Ok(number),
            _ => Err(format!("{text} is no number of something")),
        };
        match arg.as_str() {
            "--runs" => options.runs = usize::try_from(number(value()?)?).map_err(|_| "too many runs")?,
            "--secs" => options.time = Duration::from_secs(number(value()?)?),
            "--mib" => options.mib = number(value()?)?,
            "--files" => options.files = number(value()?)?,
            "--only" => options.only = Some(value()?),
            "--json" => options.json = true,
            "--alone" => options.alone = true,
            "--null" => options.null = true,
            other => return Err(format!("unknown option {other}; --help lists them")),
        }
    }
    Ok(options)
}
