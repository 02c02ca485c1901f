//! A Linux kernel as an ordinary process (User-Mode Linux), to be killed like a machine that loses power.
//!
//! Its root is this machine's, read-only under a memory overlay; `shared` is this machine's folder, writable at
//! /mnt/host; a disk image is /dev/ubda. Killing the process loses everything the guest had not written to the image,
//! which is what a power cut does. `uml/xstate.c`, preloaded, lets that kernel run on newer processors. With a network,
//! this machine's loopback is 10.0.2.2 (libslirp: no privileges, no device of this machine).

use std::fs::{self, File};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, killpg};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, setsockopt, socketpair, sockopt};
use nix::unistd::Pid;

use crate::command::wait;

const INIT: &str = r#"#!/bin/bash
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root
mount -t proc p /proc; mount -t tmpfs t /mnt; cd /mnt; mkdir u w r
insmod @MODULES@/kernel/fs/overlayfs/overlay.ko
mkdir u/x w/x; mount -t overlay -o lowerdir=/,upperdir=/mnt/u/x,workdir=/mnt/w/x o /mnt/r || halt -f -p
cd /mnt/r; mkdir -p mnt/host mnt/disk mnt/t lib/modules/$(uname -r)
mount -t proc p proc; mount -t sysfs s sys; mount -t devtmpfs d dev; mkdir -p dev/shm
ln -sfn /proc/self/fd dev/fd; ln -sfn fd/0 dev/stdin; ln -sfn fd/1 dev/stdout; ln -sfn fd/2 dev/stderr
mount -t tmpfs t dev/shm; mount -t tmpfs t run; mount -t tmpfs t tmp
mount -t hostfs -o @SHARED@ h mnt/host
mount -t hostfs -o @MODULES@ h lib/modules/$(uname -r)
ip link set lo up
[ -e sys/class/net/vec0 ] && ip link set vec0 up && ip addr add 10.0.2.15/24 dev vec0 && ip route add default via 10.0.2.2
rm -f etc/mtab; ln -s /proc/mounts etc/mtab
chroot /mnt/r /bin/bash -c 'unset LD_PRELOAD; modprobe -a fuse ext4 2>/dev/null; cd /root; bash /mnt/host/script; echo $? > /mnt/host/exit-code' < /dev/null > /dev/tty1 2>&1
sync; halt -f -p
"#;

/// A running guest; dropping it cuts its power.
pub struct Guest {
    child: Child,
    network: Option<Child>,
    shared: PathBuf,
}

/// Largest packet on the guest's network.
const MTU_BYTES: u32 = 9000;
/// Of both ends of the wire.
const WIRE_BUFFER_BYTES: usize = 4 << 20;

impl Guest {
    /// Boots, with `image` as its disk, and runs `script` as root; its output goes to `shared/output`.
    pub fn boot(shared: &Path, image: Option<&Path>, script: &str) -> Self {
        Self::start(shared, image, script, None)
    }

