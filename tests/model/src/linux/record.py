#!/usr/bin/env python3
"""Runs random histories of file operations on the filesystem of a Linux kernel (as root) and writes each operation with
its answer, and the tree at the end, to histories.txt beside this file. `tests_model::linux` plays them back on any Vfs.

    sudo python3 record.py /tmp          # recorded on ext4, Linux 6.18, seed 1
"""
import ctypes, errno, os, random, shutil, stat, sys, tempfile

HISTORIES, OPERATIONS = 120, 60
NAMES = ['a', 'b', 'c']
CALLERS = [(0, 0), (0, 0), (1000, 100), (1000, 100), (1001, 100), (1002, 300)]
NOFOLLOW = os.O_NOFOLLOW | os.O_NONBLOCK
libc = ctypes.CDLL(None, use_errno=True)
chance = random.Random(1)
pick = chance.choice


def check(result):
    if result != 0:
        raise OSError(ctypes.get_errno(), 'libc')


def path():
    parts = [pick(NAMES) for _ in range(pick([1, 1, 1, 2, 2, 3]))]
    if chance.random() < 0.03:
        # Never out of the root.
        parts[-1] = pick(['.', '..' if len(parts) > 1 else '.', 'x' * 256, 'x' * 255])
    return '/'.join(parts)


def mode():
    return pick([0o777, 0o755, 0o700, 0o644, 0o666, 0o600, 0o1777, 0o2775, 0o4755, 0o6755, 0o2644, 0, 0o555])


def opened(name, flags, use):
    """Opens `name` and uses it, if it is a regular file."""
    fd = os.open(name, flags | NOFOLLOW)
    try:
        return use(fd) if stat.S_ISREG(os.fstat(fd).st_mode) else 'special'
    finally:
        os.close(fd)


