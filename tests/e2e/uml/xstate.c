/* Lets User-Mode Linux run on processors whose register state is larger than it knows (AMX and later).
 *
 * The kernel moves the XSTATE register set of a traced process as a whole or not at all; User-Mode Linux asks for a
 * buffer of its own, smaller size, and dies at boot ("ptrace set fp regs failed, errno = 14"). Preloaded, this moves
 * the whole set and hands on its head: everything up to AVX-512 and protection keys lies there, and the guest's
 * programs never use what lies behind it.
 *
 * Source: ptrace(2), PTRACE_GETREGSET; Linux arch/x86/kernel/fpu/regset.c, xstateregs_set().
 */
#define _GNU_SOURCE
#include <errno.h>
#include <stdarg.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

enum { PEEK_FIRST = 1, PEEK_LAST = 3, GETREGSET = 0x4204, SETREGSET = 0x4205, NT_X86_XSTATE = 0x202 };

static long whole_xstate(int request, long pid, struct iovec *asked) {
  static __thread unsigned char state[65536] __attribute__((aligned(64)));
  struct iovec whole = {state, sizeof state};
  long result = syscall(SYS_ptrace, (long)GETREGSET, pid, (long)NT_X86_XSTATE, &whole);
  if (result < 0) return result;
  size_t head = asked->iov_len < whole.iov_len ? asked->iov_len : whole.iov_len;
  if (request == GETREGSET) {
    memcpy(asked->iov_base, state, head);
    asked->iov_len = head;
    return result;
  }
  memcpy(state, asked->iov_base, head);
  return syscall(SYS_ptrace, (long)SETREGSET, pid, (long)NT_X86_XSTATE, &whole);
}

long ptrace(int request, ...) {
  va_list list;
  va_start(list, request);
  long pid = va_arg(list, long);
  void *addr = va_arg(list, void *);
  void *data = va_arg(list, void *);
  va_end(list);
  if ((request == GETREGSET || request == SETREGSET) && (long)addr == NT_X86_XSTATE)
    return whole_xstate(request, pid, data);
  if (request < PEEK_FIRST || request > PEEK_LAST) return syscall(SYS_ptrace, (long)request, pid, addr, data);
  /* The system call writes the word that is asked for to `data`; the library's function returns it. */
  long word;
  long result = syscall(SYS_ptrace, (long)request, pid, addr, &word);
  if (result < 0) return result;
  errno = 0;
  return word;
}
