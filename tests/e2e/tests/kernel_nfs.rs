//! The client of the Linux kernel judges the NFS door: a real kernel, in User-Mode Linux, mounts what the binary exports.

#![allow(clippy::disallowed_methods)]

use std::collections::BTreeSet;
use std::fs;
use std::io::Read;
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use tests_e2e::{Guest, Pattern, Portmapper, Run, Site, SiteOptions, deep, tool};

/// What NFSv3 cannot do: a file that is removed while it is open has another name instead of none; times are 32 bits.
const PROTOCOL_LIMITS: [&str; 3] = ["unlink::open_file_not_freed", "utimensat::y2038", "utimensat::follow_symlink"];

const PJDFSTEST_CONFIG: &str = r#"
[features]
file_flags = []
posix_fallocate = {}
utime_now = {}
utimensat = {}
rename_ctime = {}

[settings]
naptime = 0.01
allow_remount = false
expected_failures = []

[dummy_auth]
entries = [["nobody", "nogroup"], ["games", "games"], ["man", "man"]]
"#;

/// A share of everything, on a port that stays the same over restarts, beside a mount.
struct Export {
    site: Site,
    port: u16,
    locks: &'static str,
}

impl Export {
    fn new() -> Self {
        Self::with("", "nolock")
    }

    /// With `settings` in the section of the door, and `locks` among the options of the mount.
    fn with(settings: &str, locks: &'static str) -> Self {
        let port = TcpListener::bind("127.0.0.1:0").and_then(|taken| taken.local_addr()).expect("a free port").port();
        let doors = format!("[[mounts]]\npath = \"@MNT@\"\n[nfs]\nlisten = [\"127.0.0.1:{port}\"]\n{settings}");
        let mut site = Site::new(SiteOptions { doors: Some(doors), ..SiteOptions::default() });
        site.mount();
        site.share(&["create", "/", "--as", "/all", "--squash", "none"]).ok();
        fs::create_dir(site.dir().join("shared")).expect("a fresh folder takes a new name");
        Self { site, port, locks }
    }

    /// A guest that mounts the share, runs `script` in it, and unmounts; its exit code is the script's.
    fn guest(&self, script: &str) -> Guest {
        self.guest_after("true", script)
    }

    /// With `services` started before.
    fn guest_after(&self, services: &str, script: &str) -> Guest {
        let (port, locks) = (self.port, self.locks);
        let script = format!(
            "modprobe -a nfs nfsv3 || exit 100\n\
             {services} || exit 103\n\
             mkdir -p /mnt/nfs\n\
             attach() {{ mount -t nfs -o vers=3,{locks},proto=tcp,mountproto=tcp,port={port},mountport={port},hard,timeo=50 10.0.2.2:/all /mnt/nfs; }}\n\
             attach || exit 101\n\
             (cd /mnt/nfs\n{script}\n)\n\
             code=$?\n\
             umount /mnt/nfs || exit 102\n\
             exit $code\n"
        );
        Guest::boot_networked(&self.site.dir().join("shared"), &script)
    }

    fn shared(&self, name: &str) -> String {
        fs::read_to_string(self.site.dir().join("shared").join(name)).unwrap_or_default()
    }

    /// Runs `script` in a guest to its end, which has to be a good one.
    fn run(&self, script: &str, deadline_secs: u64) {
        let code = self.guest(script).finish(Duration::from_secs(deadline_secs));
        assert_eq!(code, Some(0), "{}\n{}", self.shared("output"), self.shared("console"));
    }
}

#[test]
fn pjdfstest_over_nfs_fails_only_where_the_protocol_does() {
    let mut export = Export::new();
    fs::write(export.site.dir().join("shared/pjd.toml"), PJDFSTEST_CONFIG).unwrap();
    let script = format!(
        "mkdir /dev/shm/other p && cd p && {} -c /mnt/host/pjd.toml -s /dev/shm/other -p $PWD > /mnt/host/report 2>&1; true",
        tool("pjdfstest").display()
    );
    export.run(&script, 600);
    let report = export.shared("report");
    let failed: BTreeSet<&str> =
        report.lines().filter(|line| line.ends_with(" FAILED")).filter_map(|line| line.split(' ').next()).collect();
    let allowed = BTreeSet::from(PROTOCOL_LIMITS);
    assert!(failed.is_subset(&allowed), "{:?}\n{report}", failed.difference(&allowed));
    assert!(report.contains("398 total"), "it ran hardly any test:\n{report}");
    export.site.stop();
}

