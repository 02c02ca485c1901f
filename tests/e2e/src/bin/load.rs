//! The load as a program, for places where the test cannot run itself: `load run DIR WORKER ROUND`, `load verify DIR ACKS`.

#![forbid(unsafe_code)]
#![allow(clippy::disallowed_methods)]

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::ExitCode;

use tests_e2e::load;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().collect();
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    match words.as_slice() {
        [_, "run", dir, worker, round] => {
            let (worker, round) = (worker.parse().expect("a number"), round.parse().expect("a number"));
            let mut out = std::io::stdout();
            let ended = load::run(Path::new(dir), worker, round, |ack| {
                writeln!(out, "{}", ack.line()).and_then(|()| out.flush()).is_ok()
            });
            if let Err(why) = ended {
                eprintln!("load: {why}");
                return ExitCode::FAILURE;
            }
        }
        [_, "verify", dir, acks] => {
            let file = std::fs::File::open(acks).expect("the acknowledgements can be read");
            let lines = BufReader::new(file).lines().map_while(Result::ok);
            let acks: Vec<load::Ack> = lines.filter_map(|line| load::Ack::parse(line.trim())).collect();
            let wrong = load::verify(Path::new(dir), acks.clone());
            println!("{} acknowledgements, {} do not hold", acks.len(), wrong.len());
            for line in &wrong {
                println!("{line}");
            }
            if !wrong.is_empty() {
                return ExitCode::FAILURE;
            }
        }
        _ => {
            eprintln!("usage: load run DIR WORKER ROUND | load verify DIR ACKS");
            return ExitCode::from(2);
        }
    }
    ExitCode::SUCCESS
}
