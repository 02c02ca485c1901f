#!/usr/bin/env python3
"""Asks the running Linux kernel (as root, on a filesystem with ACLs) random questions about permissions, and writes
questions and answers to *.txt beside this file. The tests put the same questions to fs-access.

    sudo python3 record.py /tmp          # answers recorded on ext4, Linux 6.18, seed 1
"""
import errno, os, random, shutil, struct, sys, tempfile

UIDS, GIDS = [0, 1000, 1001, 1002], [100, 200, 300]
ACCESS, DEFAULT = 'system.posix_acl_access', 'system.posix_acl_default'
chance = random.Random(1)
pick = chance.choice


def as_caller(uid, gid, groups, action):
    """What `action` gives in a process of that caller: its text, or the name of its error."""
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.setgroups(groups)
        os.setresgid(gid, gid, gid)
        os.setresuid(uid, uid, uid)
        try:
            answer = action() or 'ok'
        except OSError as e:
            answer = errno.errorcode[e.errno]
        os.write(write, answer.encode())
        os._exit(0)
    os.close(write)
    answer = os.read(read, 1000).decode()
    os.close(read)
    os.waitpid(pid, 0)
    return answer


def caller():
    return pick(UIDS), pick(GIDS), [g for g in GIDS if chance.random() < 0.3]


def show_caller(c):
    return f'{c[0]} {c[1]} {",".join(map(str, c[2])) or "-"}'


def acl():
    """The bytes of a random valid ACL; often with bits that matter."""
    perm = lambda: pick([0, 1, 2, 4, 5, 6, 7])
    users = [(2, perm(), u) for u in chance.sample(UIDS, pick([0, 0, 1, 2]))]
    groups = [(8, perm(), g) for g in chance.sample(GIDS, pick([0, 0, 1, 2]))]
    entries = [(1, perm(), -1)] + users + [(4, perm(), -1)] + groups
    if users or groups or chance.random() < 0.3:
        entries.append((16, pick([0, 2, 4, 5, 6, 7, 7]), -1))
    entries.append((32, perm(), -1))
    return struct.pack('<I', 2) + b''.join(struct.pack('<HHI', t, p, i & 0xffffffff) for t, p, i in entries)


def xattr(path, name):
    try:
        return os.getxattr(path, name, follow_symlinks=False).hex()
    except OSError:
        return '-'


def make(path, kind, mode, uid, gid):
    if kind == 'directory':
        os.mkdir(path)
    elif kind == 'symlink':
        os.symlink('nowhere', path)
    elif kind == 'fifo':
        os.mkfifo(path)
    elif kind == 'socket':
        os.mknod(path, 0o140644)
    else:
        open(path, 'w').write('bytes')
    os.chown(path, uid, gid, follow_symlinks=False)
    if kind != 'symlink':
        os.chmod(path, mode)


def node(path, kinds, modes=None):
    kind, mode = pick(kinds), chance.randrange(0o10000) if modes is None else pick(modes)
    uid, gid = pick(UIDS[:3]), pick(GIDS)
    make(path, kind, mode, uid, gid)
    access_acl = '-'
    if kind != 'symlink' and chance.random() < 0.5:
        os.setxattr(path, ACCESS, acl())
        access_acl = xattr(path, ACCESS)
    s = os.lstat(path)
    return kind, f'{kind} {s.st_mode & 0o7777:o} {s.st_uid} {s.st_gid} {access_acl}'


def state(path):
    s = os.lstat(path)
    return f'{s.st_mode & 0o7777:o} {s.st_uid} {s.st_gid} {xattr(path, ACCESS)}'


def permit(path):
    _, shown = node(path, ['regular', 'regular', 'directory', 'fifo'])
    c, want = caller(), chance.randrange(1, 8)

    def ask():
        if not os.access(path, want, effective_ids=True):
            return 'EACCES'
    return f'{show_caller(c)} | {shown} | {want}', as_caller(*c, ask)


def create(path):
    make(path, 'directory', pick([0o777, 0o2777, 0o2777, 0o3777]), pick(UIDS), pick(GIDS))
    default = '-'
    if chance.random() < 0.6:
        os.setxattr(path, DEFAULT, acl())
        default = xattr(path, DEFAULT)
    s = os.lstat(path)
    c, kind = caller(), pick(['regular', 'regular', 'directory', 'fifo', 'symlink'])
    mode, umask = chance.randrange(0o10000), pick([0, 0o22, 0o77, 0o27, 0o777])
    new = path + '/new'

    def ask():
        os.umask(umask)
        if kind == 'directory':
            os.mkdir(new, mode)
        elif kind == 'symlink':
            os.symlink('nowhere', new)
        else:
            os.mknod(new, mode | (0o100000 if kind == 'regular' else 0o010000))
    answer = as_caller(*c, ask)
    if answer == 'ok':
        answer = f'{state(new)} {xattr(new, DEFAULT)}'
    question = f'{show_caller(c)} | directory {s.st_mode & 0o7777:o} {s.st_uid} {s.st_gid} - | {default} {kind} {mode:o} {umask:o}'
    return question, answer


