/* The special ops that are short, and the table of all of them. */
#include "calls.h"
#include "init.h"

/* fork(flags): the child goes on; the parent half replies with its pid and pidfd and exits. */
static long op_fork(const u64 *a)
{
    int pidfd = -1;
    if (a[0] & ~(u64)CLONE_NAMESPACES)
        return -EINVAL;
    if (init.silent) /* nobody would get the pid */
        return -EPERM;
    s32 pid = (s32)clone_process(CLONE_PARENT | CLONE_PIDFD | SIGCHLD | a[0], &pidfd);
    if (pid < 0)
        return pid;
    if (!pid) {
        forget_reply();
        init.progress->pid = (s32)SYS0(getpid);
        return 0;
    }
    long r = emit_bytes(&pid, sizeof pid);
    if (!is_error(r))
        r = send_descriptor(pidfd);
    if (is_error(r)) { /* a child that nobody was told of must not be */
        SYS4(pidfd_send_signal, pidfd, SIGKILL, 0, 0);
        SYS1(close, pidfd);
        return r;
    }
    send_reply(-1, 0);
    die(0);
}

static long op_emit(const u64 *a)
{
    if (!in_data(a[0], a[1]))
        return -EFAULT;
    return emit_bytes((const void *)a[0], a[1]);
}

static bool is_width(u64 width)
{
    return width == 1 || width == 2 || width == 4 || width == 8;
}

static long op_poke(const u64 *a)
{
    if (!is_width(a[1]))
        return -EINVAL;
    if (!in_data(a[0], a[1]))
        return -EFAULT;
    memcpy((void *)a[0], &a[2], a[1]);
    return 0;
}

static long op_check(const u64 *a)
{
    u64 word = 0;
    if (!is_width(a[1]) || a[4] < 1 || a[4] > 4095)
        return -EINVAL;
    if (!in_data(a[0], a[1]))
        return -EFAULT;
    memcpy(&word, (const void *)a[0], a[1]);
    return (word & a[2]) == a[3] ? 0 : -(long)a[4];
}

static long op_peek(const u64 *a)
{
    u64 word = 0;
    if (!is_width(a[1]))
        return -EINVAL;
    if (!in_data(a[0], a[1]))
        return -EFAULT;
    memcpy(&word, (const void *)a[0], a[1]);
    return (long)word;
}

static long op_find_executable(const u64 *a)
{
    long error = -ENOENT;
    for (u64 at = a[0];; at += sizeof(u64)) {
        u64 address;
        if (!in_data(at, sizeof address))
            return -EFAULT;
        memcpy(&address, (const void *)at, sizeof address);
        if (!address)
            return error;
        const char *path = string_at(address);
        if (!path)
            return -EFAULT;

        struct statx about;
        long r = SYS5(statx, AT_FDCWD, path, 0, STATX_TYPE, &about);
        if (!is_error(r))
            r = (about.stx_mode & S_IFMT) == S_IFREG
                    ? SYS4(faccessat2, AT_FDCWD, path, X_OK, AT_EACCESS)
                    : -EACCES;
        if (!is_error(r))
            return (long)address;
        if (r == -EACCES)
            error = -EACCES;
    }
}

static long op_mark(const u64 *a)
{
    if (a[0] > EXECUTING)
        return -EINVAL;
    init.progress->phase = (u32)a[0];
    return 0;
}

#define IFNAMSIZ 16
#define IFF_UP 1
#define SIOCGIFFLAGS 0x8913
#define SIOCSIFFLAGS 0x8914

