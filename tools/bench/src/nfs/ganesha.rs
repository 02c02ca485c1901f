//! The peer: nfs-ganesha with its VFS back end, on a folder of the same filesystem.
//!
//! It does not start without a portmapper; where none listens, one is started here and ended with it. rpcbind listens on
//! all addresses of the machine whatever it is told (its `-h` is for UDP only), so this is for a machine of one's own.

use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::Child;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tests_e2e::Run;

const START_SECS_MAX: u64 = 30;
const STOP_SECS_MAX: u64 = 20;
const PORTMAPPER: u16 = 111;

pub struct Ganesha {
    server: Child,
    portmapper: Option<Child>,
    pub nfs: SocketAddr,
    pub mount: SocketAddr,
    pub export: String,
}

impl Ganesha {
    /// Exports a new folder in `dir`.
    ///
    /// # Errors
    /// It is not installed, or does not come up: one line, and where its log is.
    pub fn start(dir: &Path) -> Result<Self, String> {
        let binary =
            ["/usr/bin/ganesha.nfsd", "/usr/sbin/ganesha.nfsd"].into_iter().find(|path| Path::new(path).exists());
        let binary = binary.ok_or("it is not installed (Debian: nfs-ganesha nfs-ganesha-vfs rpcbind)")?;
        let dir = dir.join("ganesha");
        let export = dir.join("export");
        fs::create_dir_all(&export).map_err(|error| error.to_string())?;
        // Without it ext4 looks for free inodes near freshly deleted ones and seems many times slower than it is.
        Run::new("chattr").arg("+T").arg(&export).finish();
        let (nfs, mount) = (free_port()?, free_port()?);
        let (config, log) = (dir.join("ganesha.conf"), dir.join("ganesha.log"));
        fs::write(&config, configuration(&export, nfs, mount)).map_err(|error| error.to_string())?;
        let portmapper = portmapper(&dir)?;
        let output = File::create(dir.join("output")).map_err(|error| error.to_string())?;
        let run = Run::new(binary).arg("-F").arg("-f").arg(&config).arg("-L").arg(&log);
        let server = run.arg("-p").arg(dir.join("pid")).start(output);
        let mut ganesha = Self { server, portmapper, nfs, mount, export: export.display().to_string() };
        match listening(&mut ganesha.server, &[nfs, mount]) {
            Ok(()) => Ok(ganesha),
            Err(why) => {
                let log = fs::read_to_string(&log).unwrap_or_default();
                let words: Vec<&str> = log.lines().rev().take(5).collect();
                Err(format!("{why}; its last words:\n{}", words.join("\n")))
            }
        }
    }

    pub fn pid(&self) -> u32 {
        self.server.id()
    }
}

impl Drop for Ganesha {
    fn drop(&mut self) {
        end(&mut self.server);
        if let Some(portmapper) = &mut self.portmapper {
            end(portmapper);
        }
    }
}

fn end(child: &mut Child) {
    let pid = Pid::from_raw(child.id().cast_signed());
    // It may have ended by itself.
    kill(pid, Signal::SIGTERM).ok();
    let deadline = Instant::now() + Duration::from_secs(STOP_SECS_MAX);
    while Instant::now() < deadline {
        if !matches!(child.try_wait(), Ok(None)) {
            return;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    child.kill().and_then(|()| child.wait()).map(drop).unwrap_or_else(|error| eprintln!("bench: {error}"));
}

/// Starts one where none listens.
fn portmapper(dir: &Path) -> Result<Option<Child>, String> {
    let address = loopback(PORTMAPPER);
    if TcpStream::connect(address).is_ok() {
        return Ok(None);
    }
    let binary = Path::new("/usr/sbin/rpcbind");
    if !binary.exists() {
        return Err("nothing listens on port 111 and rpcbind is not installed".to_owned());
    }
    let output = File::create(dir.join("rpcbind.log")).map_err(|error| error.to_string())?;
    let mut child = Run::new(binary).arg("-f").start(output);
    listening(&mut child, &[address]).map(|()| Some(child))
}

/// Waits until `child` listens on all of `addresses`; otherwise ends it.
fn listening(child: &mut Child, addresses: &[SocketAddr]) -> Result<(), String> {
    let deadline = Instant::now() + Duration::from_secs(START_SECS_MAX);
    while !addresses.iter().all(|address| TcpStream::connect(address).is_ok()) {
        if let Ok(Some(status)) = child.try_wait() {
            return Err(format!("it ended with {status}"));
        }
        if Instant::now() > deadline {
            end(child);
            return Err(format!("it does not listen on {addresses:?} after {START_SECS_MAX} s"));
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}

fn loopback(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}

fn free_port() -> Result<SocketAddr, String> {
    TcpListener::bind(loopback(0)).and_then(|listener| listener.local_addr()).map_err(|error| error.to_string())
}

/// NFSv3 over TCP only; what it writes is stable when its back end says so.
fn configuration(export: &Path, nfs: SocketAddr, mount: SocketAddr) -> String {
    format!(
        "NFS_CORE_PARAM {{\n  Protocols = 3;\n  NFS_Port = {};\n  MNT_Port = {};\n  Bind_addr = 127.0.0.1;\n  \
         Enable_NLM = false;\n  Enable_RQUOTA = false;\n  Enable_UDP = false;\n}}\n\
         NFS_KRB5 {{ Active_krb5 = false; }}\n\
         EXPORT {{\n  Export_Id = 1;\n  Path = {path};\n  Pseudo = /bench;\n  Protocols = 3;\n  Transports = TCP;\n  \
         Access_Type = RW;\n  Squash = None;\n  SecType = sys;\n  FSAL {{ Name = VFS; }}\n}}\n\
         LOG {{ Default_Log_Level = EVENT; }}\n",
        nfs.port(),
        mount.port(),
        path = export.display(),
    )
}
