/* spawn: a hook runs, is given its standard input, is watched, and leaves a status. */
#include "init.h"

#define TAIL 4000       /* fits into the progress file, with its length */
#define PIECE 4096
#define DRAIN_READS 64 /* after its end; what holds the pipe then may write for ever */

struct hook {
    const char *path;
    u64 argv;
    u64 envp;
    int in;     /* our ends of the pipes; -1 when closed */
    int out;
    int failed; /* carries the errno of a failed execve */
    int pidfd;
    s32 pid;
    const u8 *data; /* what it still has to be given */
    u64 left;
    u32 kept;
    u8 tail[TAIL]; /* the last of what it said */
};

static void close_one(int *fd)
{
    if (*fd >= 0)
        SYS1(close, *fd);
    *fd = -1;
}

/* A pipe whose descriptors are none of 0, 1 and 2, which the child is going to replace. */
static long pipe_above_stdio(int *ends)
{
    long r = SYS2(pipe2, ends, O_CLOEXEC);
    if (is_error(r)) {
        ends[0] = ends[1] = -1;
        return r;
    }
    for (int i = 0; i < 2; i++) {
        if (ends[i] > 2)
            continue;
        long higher = SYS3(fcntl, ends[i], F_DUPFD_CLOEXEC, 3);
        SYS1(close, ends[i]);
        ends[i] = is_error(higher) ? -1 : (int)higher;
        if (is_error(higher))
            r = higher;
    }
    return r;
}

static _Noreturn void be_the_hook(const struct hook *hook, int in, int out, int failed)
{
    long r = SYS2(setpgid, 0, 0);
    SYS2(prctl, PR_SET_PDEATHSIG, SIGKILL);
    set_signal(SIGPIPE, SIG_DFL, 0, 0);
    if (!is_error(r))
        r = SYS3(dup3, in, 0, 0);
    if (!is_error(r))
        r = SYS3(dup3, out, 1, 0);
    if (!is_error(r))
        r = SYS3(dup3, out, 2, 0);
    if (!is_error(r))
        r = SYS3(close_range, 3, ~0u, CLOSE_RANGE_CLOEXEC);
    if (!is_error(r))
        r = SYS3(execve, hook->path, hook->argv, hook->envp);
    s32 error = (s32)r;
    SYS3(write, failed, &error, sizeof error);
    die(127);
}

/* Starts the child; on success the hook holds our ends of its pipes. */
static long start_hook(struct hook *hook)
{
    int in[2] = {-1, -1}, out[2] = {-1, -1}, failed[2] = {-1, -1};
    long r = pipe_above_stdio(in);
    if (!is_error(r))
        r = pipe_above_stdio(out);
    if (!is_error(r))
        r = pipe_above_stdio(failed);
    if (!is_error(r))
        r = SYS3(fcntl, in[1], F_SETFL, O_NONBLOCK);
    if (!is_error(r))
        r = SYS3(fcntl, out[0], F_SETFL, O_NONBLOCK);
    if (!is_error(r))
        r = clone_process(CLONE_PIDFD | SIGCHLD, &hook->pidfd);
    if (r == 0)
        be_the_hook(hook, in[0], out[1], failed[1]);
    hook->pid = (s32)r;
    close_one(&in[0]);
    close_one(&out[1]);
    close_one(&failed[1]);
    hook->in = in[1];
    hook->out = out[0];
    hook->failed = failed[0];
    if (!is_error(r))
        SYS2(setpgid, hook->pid, hook->pid); /* whoever is first; a group is there from here on */
    return r;
}

static void end_hook(struct hook *hook)
{
    close_one(&hook->in);
    close_one(&hook->out);
    close_one(&hook->failed);
    close_one(&hook->pidfd);
}

static void feed(struct hook *hook)
{
    long n = 0;
    if (hook->left) {
        n = SYS3(write, hook->in, hook->data, hook->left);
        if (n > 0) {
            hook->data += n;
            hook->left -= (u64)n;
        }
    }
    if (!hook->left || (is_error(n) && n != -EAGAIN && n != -EINTR))
        close_one(&hook->in); /* all is said, or nobody listens */
}