#[test]
fn fsx_git_and_everyday_tools_over_nfs() {
    let mut export = Export::new();
    let source = export.site.dir().join("shared/source");
    fs::create_dir(&source).unwrap();
    for n in 0..40 {
        fs::write(source.join(format!("file-{n}")), Pattern(n).bytes(0, 1 + 997 * n as usize)).unwrap();
    }
    Run::bash("git init -q . && git add . && git -c user.name=a -c user.email=a@b commit -qm first").dir(&source).ok();
    let operations = if deep() { 50_000 } else { 5_000 };
    let script = format!(
        "set -e\n\
         git -c safe.directory='*' clone -q file:///mnt/host/source clone\n\
         git -C clone fsck --strict\n\
         for f in /mnt/host/source/file-*; do cmp $f clone/$(basename $f); done\n\
         {} -N {operations} -S 7 -q fsx\n\
         tar -C clone -cf - . | (mkdir untarred; tar -C untarred -xf -)\n\
         diff -r clone untarred\n\
         dd if=/dev/urandom of=large bs=1M count=24 conv=fsync 2>&1\n\
         sum=$(md5sum < large)\n\
         cd /; umount /mnt/nfs; attach; cd /mnt/nfs\n\
         [ \"$sum\" = \"$(md5sum < large)\" ]\n\
         echo \"$sum\" > /mnt/host/sum\n\
         rm -r untarred\n",
        tool("fsx").display()
    );
    export.run(&script, 900);
    let by_mount = Run::bash("md5sum < large").dir(&export.site.mnt()).ok().stdout;
    assert_eq!(by_mount, export.shared("sum"), "the mount shows the same bytes");
    assert!(!export.site.mnt().join("untarred").exists());
    export.site.stop();
}

/// The server is killed while the client writes, three times; the client waits and goes on. Every file that was synced
/// is there in the end, whole, and so is the file that was open all the time.
#[test]
fn a_client_writes_on_through_kills_of_the_server() {
    let mut export = Export::new();
    let script = "set -e\n\
        exec 3> open-all-the-time\n\
        for n in $(seq 1 100000); do\n\
        \x20 [ -e /mnt/host/stop ] && break\n\
        \x20 printf '%s\\n' \"$n\" >&3\n\
        \x20 printf '%s\\n' \"content of $n\" > /dev/shm/f\n\
        \x20 dd if=/dev/shm/f of=file-$n conv=fsync 2> /dev/null\n\
        \x20 echo $n >> /mnt/host/acks\n\
        done\n\
        exec 3>&-\n\
        sync\n\
        ls > /mnt/host/listing\n";
    let mut guest = export.guest(script);
    let acks = |export: &Export| export.shared("acks").lines().count();
    for round in 1..=3 {
        let wanted = acks(&export) + 15;
        let begin = Instant::now();
        while acks(&export) < wanted {
            assert!(!guest.ended(), "round {round}: the guest ended: {}", export.shared("output"));
            assert!(begin.elapsed() < Duration::from_secs(180), "round {round}: the client stands still");
            thread::sleep(Duration::from_millis(20));
        }
        export.site.kill();
        thread::sleep(Duration::from_millis(300));
        export.site.mount();
    }
    fs::write(export.site.dir().join("shared/stop"), "").unwrap();
    let code = guest.finish(Duration::from_secs(180));
    assert_eq!(code, Some(0), "{}\n{}", export.shared("output"), export.shared("console"));
    let acked = export.shared("acks");
    assert!(acked.lines().count() >= 45);
    for n in acked.lines() {
        let text = fs::read_to_string(export.site.mnt().join(format!("file-{n}")));
        assert_eq!(text.ok().as_deref(), Some(format!("content of {n}\n").as_str()), "file-{n}");
    }
    let open = fs::read_to_string(export.site.mnt().join("open-all-the-time")).unwrap();
    let lines: Vec<&str> = open.lines().collect();
    let wanted: Vec<String> = (1..=lines.len()).map(|n| n.to_string()).collect();
    assert_eq!(lines, wanted, "the client sent again what the servers had lost");
    assert!(lines.len() >= acked.lines().count());
    let listed: BTreeSet<String> = export.shared("listing").lines().map(str::to_owned).collect();
    let found: BTreeSet<String> = fs::read_dir(export.site.mnt())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert_eq!(listed, found, "both see the same names");
    export.site.stop();
}

