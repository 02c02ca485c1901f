//! Durable load whose every acknowledgement can be checked later, by this process or another.
//!
//! An acknowledgement is a line `name seed len`: the file `name` holds at least `len` bytes of pattern `seed`.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::Path;

use crate::Pattern;

/// One acknowledged fact.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ack {
    pub name: String,
    pub seed: u64,
    pub len: usize,
}

impl Ack {
    /// The line form.
    pub fn line(&self) -> String {
        format!("{} {} {} .", self.name, self.seed, self.len)
    }

    /// Reads the line form; `None` for a line that was cut or is something else.
    pub fn parse(line: &str) -> Option<Self> {
        let mut words = line.split(' ');
        let (name, seed, len) = (words.next()?, words.next()?.parse().ok()?, words.next()?.parse().ok()?);
        (words.next() == Some(".")).then(|| Self { name: name.to_owned(), seed, len })
    }
}

/// Writes small files (create, write, fsync, rename, fsync of the directory) and appends to one log with a sync each,
/// in turn, until `ack` says false or an error ends it.
pub fn run(dir: &Path, worker: u64, round: u64, mut ack: impl FnMut(Ack) -> bool) -> io::Result<()> {
    let log_name = format!("log{worker}-r{round}");
    let log_seed = 0xabcd << 32 | worker << 16 | round;
    let mut log = OpenOptions::new().create(true).append(true).open(dir.join(&log_name))?;
    File::open(dir)?.sync_all()?;
    let mut log_len = 0;
    for n in 0u64.. {
        let seed = worker << 48 | round << 32 | n;
        let len = [1usize, 500, 4096, 9_999, 65_536, 200_001][(seed % 6) as usize];
        let name = format!("w{worker}-r{round}-{n}");
        let temporary = dir.join(format!("{name}.tmp"));
        let mut file = File::create(&temporary)?;
        file.write_all(&Pattern(seed).bytes(0, len))?;
        file.sync_all()?;
        fs::rename(&temporary, dir.join(&name))?;
        File::open(dir)?.sync_all()?;
        if !ack(Ack { name, seed, len }) {
            return Ok(());
        }
        let more = 1 + (log_len * 31) % 7000;
        log.write_all(&Pattern(log_seed).bytes(log_len as u64, more))?;
        log.sync_data()?;
        log_len += more;
        if !ack(Ack { name: log_name.clone(), seed: log_seed, len: log_len }) {
            return Ok(());
        }
    }
    Ok(())
}

/// What of `acks` does not hold in `dir`, one line each; empty is good.
pub fn verify(dir: &Path, acks: impl IntoIterator<Item = Ack>) -> Vec<String> {
    let mut last: HashMap<String, Ack> = HashMap::new();
    for ack in acks {
        last.insert(ack.name.clone(), ack);
    }
    last.values().filter_map(|ack| wrong(dir, ack)).collect()
}

fn wrong(dir: &Path, ack: &Ack) -> Option<String> {
    let mut content = Vec::new();
    let read = File::open(dir.join(&ack.name)).and_then(|mut file| file.read_to_end(&mut content));
    if let Err(why) = read {
        return Some(format!("{} was acknowledged and cannot be read: {why}", ack.name));
    }
    if content.len() < ack.len {
        return Some(format!("{}: {} bytes were acknowledged, {} are there", ack.name, ack.len, content.len()));
    }
    (content != Pattern(ack.seed).bytes(0, content.len())).then(|| format!("{} holds wrong bytes", ack.name))
}
