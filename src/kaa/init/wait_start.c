/* wait_start: the container is created; its process begins when somebody says so. */
#include "init.h"

static void end_by_signal(int number)
{
    die(128 + number);
}

/* x86_64 wants a way back from a handler; ours never returns. */
static void no_return(void)
{
    die(EXIT_SYSTEM);
}

/* pid 1 of a namespace ignores every signal that it does not handle. */
static long handle_terminating_signals(void)
{
    static const u8 signals[] = {SIGHUP,  SIGINT,  SIGQUIT, SIGTERM,
                                 SIGALRM, SIGUSR1, SIGUSR2};
    for (size_t i = 0; i < sizeof signals; i++) {
        long r = set_signal(signals[i], end_by_signal, SA_RESTORER, no_return);
        if (is_error(r))
            return r;
    }
    return 0;
}

/* One byte, or 0 at end of file and when there is nothing to be read any more. */
static char read_word(int fd)
{
    char word = 0;
    long n;
    do
        n = SYS3(read, fd, &word, 1);
    while (n == -EINTR);
    return n == 1 ? word : 0;
}

static bool may_start(int peer, u32 uid)
{
    struct ucred credentials;
    u32 size = sizeof credentials;
    if (is_error(SYS5(getsockopt, peer, SOL_SOCKET, SO_PEERCRED, &credentials, &size)))
        return false;
    return credentials.uid == uid || credentials.uid == 0;
}

/* Waits for a connection that says GO; it becomes the command socket. */
static void serve(int listener, u32 uid)
{
    SYS1(close, init.command);
    for (;;) {
        long peer = SYS4(accept4, listener, 0, 0, SOCK_CLOEXEC);
        if (peer == -EINTR || peer == -ECONNABORTED)
            continue;
        if (is_error(peer))
            die(EXIT_SYSTEM);
        if (!may_start((int)peer, uid) || read_word((int)peer) != 'G') {
            SYS1(close, peer);
            continue;
        }
        if (peer != init.command) {
            if (is_error(SYS3(dup3, peer, init.command, O_CLOEXEC)))
                die(EXIT_SYSTEM);
            SYS1(close, peer);
        }
        SYS1(close, listener);
        return;
    }
}

/* wait_start(listener, uid) */
long op_wait_start(const u64 *a)
{
    int listener = (int)a[0];
    if (init.silent)
        return -EINVAL;
    long r = handle_terminating_signals();
    if (is_error(r))
        return r;
    init.progress->phase = CREATED;
    send_reply(-1, 0);

    char word = read_word(init.command);
    if (word == 'R' && listener >= 0)
        serve(listener, (u32)a[1]);
    else if (word != 'G')
        die(0);
    else if (listener >= 0)
        SYS1(close, listener);
    init.silent = true;
    init.progress->phase = GO;
    return 0;
}