def setattr_(path):
    kind, shown = node(path, ['regular', 'regular', 'regular', 'directory', 'fifo'])
    c = caller()
    op = pick(['chmod', 'chmod', 'chown', 'chown', 'truncate', 'utimes', 'write'])
    if op == 'write' and kind != 'regular':
        op = 'chmod'
    if op == 'chmod':
        mode = chance.randrange(0o10000)
        arg, ask = f'{mode:o}', lambda: os.chmod(path, mode)
    elif op == 'chown':
        s = os.lstat(path)
        uid, gid = pick([-1, -1, s.st_uid, 1000, 1001]), pick([-1, s.st_gid] + GIDS)
        if (uid, gid) == (-1, -1):
            gid = s.st_gid
        arg, ask = f'{uid} {gid}', lambda: os.chown(path, uid, gid)
    elif op == 'truncate':
        arg, ask = '3', lambda: os.truncate(path, 3)
    elif op == 'write':
        def ask():
            fd = os.open(path, os.O_WRONLY)
            os.write(fd, b'x')
        arg = '1'
    else:
        # The special values of utimensat(2): only the library call takes them.
        import ctypes
        libc = ctypes.CDLL(None, use_errno=True)
        now, omit = (1 << 30) - 1, (1 << 30) - 2
        word = {'now': now, 'omit': omit, 'set': 5}
        arg = pick(['now now', 'now omit', 'omit now', 'set omit', 'omit set', 'set now', 'set set'])
        times = (ctypes.c_long * 4)(*sum(([9, word[w]] for w in arg.split()), []))

        def ask():
            if libc.utimensat(-100, path.encode(), times, 0) != 0:
                raise OSError(ctypes.get_errno(), 'utimensat')
    answer = as_caller(*c, ask)
    if answer == 'ok':
        answer = state(path)
    return f'{show_caller(c)} | {shown} | {op} {arg}', answer


def delete(path):
    kind, shown = node(path, ['directory'], [0o777, 0o1777, 0o1777, 0o1777, 0o1770, 0o1733, 0o775, 0o1055])
    victim = path + '/victim'
    vkind = pick(['regular', 'directory', 'fifo', 'symlink'])
    make(victim, vkind, 0o644, pick(UIDS[:3]), pick(GIDS))
    s = os.lstat(victim)
    c, op = caller(), pick(['unlink', 'unlink', 'rmdir'])
    answer = as_caller(*c, lambda: (os.unlink if op == 'unlink' else os.rmdir)(victim))
    return f'{show_caller(c)} | {shown} | {op} {vkind} {s.st_uid}', answer


def xattrs(path):
    kind, shown = node(path, ['regular', 'directory', 'directory', 'fifo', 'symlink'])
    name = pick(['user.a', 'user.a', 'trusted.a', 'security.a', ACCESS, DEFAULT, 'user.', 'other.a', 'system.a', 'u' * 256])
    c, op = caller(), pick(['get', 'set', 'set'])
    value = bytes.fromhex('0200000001000700ffffffff04000500ffffffff20000500ffffffff') if 'posix' in name else b'v'
    if op == 'get':
        try:
            if 'posix' not in name:
                os.setxattr(path, name, value, follow_symlinks=False)
        except OSError:
            pass

        def ask():
            os.getxattr(path, name, follow_symlinks=False)
    else:
        def ask():
            os.setxattr(path, name, value, follow_symlinks=False)
    answer = as_caller(*c, ask)
    if op == 'set' and name == ACCESS and answer == 'ok':
        answer = state(path)
    return f'{show_caller(c)} | {shown} | {op} {name}', answer


def opens(path):
    kind, shown = node(path, ['regular', 'regular', 'directory', 'symlink', 'socket'])
    c = caller()
    flags = pick(['r', 'w', 'rw', 'rt', 'wt', 'rwt', 'rwa'])
    bits = {'r': os.O_RDONLY, 'w': os.O_WRONLY, 'rw': os.O_RDWR}[flags.rstrip('ta')]
    bits |= os.O_TRUNC * ('t' in flags) | os.O_APPEND * ('a' in flags) | os.O_NOFOLLOW | os.O_NONBLOCK

    def ask():
        os.open(path, bits)
    return f'{show_caller(c)} | {shown} | {flags}', as_caller(*c, ask)


def acls(path):
    """Valid ACLs with one thing changed: which of them the kernel takes."""
    value = bytearray(acl())
    for _ in range(pick([0, 1, 1, 2])):
        what = pick(['byte', 'byte', 'cut', 'swap', 'repeat', 'drop'])
        n, i = (len(value) - 4) // 8, 4 + 8 * chance.randrange(max(1, (len(value) - 4) // 8))
        if what == 'byte' and value:
            value[chance.randrange(len(value))] = pick([0, 1, 2, 4, 8, 16, 32, 64, 255])
        elif what == 'cut':
            value = value[:chance.randrange(len(value) + 1)]
        elif what == 'swap' and n > 1:
            j = 4 + 8 * chance.randrange(n)
            value[i:i + 8], value[j:j + 8] = value[j:j + 8], value[i:i + 8]
        elif what == 'repeat':
            value[i:i] = value[i:i + 8]
        elif what == 'drop':
            del value[i:i + 8]
    make(path, 'regular', 0o644, 0, 100)
    answer = as_caller(0, 0, [], lambda: os.setxattr(path, ACCESS, bytes(value)))
    if answer == 'ok':
        answer = state(path)
    return bytes(value).hex() or '-', answer


def main():
    here = os.path.dirname(os.path.abspath(__file__))
    root = tempfile.mkdtemp(dir=sys.argv[1])
    os.chmod(root, 0o755)
    for name, question, count in [('permit', permit, 900), ('create', create, 500), ('setattr', setattr_, 900),
                                  ('delete', delete, 500), ('xattr', xattrs, 600), ('open', opens, 500),
                                  ('acl', acls, 500)]:
        with open(f'{here}/{name}.txt', 'w') as out:
            for i in range(count):
                path = f'{root}/{name}{i}'
                print(*question(path), sep=' => ', file=out)
    shutil.rmtree(root)


main()
