//! What an operator sees of a running service: metrics, counts, traces, the audit log.

#![allow(clippy::disallowed_methods)]

use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::time::{Duration, Instant};

use serde_json::Value;
use tests_e2e::{Run, Site, SiteOptions, tidegate, tool};

const ADMIN: &str = "[[mounts]]\npath = \"@MNT@\"\n[admin]\nlisten = \"127.0.0.1:0\"\n";
const AUDIT: &str = "[[mounts]]\npath = \"@MNT@\"\n[audit]\npath = \"@MNT@-audit.jsonl\"\nfile_bytes_max = \"4KiB\"\n\
                     older_files = 2\n";
const DEADLINE: Duration = Duration::from_secs(60);
/// Watchers of operations at a time.
const WATCHERS_MAX: usize = 16;

fn serving(doors: &str) -> Site {
    let mut site = Site::new(SiteOptions { doors: Some(doors.to_owned()), ..SiteOptions::default() });
    site.mount();
    site
}

fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + DEADLINE;
    while !holds() {
        assert!(Instant::now() < end, "{what}: not within {DEADLINE:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// The admin interface as a client has it.
struct Interface {
    address: SocketAddr,
    token_file: PathBuf,
    token: String,
}

impl Interface {
    fn of(site: &Site) -> Self {
        let admin = &site.status()["admin"];
        let address = admin["listen"].as_str().and_then(|text| text.parse().ok()).expect("it is open");
        let token_file = PathBuf::from(admin["token_file"].as_str().expect("a path"));
        let token = fs::read_to_string(&token_file).expect("its owner may read it").trim().to_owned();
        Self { address, token_file, token }
    }

    fn send(&self, line: &str, token: Option<&str>, body: &str) -> TcpStream {
        let mut stream = TcpStream::connect(self.address).expect("it listens");
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        let bearer = token.map_or_else(String::new, |token| format!("Authorization: Bearer {token}\r\n"));
        let len = body.len();
        let head = format!("{line} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{bearer}Content-Length: {len}\r\n\r\n");
        stream.write_all(format!("{head}{body}").as_bytes()).unwrap();
        stream
    }

    /// Status and text of the answer.
    fn ask_with(&self, line: &str, token: Option<&str>, body: &str) -> (u16, String) {
        let mut answer = String::new();
        self.send(line, token, body).read_to_string(&mut answer).unwrap();
        let status = answer.split(' ').nth(1).and_then(|text| text.parse().ok());
        (status.unwrap_or_else(|| panic!("no HTTP: {answer}")), answer)
    }

    fn metrics(&self) -> String {
        let (status, text) = self.ask_with("GET /metrics", Some(&self.token), "");
        assert_eq!(status, 200, "{text}");
        text
    }

    fn metric(&self, name: &str) -> Option<f64> {
        value_in(&self.metrics(), name)
    }

    /// The status of the answer to one who wants to watch; the watcher leaves at once.
    fn watch(&self) -> u16 {
        let mut stream = self.send("GET /v1/trace", Some(&self.token), "");
        let mut head = [0; 12];
        stream.read_exact(&mut head).unwrap();
        String::from_utf8_lossy(&head[9..]).parse().expect("a status")
    }
}

/// The value of the sample `name`, labels included.
fn value_in(metrics: &str, name: &str) -> Option<f64> {
    let value = metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))?;
    Some(value.parse().unwrap_or_else(|_| panic!("{name} is {value}")))
}

/// `tidegate trace`, ended with the test.
struct Watcher {
    child: Child,
    output: PathBuf,
}

impl Watcher {
    fn start(site: &Site, name: &str, args: &[&str]) -> Self {
        let output = site.dir().join(name);
        let run = site.command(&["trace", "--data"]).arg(site.data()).args(args);
        Self { child: run.start(File::create(&output).unwrap()), output }
    }