def operation():
    """One random operation: its text, and what does it."""
    p, q, m, umask = path(), path(), mode(), pick([0, 0o22, 0o77])
    offset, size = chance.randrange(300), chance.randrange(1, 200)
    byte = bytes([chance.randrange(1, 256)])
    what = pick(['mkdir'] * 6 + ['create'] * 8 + ['make'] * 2 + ['symlink', 'link', 'link', 'unlink', 'unlink', 'rmdir']
                + ['rename'] * 5 + ['write'] * 4 + ['append', 'read', 'read', 'truncate', 'fallocate', 'fallocate', 'copy']
                + ['chmod', 'chmod', 'chown', 'list', 'setxattr', 'getxattr', 'removexattr', 'readlink'])

    def do():
        os.umask(umask)
        if what == 'mkdir':
            os.mkdir(p, m)
        elif what == 'create':
            flags = os.O_CREAT | os.O_RDWR | (os.O_EXCL if exclusive else 0) | (os.O_TRUNC if truncate else 0) | NOFOLLOW
            os.close(os.open(p, flags, m))
        elif what == 'make':
            os.mknod(p, {'fifo': 0o010000, 'socket': 0o140000, 'char': 0o020000}[kind] | m, 5)
        elif what == 'symlink':
            os.symlink('nowhere', p)
        elif what == 'link':
            os.link(p, q, follow_symlinks=False)
        elif what == 'unlink':
            os.unlink(p)
        elif what == 'rmdir':
            os.rmdir(p)
        elif what == 'rename':
            check(libc.renameat2(-100, p.encode(), -100, q.encode(), flag))
        elif what == 'write':
            return opened(p, os.O_WRONLY, lambda fd: str(os.pwrite(fd, byte * size, offset)))
        elif what == 'append':
            return opened(p, os.O_WRONLY | os.O_APPEND, lambda fd: str(os.pwrite(fd, byte * size, offset)))
        elif what == 'read':
            return opened(p, os.O_RDONLY, lambda fd: os.pread(fd, size, offset).hex() or '-')
        elif what == 'truncate':
            os.truncate(p, offset)
        elif what == 'fallocate':
            long = ctypes.c_long
            return opened(p, os.O_WRONLY, lambda fd: check(libc.fallocate(fd, bits, long(offset), long(size))))
        elif what == 'copy':
            return opened(p, os.O_RDONLY, lambda source: opened(q, os.O_WRONLY, lambda target: str(
                os.copy_file_range(source, target, size, offset // 2, to))))
        elif what == 'chmod':
            os.chmod(p, m)
        elif what == 'chown':
            os.lchown(p, uid, gid)
        elif what == 'list':
            fd = os.open(p, os.O_RDONLY | os.O_DIRECTORY | NOFOLLOW)
            return ','.join(sorted(os.listdir(fd))) or '-'
        elif what == 'setxattr':
            os.setxattr(p, xattr, byte, xflag, follow_symlinks=False)
        elif what == 'getxattr':
            return os.getxattr(p, xattr, follow_symlinks=False).hex()
        elif what == 'removexattr':
            os.removexattr(p, xattr, follow_symlinks=False)
        elif what == 'readlink':
            return os.readlink(p)

    exclusive, truncate = chance.random() < 0.4, chance.random() < 0.2
    kind, flag = pick(['fifo', 'socket', 'char']), pick([0, 0, 0, 1, 2])
    # Allocate, keep size, punch and keep size, zero, zero and keep size.
    bits, to = pick([0, 1, 3, 16, 17]), chance.randrange(300)
    uid, gid = pick([(-1, 0), (-1, 100), (-1, 300), (0, -1), (1000, -1), (1001, -1), (1000, 100), (1001, 300)])
    xattr, xflag = pick(['user.a', 'user.b', 'trusted.a', 'security.a']), pick([0, 0, 1, 2])
    text = {
        'mkdir': f'{p} {m:o} {umask:o}', 'create': f'{p} {m:o} {umask:o} {int(exclusive)} {int(truncate)}',
        'make': f'{p} {m:o} {umask:o} {kind}', 'symlink': p, 'link': f'{p} {q}', 'unlink': p, 'rmdir': p,
        'rename': f'{p} {q} {flag}', 'write': f'{p} {offset} {size} {byte[0]}', 'append': f'{p} {size} {byte[0]}',
        'read': f'{p} {offset} {size}', 'truncate': f'{p} {offset}', 'fallocate': f'{p} {offset} {size} {bits}',
        'copy': f'{p} {q} {offset // 2} {to} {size}', 'chmod': f'{p} {m:o}', 'chown': f'{p} {uid} {gid}', 'list': p,
        'setxattr': f'{p} {xattr} {byte[0]} {xflag}', 'getxattr': f'{p} {xattr}', 'removexattr': f'{p} {xattr}',
        'readlink': p,
    }[what]
    return f'{what} {text}', do


def as_caller(caller, root, action):
    sys.stdout.flush()
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.chdir(root)
        uid, gid = caller
        os.setgroups([])
        os.setresgid(gid, gid, gid)
        os.setresuid(uid, uid, uid)
        try:
            answer = action() or 'ok'
        except OSError as e:
            answer = errno.errorcode[e.errno]
        except BaseException as e:
            answer = f'bug in this script: {e!r}'
        os.write(write, answer.encode())
        os._exit(0)
    os.close(write)
    answer = os.read(read, 10000).decode()
    os.close(read)
    os.waitpid(pid, 0)
    return answer


def tree(root, name=''):
    full = f'{root}/{name}' if name else root
    s = os.lstat(full)
    kinds = {stat.S_IFREG: 'regular', stat.S_IFDIR: 'directory', stat.S_IFLNK: 'symlink', stat.S_IFIFO: 'fifo',
             stat.S_IFSOCK: 'socket', stat.S_IFCHR: 'char'}
    kind = kinds[stat.S_IFMT(s.st_mode)]
    content = open(full, 'rb').read().hex() if kind == 'regular' else ''
    names = [n for n in os.listxattr(full, follow_symlinks=False) if n != 'security.selinux']
    xattrs = ','.join(sorted(f'{n}={os.getxattr(full, n, follow_symlinks=False).hex()}' for n in names))
    yield f'{name or "/"} {kind} {stat.S_IMODE(s.st_mode):o} {s.st_uid} {s.st_gid} {s.st_nlink} {content or "-"} {xattrs or "-"}'
    if kind == 'directory':
        for child in sorted(os.listdir(full)):
            yield from tree(root, f'{name}/{child}' if name else child)


def main():
    here = os.path.dirname(os.path.abspath(__file__))
    with open(f'{here}/histories.txt', 'w') as out:
        for _ in range(HISTORIES):
            outer = tempfile.mkdtemp(dir=sys.argv[1])
            os.chmod(outer, 0o755)
            root = outer + '/root'
            os.mkdir(root)
            os.chmod(root, 0o777)
            print('history', file=out)
            for _ in range(OPERATIONS):
                caller, (text, do) = pick(CALLERS), operation()
                if text.startswith('link'):
                    # The sysctl protected_hardlinks is not POSIX; it lets root alone.
                    caller = (0, 0)
                print(f'{caller[0]} {caller[1]} {text} => {as_caller(caller, root, do)}', file=out)
            for line in tree(root):
                print(f'tree {line}', file=out)
            shutil.rmtree(outer)


main()
