//! Locks of processes and of open file descriptions, taken and dropped by real programs.

#![allow(clippy::disallowed_methods)]

use tests_e2e::{Run, Site};

/// What both scripts begin with. `SIGALRM` ends a program that waits for a lock in vain.
const PROLOGUE: &str = r#"
import fcntl, os, signal, struct, sys
signal.alarm(40)
path = sys.argv[1]

def lock(fd, cmd, kind=fcntl.F_WRLCK):
    fcntl.fcntl(fd, cmd, struct.pack("hhqqi4x", kind, os.SEEK_SET, 0, 0, 0))

def is_free(fd, cmd):
    try:
        lock(fd, cmd)
    except OSError:
        return False
    lock(fd, cmd, fcntl.F_UNLCK)
    return True

def opened():
    return os.open(path, os.O_RDWR | os.O_CREAT)

def in_child(body):
    ready, done = os.pipe()
    pid = os.fork()
    if pid == 0:
        signal.alarm(40)
        os.close(ready)
        os._exit(0 if body(done) else 1)
    os.close(done)
    return pid, ready

def succeeded(pid):
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
"#;

fn python(site: &Site, body: &str) {
    Run::new("python3").arg("-c").arg(format!("{PROLOGUE}\n{body}")).arg(site.mnt().join("f")).ok();
}

#[test]
fn locks_of_an_open_file_description_go_with_its_last_descriptor() {
    let site = Site::mounted();
    python(
        &site,
        r#"
SET, WAIT = fcntl.F_OFD_SETLK, fcntl.F_OFD_SETLKW
holder, other = opened(), opened()
lock(holder, SET)
assert not is_free(other, SET), "two descriptions of one process exclude each other"
copy = os.dup(holder)
os.close(holder)
assert not is_free(other, SET), "another descriptor of the description is open"
os.close(copy)
lock(other, WAIT)
os.close(other)

def exits_with_it(done):
    lock(opened(), SET)
    return True
pid, _ = in_child(exits_with_it)
assert succeeded(pid)
again = opened()
lock(again, WAIT)
os.close(again)

def is_killed_with_it(done):
    lock(opened(), WAIT)
    os.write(done, b"x")
    signal.pause()
pid, ready = in_child(is_killed_with_it)
assert os.read(ready, 1) == b"x"
mine = opened()
assert not is_free(mine, SET)
os.kill(pid, signal.SIGKILL)
os.waitpid(pid, 0)
lock(mine, WAIT)
"#,
    );
}

#[test]
fn one_who_waits_for_a_description_gets_the_lock_when_it_is_closed() {
    let site = Site::mounted();
    python(
        &site,
        r#"
holder = opened()
lock(holder, fcntl.F_OFD_SETLK)
def waits(done):
    os.close(holder)
    mine = opened()
    os.write(done, b"x")
    lock(mine, fcntl.F_OFD_SETLKW)
    return True
pid, ready = in_child(waits)
assert os.read(ready, 1) == b"x"
os.close(holder)
assert succeeded(pid)
"#,
    );
}

#[test]
fn locks_of_a_process_go_when_it_closes_any_descriptor_and_not_later() {
    let site = Site::mounted();
    python(
        &site,
        r#"
SET = fcntl.F_SETLK
def others_find_it_free():
    pid, _ = in_child(lambda done: is_free(opened(), SET))
    return succeeded(pid)

for _ in range(50):
    first, second = opened(), opened()
    lock(first, SET)
    assert not others_find_it_free()
    os.close(second)
    assert others_find_it_free(), "closing any descriptor of the file drops them, before close returns"
    second = opened()
    lock(first, SET)
    os.close(first)
    lock(second, SET)
    # The kernel announces the end of `first` some time after its close.
    assert not others_find_it_free(), "the late end of the first handle must not take the second one's lock"
    os.close(second)
    assert others_find_it_free()
"#,
    );
}