static long op_bring_up(const u64 *a)
{
    struct {
        char name[IFNAMSIZ];
        int16_t flags;
        u8 unused[22];
    } request = {0};
    const char *name = string_at(a[0]);
    if (!name)
        return -EFAULT;
    if (strlen(name) >= IFNAMSIZ)
        return -ENODEV;
    memcpy(request.name, name, strlen(name));

    /* Any socket does for the request, and this family is there in every kernel. */
    long fd = SYS3(socket, AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (is_error(fd))
        return fd;
    long r = SYS3(ioctl, fd, SIOCGIFFLAGS, &request);
    if (!is_error(r)) {
        request.flags |= IFF_UP;
        r = SYS3(ioctl, fd, SIOCSIFFLAGS, &request);
    }
    SYS1(close, fd);
    return r;
}

static long op_decimal(const u64 *a)
{
    char digits[24]; /* "-9223372036854775808" */
    u32 n = sizeof digits;
    s64 value = (s64)a[2];
    u64 rest = value < 0 ? -(u64)value : (u64)value;
    digits[--n] = 0;
    do
        digits[--n] = (char)('0' + rest % 10);
    while (rest /= 10);
    if (value < 0)
        digits[--n] = '-';

    if (!in_data(a[0], a[1]))
        return -EFAULT;
    if (a[1] < sizeof digits - n)
        return -ERANGE;
    memcpy((void *)a[0], digits + n, sizeof digits - n);
    return 0;
}

/* The counter that needs no system call to be read, and some ten seconds of it. */
static u64 ticks(void)
{
#if defined(__x86_64__)
    return __builtin_ia32_rdtsc();
#else
    u64 count;
    __asm__ volatile("isb\n\tmrs %0, cntvct_el0" : "=r"(count));
    return count;
#endif
}

static u64 some_ten_seconds(void)
{
#if defined(__x86_64__)
    return 1ull << 35; /* 7 seconds at 5 GHz, 17 at 2 */
#else
    u64 frequency;
    __asm__("mrs %0, cntfrq_el0" : "=r"(frequency));
    return 10 * frequency;
#endif
}

/* The filter may ask the listener about every call, and nobody listens yet: wait without one. */
static long op_listener(const u64 *a)
{
    u64 begin = ticks();
    u64 patience = some_ten_seconds();
    init.progress->listener = (s32)a[0];
    while (!init.progress->taken) {
        if (ticks() - begin > patience)
            return -ETIMEDOUT;
#if defined(__x86_64__)
        __builtin_ia32_pause();
#else
        __asm__ volatile("yield");
#endif
    }
    return 0;
}

/* Behind the gate, where nothing is sent otherwise: says that this point is reached, and waits. */
static long op_sync(void)
{
    char word = 'S';
    long r = SYS6(sendto, init.command, &word, 1, MSG_NOSIGNAL, 0, 0);
    if (is_error(r))
        return r;
    do
        r = SYS3(read, init.command, &word, 1);
    while (r == -EINTR);
    return is_error(r) ? r : r == 1 ? 0 : -EPIPE;
}

long run_special(unsigned op, const u64 *a)
{
    switch ((enum special)op) {
    case SPECIAL_fork:
        return op_fork(a);
    case SPECIAL_resolve:
        return op_resolve(a);
    case SPECIAL_copy_up:
        return op_copy_up(a);
    case SPECIAL_spawn:
        return op_spawn(a);
    case SPECIAL_send_fd:
        return send_descriptor((int)a[0]);
    case SPECIAL_emit:
        return op_emit(a);
    case SPECIAL_poke:
        return op_poke(a);
    case SPECIAL_check:
        return op_check(a);
    case SPECIAL_jump: /* the interpreter's own */
        return 0;
    case SPECIAL_wait_start:
        return op_wait_start(a);
    case SPECIAL_find_executable:
        return op_find_executable(a);
    case SPECIAL_mark:
        return op_mark(a);
    case SPECIAL_emit_value:
        return emit_bytes(&a[0], sizeof a[0]);
    case SPECIAL_bring_up:
        return op_bring_up(a);
    case SPECIAL_decimal:
        return op_decimal(a);
    case SPECIAL_home:
        return op_home(a);
    case SPECIAL_listener:
        return op_listener(a);
    case SPECIAL_peek:
        return op_peek(a);
    case SPECIAL_sync:
        return op_sync();
    case SPECIAL_COUNT:
        break;
    }
    return -ENOSYS;
}