    /// As [`Guest::boot`], without a disk and with a network.
    pub fn boot_networked(shared: &Path, script: &str) -> Self {
        // Inherited by both programs; each is told its end by number.
        let (guest, wire) =
            socketpair(AddressFamily::Unix, SockType::Datagram, None, SockFlag::empty()).expect("a pair of sockets");
        for end in [&guest, &wire] {
            setsockopt(end, sockopt::SndBuf, &WIRE_BUFFER_BYTES).expect("a larger buffer");
            setsockopt(end, sockopt::RcvBuf, &WIRE_BUFFER_BYTES).expect("a larger buffer");
        }
        let log = File::create(shared.join("network")).expect("the shared folder can be written");
        let network = Command::new("libslirp-helper")
            .args(["--fd", &wire.as_raw_fd().to_string(), "--exit-with-parent", "--mtu", &MTU_BYTES.to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("libslirp-helper can be started: run tools/test, which installs it");
        Self::start(shared, None, script, Some((network, guest)))
    }

    fn start(shared: &Path, image: Option<&Path>, script: &str, network: Option<(Child, OwnedFd)>) -> Self {
        let root = uml_root();
        let modules = modules(&root);
        fs::write(shared.join("script"), script).expect("the shared folder can be written");
        fs::remove_file(shared.join("exit-code")).ok();
        let init = INIT
            .replace("@MODULES@", &modules.display().to_string())
            .replace("@SHARED@", &shared.display().to_string());
        let init_path = shared.join("init");
        fs::write(&init_path, init).expect("the shared folder can be written");
        fs::set_permissions(&init_path, std::os::unix::fs::PermissionsExt::from_mode(0o755)).expect("an own file");
        let output = File::create(shared.join("output")).expect("the shared folder can be written");
        let console = File::create(shared.join("console")).expect("the shared folder can be written");
        let child = Command::new(root.join("usr/bin/linux.uml"))
            .args([
                "mem=1024M",
                "rootfstype=hostfs",
                "rootflags=/",
                "ro",
                "quiet",
                "con=null",
                "con0=null,fd:2",
                "con1=null,fd:1",
            ])
            .env("LD_PRELOAD", root.with_file_name("xstate.so"))
            .arg(format!("init={}", init_path.display()))
            .arg(format!("uml_dir={}/", shared.join("uml").display()))
            .args(image.map(|image| format!("ubda={}", image.display())))
            .args(
                network
                    .as_ref()
                    .map(|(_, wire)| format!("vec0:transport=fd,fd={},vec=0,mtu={MTU_BYTES}", wire.as_raw_fd())),
            )
            .stdin(Stdio::null())
            .stdout(output)
            .stderr(console)
            .process_group(0)
            .spawn()
            .expect("User-Mode Linux can be started");
        Self { child, network: network.map(|(network, _)| network), shared: shared.to_path_buf() }
    }

    /// What the script printed so far.
    pub fn output(&self) -> String {
        fs::read(self.shared.join("output")).map(|b| String::from_utf8_lossy(&b).into_owned()).unwrap_or_default()
    }

    /// Whether it ended by itself.
    pub fn ended(&mut self) -> bool {
        self.child.try_wait().expect("a child can be waited for").is_some()
    }

    /// Waits for the script's end and gives its exit code; `None` past the deadline or where the guest fell over.
    pub fn finish(mut self, deadline: Duration) -> Option<i32> {
        wait(&mut self.child, deadline)?;
        fs::read_to_string(self.shared.join("exit-code")).ok()?.trim().parse().ok()
    }

    /// Cuts the power.
    pub fn cut(self) {
        drop(self);
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        let group = Pid::from_raw(i32::try_from(self.child.id()).expect("pids fit"));
        killpg(group, Signal::SIGKILL).ok();
        self.child.wait().ok();
        if let Some(network) = &mut self.network {
            network.kill().ok();
            network.wait().ok();
        }
    }
}

/// Where `tools/test` unpacked the kernel.
fn uml_root() -> PathBuf {
    let tools =
        std::env::var_os("TIDEGATE_TOOLS").map_or_else(|| PathBuf::from("/var/tmp/tidegate-tools"), PathBuf::from);
    let root = tools.join("uml/root");
    assert!(root.join("usr/bin/linux.uml").is_file(), "User-Mode Linux is missing: run tools/test, which unpacks it");
    root
}

/// The folder of the kernel's modules, indexed by depmod.
fn modules(root: &Path) -> PathBuf {
    let all = root.join("usr/lib/uml/modules");
    let dir =
        fs::read_dir(&all).ok().and_then(|mut dirs| dirs.next()?.ok()).expect("the package brings modules").path();
    if !dir.join("modules.dep").exists() {
        let base = tempfile::tempdir().expect("a temporary folder");
        let tree = base.path().join("lib/modules");
        fs::create_dir_all(&tree).expect("a fresh folder");
        std::os::unix::fs::symlink(&dir, tree.join(dir.file_name().expect("it has a name"))).expect("a fresh folder");
        let status =
            Command::new("depmod").arg("-b").arg(base.path()).arg(dir.file_name().expect("it has a name")).status();
        assert!(status.is_ok_and(|s| s.success()), "depmod failed");
    }
    dir
}