    fn seen(&self) -> String {
        fs::read_to_string(&self.output).unwrap()
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

#[test]
fn metrics_are_for_those_with_the_token_and_grow_by_what_was_done() {
    let mut site = serving(ADMIN);
    let http = Interface::of(&site);
    assert_eq!(fs::metadata(&http.token_file).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(http.token.len(), 32);
    for token in [None, Some(""), Some("wrong"), Some(&http.token[1..])] {
        for line in ["GET /metrics", "GET /v1/stats", "GET /v1/trace", "POST /v1/ask"] {
            let (status, text) = http.ask_with(line, token, "{\"op\":\"status\"}");
            assert_eq!(status, 401, "{line} with {token:?}");
            assert!(!text.contains("tidegate_"), "{text}");
        }
    }

    let door = format!("door=\"fuse {}\"", site.mnt().display());
    let created = format!("tidegate_door_duration_seconds_count{{{door},op=\"create\"}}");
    let written = format!("tidegate_door_bytes_total{{{door},op=\"write\"}}");
    let failed = format!("tidegate_door_errors_total{{{door},op=\"rmdir\"}}");
    assert_eq!(http.metric(&created), None, "nothing was done yet");
    for n in 0..5 {
        fs::write(site.mnt().join(format!("f{n}")), vec![7; 10_000]).unwrap();
    }
    fs::create_dir_all(site.mnt().join("d/e")).unwrap();
    fs::remove_dir(site.mnt().join("d")).expect_err("it is not empty");
    let metrics = http.metrics();
    assert_eq!(value_in(&metrics, &created), Some(5.0), "{metrics}");
    assert_eq!(value_in(&metrics, &written), Some(50_000.0), "{metrics}");
    assert_eq!(value_in(&metrics, &failed), Some(1.0), "{metrics}");
    assert_eq!(value_in(&metrics, "tidegate_store_inodes"), Some(8.0), "the root, five files, two directories");
    assert_eq!(value_in(&metrics, "tidegate_mounts"), Some(1.0));
    assert!(value_in(&metrics, "tidegate_process_resident_bytes").is_some_and(|bytes| bytes > 1e6), "{metrics}");
    assert!(metrics.trim_end().ends_with("# EOF"), "{metrics}");

    site.flush();
    let drive = format!("tidegate_drive_state{{drive=\"{}\"}}", site.drive(3).display());
    let metrics = http.metrics();
    assert_eq!(value_in(&metrics, "tidegate_dirty_bytes"), Some(0.0));
    assert!(value_in(&metrics, "tidegate_upload_bytes_total").is_some_and(|bytes| bytes > 0.0), "{metrics}");
    assert_eq!(value_in(&metrics, &drive), Some(0.0), "{metrics}");
    fs::rename(site.drive(3), site.dir().join("aside")).unwrap();
    eventually("the drive is seen to be away", || http.metric(&drive) == Some(2.0));
    fs::rename(site.dir().join("aside"), site.drive(3)).unwrap();

    // What commands can ask, over HTTP.
    let (status, text) = http.ask_with("POST /v1/ask", Some(&http.token), "{\"op\":\"status\"}");
    assert!(status == 200 && text.contains("\"done\":{\"status\":{"), "{text}");
    let (status, text) = http.ask_with("POST /v1/ask", Some(&http.token), "{\"op\":\"nonsense\"}");
    assert!(status == 200 && text.contains("\"failed\""), "{text}");

    site.remount();
    assert_eq!(Interface::of(&site).token, http.token, "it is made once");
    site.stop();
}

#[test]
fn each_door_counts_for_itself_and_names_its_clients() {
    let mut site = serving(&format!("{ADMIN}[nfs]\nlisten = [\"127.0.0.1:0\"]\n"));
    site.share(&["create", "/files", "--make", "--squash", "none"]).ok();
    let local = site.dir().join("source");
    fs::write(&local, vec![1; 100_000]).unwrap();
    Run::new(tool("nfs-cp")).arg(&local).arg(site.nfs_url("/files/copy")).ok();

    let stats = site.command(&["stats", "--json", "--data"]).arg(site.data()).ok().json();
    let door = |name: &str| -> &Value {
        let all = stats["doors"].as_array().expect("doors");
        all.iter().find(|door| door["door"] == name).unwrap_or_else(|| panic!("{name} is not in {stats}"))
    };
    let op = |door: &Value, name: &str| -> Option<Value> {
        door["ops"].as_array()?.iter().find(|op| op["op"] == name).cloned()
    };
    let write = op(door("nfs"), "write").expect("NFS wrote");
    assert_eq!(write["bytes"], 100_000, "{write}");
    assert!(write["calls"].as_u64() > Some(0) && write["p99_us"].as_u64() > Some(0), "{write}");
    let client = &door("nfs")["clients"][0];
    assert_eq!(client["client"], "127.0.0.1", "an address without its port");
    assert!(client["bytes"].as_u64() >= Some(100_000), "{client}");
    let fuse = door(&format!("fuse {}", site.mnt().display()));
    assert_eq!(op(fuse, "write"), None, "nobody wrote through the mount");
    assert_eq!(fuse["clients"], serde_json::json!([]));

    // Share and client of an operation, and nobody else's.
    let watcher = Watcher::start(&site, "trace", &["--share", "/files", "--client", "127.0.0.1", "--json"]);
    let mut n = 0;
    eventually("an operation of the share is shown", || {
        n += 1;
        fs::write(site.mnt().join(format!("by-mount-{n}")), "x").unwrap();
        Run::new(tool("nfs-cp")).arg(&local).arg(site.nfs_url(&format!("/files/copy-{n}"))).ok();
        watcher.seen().contains("\"op\":\"create\"")
    });
    for line in watcher.seen().lines().filter(|line| line.ends_with('}')) {
        let line: Value = serde_json::from_str(line).expect("JSON lines");
        assert_eq!((&line["door"], &line["share"]), (&"nfs".into(), &"/files".into()), "{line}");
    }
    site.stop();
}

#[test]
fn a_trace_shows_a_create_by_its_path_and_ends_when_its_reader_goes() {
    let mut site = serving(ADMIN);
    let http = Interface::of(&site);
    let wanted = site.mnt().join("wanted");
    let watcher = Watcher::start(&site, "trace", &["--path", "/wanted", "--op", "create"]);
    eventually("the create is shown", || {
        fs::write(site.mnt().join("other"), "x").unwrap();
        fs::write(&wanted, "x").unwrap();
        fs::remove_file(&wanted).unwrap();
        watcher.seen().contains(" create /wanted ")
    });
    let seen = watcher.seen();
    let door = format!(" fuse {} uid 0 create /wanted ", site.mnt().display());
    assert!(seen.lines().all(|line| line.contains(&door) && line.ends_with(" ok")), "{seen}");
    drop(watcher);

    let watchers: Vec<Watcher> =
        (0..WATCHERS_MAX).map(|n| Watcher::start(&site, &format!("trace-{n}"), &["--errors"])).collect();
    eventually("no more than there are places", || http.watch() == 429);
    let refused = site.command(&["trace", "--data"]).arg(site.data()).finish();
    assert!(refused.code == Some(1) && refused.stderr.contains("too many watch"), "{}", refused.text());
    // Nothing goes through the doors meanwhile: a reader's end is noticed without a line for it.
    drop(watchers);
    eventually("who goes makes room", || http.watch() == 200);

    // A reader that wants no more lines ends the command.
    let script = format!(
        "(for n in $(seq 600); do touch '{0}'; rm '{0}'; [ -e '{1}' ] && break; sleep 0.1; done) & \
         '{2}' trace --data '{3}' --op unlink | head -n 1; touch '{1}'; wait",
        wanted.display(),
        site.dir().join("seen").display(),
        tidegate().display(),
        site.data().display(),
    );
    let done = Run::bash(&script).env("HOME", site.dir()).deadline_secs(120).ok();
    assert!(done.stdout.contains(" unlink /wanted "), "{}", done.text());

    // The end of the service ends the trace.
    let mut watcher = Watcher::start(&site, "last", &[]);
    eventually("it watches", || {
        fs::write(site.mnt().join("other"), "y").unwrap();
        !watcher.seen().is_empty()
    });
    site.stop();
    let mut code = None;
    eventually("the trace ends with the service", || {
        code = watcher.child.try_wait().unwrap().map(|status| status.code());
        code.is_some()
    });
    assert_eq!(code, Some(Some(3)), "{}", watcher.seen());
    assert!(watcher.seen().contains("the service ended"), "{}", watcher.seen());
}

#[test]
fn the_audit_log_has_success_and_failure_turns_over_and_is_whole_at_the_end() {
    let mut site = serving(AUDIT);
    let log = site.dir().join("mnt-audit.jsonl");
    assert_eq!(fs::metadata(&log).unwrap().permissions().mode() & 0o777, 0o600);
    fs::create_dir(site.mnt().join("d")).unwrap();
    fs::write(site.mnt().join("d/f"), "x").unwrap();
    fs::remove_dir(site.mnt().join("d")).expect_err("it is not empty");
    let found = |op: &str, path: &str, ok: bool| {
        let lines = audited(&log);
        lines.iter().any(|line| line["op"] == op && line["path"] == path && (line["result"] == "ok") == ok)
    };
    eventually("success is written", || found("create", "/d/f", true));
    eventually("failure is written", || found("rmdir", "/d", false));
    assert!(!fs::read_to_string(&log).unwrap().contains("getattr"), "who only looks is not audited");

    for n in 0..60 {
        fs::write(site.mnt().join(format!("file-{n:03}")), "x").unwrap();
    }
    let dir = site.dir().to_path_buf();
    let older = |n: u32| dir.join(format!("mnt-audit.jsonl.{n}"));
    // While it does, one of them is missing for a moment.
    let is_bounded = |file: &Path| fs::metadata(file).is_ok_and(|found| found.len() <= 4096);
    eventually("it turns over", || [&log, &older(1), &older(2)].iter().all(|file| is_bounded(file)));
    assert!(!older(3).exists(), "the oldest goes");

    // Other shares hold at once: a mount has none.
    site.set_doors(&format!("{AUDIT}shares = [\"/files\"]\n"));
    site.config();
    let reload = |site: &Site| site.command(&["reload", "--json", "--data"]).arg(site.data()).ok().json();
    assert_eq!(reload(&site)["applied"], serde_json::json!(["audit"]));
    fs::write(site.mnt().join("unaudited"), "x").unwrap();
    site.set_doors(AUDIT);
    site.config();
    assert_eq!(reload(&site)["applied"], serde_json::json!(["audit"]));

    // A log that cannot be opened changes nothing.
    site.set_doors(&AUDIT.replace("@MNT@-audit", "@MNT@-absent/audit"));
    site.config();
    let refused = site.command(&["reload", "--data"]).arg(site.data()).finish();
    assert!(refused.code == Some(1) && refused.stderr.contains("mnt-absent/audit"), "{}", refused.text());

    fs::write(site.mnt().join("last"), "x").unwrap();
    site.stop();
    let all: Vec<Value> = [older(2), older(1), log].iter().flat_map(|file| audited(file)).collect();
    assert!(all.iter().any(|line| line["path"] == "/last"), "the last line is written before the end: {all:?}");
    assert!(!all.iter().any(|line| line["path"] == "/unaudited"), "{all:?}");
}

fn audited(log: &Path) -> Vec<Value> {
    let text = fs::read_to_string(log).unwrap_or_default();
    // A line may be half written.
    text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

#[test]
fn stats_and_top_print_what_goes_on_and_say_when_nothing_runs() {
    // Without a configuration, too.
    let mut site = Site::mounted();
    fs::write(site.mnt().join("f"), vec![1; 5000]).unwrap();
    let stats = site.command(&["stats"]).arg(site.mnt()).ok().stdout;
    let create = stats.lines().find(|line| line.starts_with("create")).unwrap_or_else(|| panic!("{stats}"));
    assert_eq!(create.split_whitespace().nth(1), Some("1"), "{stats}");
    assert!(stats.contains("p99"), "{stats}");

    let once = site.command(&["top", "--once", "--data"]).arg(site.data()).ok().stdout;
    for part in ["dirty ", "upload ", "cache ", "ops/s", "fuse "] {
        assert!(once.contains(part), "{part} is not in {once}");
    }
    assert!(!once.contains('\u{1b}'), "a plain block where nobody sees a screen: {once:?}");
    let twice = site.command(&["top", "--seconds", "2", "--json", "--data"]).arg(site.data()).ok().stdout;
    let looks: Vec<Value> = twice.lines().map(|line| serde_json::from_str(line).expect("an object a line")).collect();
    assert_eq!(looks.len(), 2, "{twice}");
    assert!(looks.iter().all(|look| look["seconds"].as_f64() >= Some(1.0)), "{twice}");

    let wrong = site.command(&["trace", "--op", "creat", "--data"]).arg(site.data()).finish();
    assert!(wrong.code == Some(2) && wrong.stderr.contains("`creat` is no operation"), "{}", wrong.text());
    site.stop();
    for args in [&["stats"][..], &["top", "--once"], &["trace"]] {
        let done = site.command(args).arg("--data").arg(site.data()).finish();
        assert_eq!(done.code, Some(3), "{}", done.text());
        assert!(done.stderr.contains("does not run") && done.stderr.lines().count() == 1, "{}", done.stderr);
    }
}

#[test]
fn mistakes_are_one_line_and_nothing_is_made() {
    let holder = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = holder.local_addr().unwrap().to_string();
    let mount = "[[mounts]]\npath = \"@MNT@\"\n";
    let cases: [(String, &[&str]); 4] = [
        ("[admin]\nport = 1\n".to_owned(), &["line 6", "[admin] port", "`listen`"]),
        ("[audit]\npath = \"@MNT@-absent/a\"\n".to_owned(), &["mnt-absent/a", "folder is not there", "mkdir"]),
        ("[audit]\nfile_bytes_max = \"1MiB\"\n".to_owned(), &["[audit]", "missing field `path`"]),
        ("[admin]\nlisten = \"192.0.2.77:0\"\n".to_owned(), &["192.0.2.77:0", "does not have this address"]),
    ];
    for (section, parts) in &cases {
        refused(&format!("{mount}{section}"), &["check", "serve"], parts);
    }
    let section = format!("{mount}[admin]\nlisten = \"{taken}\"\n");
    refused(&section, &["check", "serve"], &[&taken, "another program", "[admin] listen"]);

    // What is in the file is looked at by a start.
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), "short").unwrap();
    let section = format!("{ADMIN}token_file = \"{}\"\n", file.path().display());
    refused(&section, &["serve"], &[&file.path().display().to_string(), "16 to 1024 characters"]);
}

fn refused(doors: &str, commands: &[&str], parts: &[&str]) {
    let site = Site::new(SiteOptions { doors: Some(doors.to_owned()), ..SiteOptions::default() });
    for command in commands {
        let run = Run::new(tidegate()).args([command, "-c"]).arg(site.config()).env("HOME", site.dir());
        let done = run.env("TIDEGATE_LOG", "off").finish();
        assert!(done.code.is_some_and(|code| code != 0), "{doors}: {}", done.text());
        assert_eq!(done.stderr.lines().count(), 1, "{}", done.stderr);
        assert!(parts.iter().all(|part| done.stderr.contains(part)), "{doors}\n{}", done.stderr);
    }
    assert!(!site.data().exists(), "{doors}: a refusal makes no store");
}
