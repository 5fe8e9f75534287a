/* Makes fsync and fdatasync of one process fail with EIO as soon as a file exists: the file that SYNC_FAILURE_TRIGGER names.
 * If a number is in it, they do not fail, but take so many milliseconds longer.
 *
 * Loaded with LD_PRELOAD. A process may call the kernel without the C library, so the two calls are caught by a seccomp
 * filter, not by name: each traps, and the handler of the trap answers it or makes the real call, which it marks in an
 * argument that the kernel does not look at. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>

#define REAL_CALL 0x51BCA11u

static const char *trigger;

/* Milliseconds that a sync takes longer; 0: it fails; -1: neither. */
static long ordered(void) {
    int file = open(trigger, O_RDONLY | O_CLOEXEC);
    if (file < 0) {
        return -1;
    }
    char digits[16];
    ssize_t count = read(file, digits, sizeof digits);
    close(file);
    long delay = 0;
    for (ssize_t at = 0; at < count && digits[at] >= '0' && digits[at] <= '9'; at++) {
        delay = delay * 10 + (digits[at] - '0');
    }
    return delay;
}

static void caught(int number, siginfo_t *info, void *raw) {
    (void)number;
    int before = errno;
    ucontext_t *context = raw;
#if defined(__x86_64__)
    long file = context->uc_mcontext.gregs[REG_RDI];
#elif defined(__aarch64__)
    long file = context->uc_mcontext.regs[0];
#else
#error "this shim knows x86-64 and AArch64"
#endif
    long answer = -EIO;
    long delay = ordered();
    if (delay > 0) {
        struct timespec time = {delay / 1000, delay % 1000 * 1000000};
        nanosleep(&time, NULL);
    }
    if (delay != 0) {
        answer = syscall(info->si_syscall, file, 0, 0, 0, 0, REAL_CALL);
        if (answer < 0) {
            answer = -errno;
        }
    }
#if defined(__x86_64__)
    context->uc_mcontext.gregs[REG_RAX] = answer;
#else
    context->uc_mcontext.regs[0] = (unsigned long)answer;
#endif
    errno = before;
}

static void fail(const char *what) {
    perror(what);
    _exit(99);
}

__attribute__((constructor)) static void install(void) {
    trigger = getenv("SYNC_FAILURE_TRIGGER");
    if (trigger == NULL) {
        return;
    }
    /* What this process starts has disks of its own. */
    trigger = strdup(trigger);
    unsetenv("SYNC_FAILURE_TRIGGER");
    unsetenv("LD_PRELOAD");

    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_sigaction = caught;
    action.sa_flags = SA_SIGINFO | SA_RESTART;
    sigemptyset(&action.sa_mask);
    if (sigaction(SIGSYS, &action, NULL) != 0) {
        fail("sync shim: sigaction");
    }
    struct sock_filter rules[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_fdatasync, 1, 0),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_fsync, 0, 2),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[5])),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, REAL_CALL, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_TRAP),
    };
    struct sock_fprog program = {sizeof rules / sizeof rules[0], rules};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) {
        fail("sync shim: no new privileges");
    }
    if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) != 0) {
        fail("sync shim: seccomp");
    }
}
