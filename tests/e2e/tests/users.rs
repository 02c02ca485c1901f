//! Other users than root, their ACLs, and limits that only a program meets.

#![allow(clippy::disallowed_methods)]

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};

use tests_e2e::{Run, Site, tidegate, tool};

const NOBODY: u32 = 65_534;

#[test]
fn an_ordinary_user_mounts_through_the_helper() {
    tool("fusermount3");
    let dir = tempfile::Builder::new().prefix("tidegate-e2e-").tempdir_in("/var/tmp").unwrap();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    // The folder of the build need not be open to everybody.
    let program = dir.path().join("tidegate");
    fs::copy(tidegate(), &program).unwrap();
    let home = dir.path().join("home");
    fs::create_dir_all(home.join("mnt")).unwrap();
    for path in [home.clone(), home.join("mnt")] {
        std::os::unix::fs::chown(&path, Some(NOBODY), Some(NOBODY)).unwrap();
    }
    let script = r#"
        trap 'fusermount3 -u -z "$HOME/mnt" 2>/dev/null || true' EXIT
        "$TIDEGATE" mount "$HOME/mnt"
        test "$(id -u)" = 65534
        echo hello > "$HOME/mnt/a"; mkdir "$HOME/mnt/d"; mv "$HOME/mnt/a" "$HOME/mnt/d/b"
        test "$(cat "$HOME/mnt/d/b")" = hello
        test "$(stat -c %u "$HOME/mnt/d/b")" = 65534
        "$TIDEGATE" status "$HOME/mnt"
        "$TIDEGATE" info "$HOME/mnt/d/b"
        "$TIDEGATE" check "$HOME/mnt"
        "$TIDEGATE" umount "$HOME/mnt"
        ! grep -q " $HOME/mnt " /proc/self/mountinfo
        "$TIDEGATE" mount "$HOME/mnt"
        test "$(cat "$HOME/mnt/d/b")" = hello
        "$TIDEGATE" umount "$HOME/mnt"
    "#;
    // The device as udev makes it on Debian, which lets everybody use it; a bare machine may have it for root alone.
    let as_nobody = r#"
        mknod -m 666 fuse c 10 229; mount --bind fuse /dev/fuse
        cd "$HOME"; exec setpriv --reuid=65534 --regid=65534 --clear-groups bash -euxc "$0"
    "#;
    Run::new("unshare")
        .args(["--mount", "bash", "-euc", as_nobody, script])
        .env("HOME", &home)
        .env("XDG_DATA_HOME", home.join("share"))
        .env("TIDEGATE", &program)
        .dir(dir.path())
        .deadline_secs(180)
        .ok();
}

#[test]
fn acl_tools_read_back_what_they_set_and_the_kernel_keeps_to_it() {
    let site = Site::mounted();
    tool("setfacl");
    Run::bash(
        r#"
        cd "$MNT"; mkdir d; echo secret > d/f; chmod 600 d/f; chmod 755 . d
        setfacl -m u:65534:r,g:12:rw d/f
        getfacl -cn d/f | grep -qx 'user:65534:r--'
        getfacl -cn d/f | grep -qx 'group:12:rw-'
        getfacl -cn d/f | grep -qx 'mask::rw-'
        setpriv --reuid=65534 --regid=65534 --clear-groups cat d/f | grep -qx secret
        ! setpriv --reuid=65534 --regid=65534 --clear-groups sh -c 'echo x >> d/f' 2>/dev/null
        setpriv --reuid=65533 --regid=12 --clear-groups sh -c 'echo more >> d/f'
        ! setpriv --reuid=65533 --regid=65533 --clear-groups cat d/f 2>/dev/null
        setfacl -d -m u:65534:rwx d; touch d/g; getfacl -cn d/g | grep -q '^user:65534:rwx'
        setfacl -b d/f; test "$(getfacl -cn d/f | grep -c .)" = 3
        ! setpriv --reuid=65534 --regid=65534 --clear-groups cat d/f 2>/dev/null
        getfacl -Rn d > ../acls; setfacl -Rb d; cd "$MNT"; setfacl --restore=../acls
        getfacl -cn d/g | grep -q '^user:65534:rwx'
        "#,
    )
    .env("MNT", site.mnt())
    .dir(site.dir())
    .ok();
}

#[test]
fn a_file_has_65000_names_and_the_next_is_emlink() {
    let site = Site::mounted();
    let python = r#"
import errno, os, sys
os.chdir(sys.argv[1])
open("f", "w").close()
for n in range(64999):
    os.link("f", "l%d" % n)
assert os.stat("f").st_nlink == 65000
try:
    os.link("f", "more")
    sys.exit("a 65,001st name was made")
except OSError as e:
    assert e.errno == errno.EMLINK, e
os.unlink("l0")
os.link("f", "more")
"#;
    Run::new("python3").args(["-c", python]).arg(site.mnt()).deadline_secs(300).ok();
    assert_eq!(fs::metadata(site.mnt().join("f")).unwrap().nlink(), 65_000);
    site.command(&["check", "--data"]).arg(site.data()).deadline_secs(120).ok();
}