/* Reads once. False: there is nothing more at the moment. */
static bool listen_to(struct hook *hook)
{
    u8 piece[PIECE];
    long n = SYS3(read, hook->out, piece, sizeof piece);
    if (n == 0 || (is_error(n) && n != -EAGAIN && n != -EINTR))
        close_one(&hook->out);
    if (n <= 0)
        return false;
    u32 size = n < TAIL ? (u32)n : TAIL;
    u32 keep = hook->kept < TAIL - size ? hook->kept : TAIL - size;
    memmove(hook->tail, hook->tail + hook->kept - keep, keep);
    memcpy(hook->tail + keep, piece + n - size, size);
    hook->kept = keep + size;
    return true;
}

static void kill_group(const struct hook *hook)
{
    SYS2(kill, -(long)hook->pid, SIGKILL);
    SYS4(pidfd_send_signal, hook->pidfd, SIGKILL, 0, 0);
}

static s64 milliseconds(void)
{
    struct timespec now = {0, 0};
    SYS2(clock_gettime, CLOCK_MONOTONIC, &now);
    return now.seconds * 1000 + now.nanoseconds / 1000000;
}

/* Until it ends: 0, or -ETIMEDOUT. If the runtime goes away meanwhile, so do all of us. */
static long watch(struct hook *hook, u64 timeout)
{
    s64 deadline = milliseconds() + (s64)timeout;
    for (;;) {
        struct pollfd fds[4] = {{init.command, POLLRDHUP, 0},
                                {hook->pidfd, POLLIN, 0},
                                {hook->out, POLLIN, 0},
                                {hook->in, POLLOUT, 0}};
        s64 left = timeout ? deadline - milliseconds() : 0;
        struct timespec wait = {left / 1000, left % 1000 * 1000000};
        if (timeout && left <= 0)
            return -ETIMEDOUT;
        long n = SYS5(ppoll, fds, 4, timeout ? &wait : 0, 0, 8);
        if (n == -EINTR)
            continue;
        if (is_error(n))
            return n;
        if (fds[0].revents) {
            kill_group(hook);
            die(0);
        }
        if (fds[2].revents)
            listen_to(hook);
        if (fds[3].revents)
            feed(hook);
        if (fds[1].revents)
            return 0;
    }
}

/* The wait status of the child, which has ended or was killed. */
static long reap(const struct hook *hook)
{
    int status = 0;
    long r;
    do
        r = SYS4(wait4, hook->pid, &status, 0, 0);
    while (r == -EINTR);
    return is_error(r) ? r : status;
}

static long run_hook(struct hook *hook, u64 timeout)
{
    s32 failure = 0;
    long r = start_hook(hook);
    if (!is_error(r)) {
        long watched = watch(hook, timeout);
        if (is_error(watched))
            kill_group(hook);
        r = reap(hook);
        if (SYS3(read, hook->failed, &failure, sizeof failure) == sizeof failure)
            r = failure;
        if (is_error(watched))
            r = watched;
        for (int i = 0; i < DRAIN_READS && hook->out >= 0 && listen_to(hook); i++)
            ;
    }
    end_hook(hook);
    return r;
}

/* spawn(path, argv, envp, stdin, length, timeout in ms): the wait status */
long op_spawn(const u64 *a)
{
    static struct hook hook;
    hook.path = string_at(a[0]);
    hook.argv = a[1];
    hook.envp = a[2];
    hook.data = (const u8 *)a[3];
    hook.left = a[4];
    hook.kept = 0;
    hook.pidfd = -1;
    if (!hook.path || (a[4] && !in_data(a[3], a[4])))
        return -EFAULT;
    if (a[5] > 1000000000)
        return -EINVAL;

    init.progress->said = 0; /* only the last hook's words are of interest there */

    /* A hook need not read what it is given. */
    set_signal(SIGPIPE, SIG_IGN, 0, 0);
    long r = run_hook(&hook, a[5]);
    set_signal(SIGPIPE, SIG_DFL, 0, 0);
    long emitted = emit_bytes(&hook.kept, sizeof hook.kept);
    if (!is_error(emitted))
        emitted = emit_bytes(hook.tail, hook.kept);
    return is_error(emitted) && !is_error(r) ? emitted : r;
}
