//! Running a command under a deadline.

use std::ffi::OsStr;
use std::io::Read;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

/// A command to run to its end.
pub struct Run {
    command: Command,
    deadline: Duration,
    shown: String,
}

/// What came of it.
#[derive(Debug)]
pub struct Finished {
    pub code: Option<i32>,
    pub signal: Option<i32>,
    pub stdout: String,
    pub stderr: String,
    shown: String,
}

impl Run {
    /// One minute is the deadline unless told otherwise.
    pub fn new(program: impl AsRef<OsStr>) -> Self {
        let mut command = Command::new(&program);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
        Self { command, deadline: Duration::from_secs(60), shown: program.as_ref().to_string_lossy().into_owned() }
    }

    /// `bash -euc SCRIPT`.
    pub fn bash(script: &str) -> Self {
        Self::new("bash").args(["-euc", script])
    }

    #[must_use]
    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.shown.push(' ');
        self.shown.push_str(&arg.as_ref().to_string_lossy());
        self.command.arg(arg);
        self
    }

    #[must_use]
    pub fn args<A: AsRef<OsStr>>(self, args: impl IntoIterator<Item = A>) -> Self {
        args.into_iter().fold(self, Self::arg)
    }

    #[must_use]
    pub fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    #[must_use]
    pub fn dir(mut self, dir: &Path) -> Self {
        self.command.current_dir(dir);
        self
    }

    #[must_use]
    pub fn deadline_secs(mut self, secs: u64) -> Self {
        self.deadline = Duration::from_secs(secs);
        self
    }

    /// Runs it; past the deadline its process group is killed and the test fails.
    pub fn finish(mut self) -> Finished {
        let mut child = self.command.spawn().unwrap_or_else(|e| panic!("cannot start {}: {e}", self.shown));
        let stdout = drain(child.stdout.take());
        let stderr = drain(child.stderr.take());
        let status = wait(&mut child, self.deadline);
        if status.is_none() {
            kill_group(&child);
            child.wait().expect("a killed child can be waited for");
        }
        let (stdout, stderr) = (join(stdout), join(stderr));
        let Some(status) = status else {
            panic!("{} did not end within {:?}\n{stdout}\n{stderr}", self.shown, self.deadline);
        };
        Finished { code: status.code(), signal: status.signal(), stdout, stderr, shown: self.shown }
    }

    /// Runs it and fails the test unless it exits with 0.
    pub fn ok(self) -> Finished {
        let done = self.finish();
        assert_eq!(done.code, Some(0), "{} failed\n{}\n{}", done.shown, done.stdout, done.stderr);
        done
    }

    /// Starts it and hands it over; output goes to `log`.
    pub fn start(mut self, log: std::fs::File) -> Child {
        let errors = log.try_clone().expect("a file can be cloned");
        self.command.stdout(log).stderr(errors);
        self.command.spawn().unwrap_or_else(|e| panic!("cannot start {}: {e}", self.shown))
    }
}

impl Finished {
    /// Both outputs, for messages.
    pub fn text(&self) -> String {
        format!("{}{}", self.stdout, self.stderr)
    }

    /// The output as JSON.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.stdout)
            .unwrap_or_else(|e| panic!("{} gave no JSON: {e}\n{}", self.shown, self.text()))
    }
}

/// Waits for the child's end; `None` when the deadline passes first.
pub(crate) fn wait(child: &mut Child, deadline: Duration) -> Option<std::process::ExitStatus> {
    let end = Instant::now() + deadline;
    loop {
        match child.try_wait().expect("a child can be waited for") {
            Some(status) => return Some(status),
            None if Instant::now() >= end => return None,
            None => thread::sleep(Duration::from_millis(5)),
        }
    }
}

fn kill_group(child: &Child) {
    let group = Pid::from_raw(i32::try_from(child.id()).expect("pids fit"));
    // It may have ended by itself in between.
    killpg(group, Signal::SIGKILL).ok();
}

fn drain(pipe: Option<impl Read + Send + 'static>) -> thread::JoinHandle<Vec<u8>> {
    let mut pipe = pipe.expect("the output is piped");
    thread::spawn(move || {
        let mut all = Vec::new();
        pipe.read_to_end(&mut all).expect("a pipe can be read");
        all
    })
}

fn join(reader: thread::JoinHandle<Vec<u8>>) -> String {
    String::from_utf8_lossy(&reader.join().expect("the reader does not panic")).into_owned()
}