/// Ends with the test, also where it fails.
struct Ending(Child);

impl Drop for Ending {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// Tries to lock the first ten bytes of `path` through this machine's mount; whether it could.
fn lock_by_mount(path: &str) -> bool {
    let script = format!(
        "import fcntl\nf = open('{path}', 'r+')\n\
         try:\n fcntl.lockf(f, fcntl.LOCK_EX | fcntl.LOCK_NB, 10, 0)\n print('locked')\n\
         except BlockingIOError:\n print('refused')\n"
    );
    match Run::new("python3").args(["-c", &script]).ok().stdout.trim() {
        "locked" => true,
        "refused" => false,
        other => panic!("{other}"),
    }
}

const LOCKS_OF_THE_CLIENT: &str = r"
import fcntl, os, time
f = open('f', 'r+')
def say(word):
    open('/mnt/host/' + word, 'w').close()
def wait(word):
    end = time.time() + 60
    while not os.path.exists('/mnt/host/' + word):
        assert time.time() < end, word
        time.sleep(0.02)
fcntl.lockf(f, fcntl.LOCK_EX, 10, 0)
say('held')
wait('seen')
fcntl.lockf(f, fcntl.LOCK_UN, 5, 0)
fcntl.lockf(f, fcntl.LOCK_UN, 5, 5)
say('freed')
wait('taken')
try:
    fcntl.lockf(f, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, 50)
    raise SystemExit('the lock of the mount was not seen')
except BlockingIOError:
    pass
fcntl.lockf(f, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, 60)
";

#[test]
fn locks_hold_between_the_kernels_client_and_the_mount() {
    let _portmapper = Portmapper::alone();
    let mut export = Export::with("register_portmapper = true\n", "lock");
    fs::write(export.site.mnt().join("f"), [0; 100]).unwrap();
    fs::write(export.site.dir().join("shared/lock.py"), LOCKS_OF_THE_CLIENT).unwrap();
    // The client's own lock manager needs its portmapper and status monitor.
    let services = "mkdir -p /run/rpcbind /var/lib/nfs/sm /var/lib/nfs/sm.bak && rpcbind -w && rpc.statd --no-notify";
    let mut guest = export.guest_after(services, "python3 /mnt/host/lock.py");
    let shared = export.site.dir().join("shared");
    let wait = |guest: &mut Guest, word: &str| {
        let begin = Instant::now();
        while !shared.join(word).exists() {
            assert!(!guest.ended(), "{word}: {}", fs::read_to_string(shared.join("output")).unwrap_or_default());
            assert!(begin.elapsed() < Duration::from_secs(120), "{word}: the guest stands still");
            thread::sleep(Duration::from_millis(20));
        }
    };
    let path = export.site.mnt().join("f").display().to_string();
    wait(&mut guest, "held");
    assert!(!lock_by_mount(&path), "the client holds it");
    fs::write(shared.join("seen"), "").unwrap();
    wait(&mut guest, "freed");
    assert!(lock_by_mount(&path), "the client freed it");
    // A lock that is held while the client tries.
    let hold = format!(
        "import fcntl, sys\nf = open('{path}', 'r+')\nfcntl.lockf(f, fcntl.LOCK_EX, 10, 50)\nprint('held', flush=True)\nsys.stdin.read()\n"
    );
    let mut holder =
        Command::new("python3").args(["-c", &hold]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut line = [0; 5];
    holder.stdout.as_mut().unwrap().read_exact(&mut line).unwrap();
    let _holder = Ending(holder);
    fs::write(shared.join("taken"), "").unwrap();
    let code = guest.finish(Duration::from_secs(120));
    assert_eq!(code, Some(0), "{}\n{}", export.shared("output"), export.shared("console"));
    drop(_holder);
    export.site.stop();
}
