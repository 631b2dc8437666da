/* resolve: a path below a root becomes a descriptor, whatever the image and its processes do.
 *
 * A path that exists is one openat2 with RESOLVE_IN_ROOT: the kernel keeps it inside, also
 * while others rename. A path with missing parts is walked: one component at a time, each
 * opened with RESOLVE_BENEATH and O_NOFOLLOW from the descriptor of the one before, so that
 * no step can leave the directory it starts from. Links are read from the opened link itself
 * and their text is put in front of the rest of the path; ".." is never given to the kernel
 * on its own: the way walked so far (free of links) is shortened and opened again from the
 * root. So every descriptor here was reached from the root downwards.
 */
#include "init.h"

enum { EXISTING, DIRECTORY, FILE_AT_END, KINDS, LAST_NOT_FOLLOWED = 16 };

#define LINKS 40
#define ATTEMPTS 128 /* for a component that others make and remove meanwhile */
#define TRIES_AGAIN 4096

struct walk {
    int root;
    int at;       /* O_PATH descriptor of what has been reached; may be `root` */
    unsigned kind;
    bool nofollow;
    u32 mode;
    int links;
    char way[PATH_MAX];  /* from the root to `at`: "/a/b", without links, "" for the root */
    char rest[PATH_MAX]; /* what remains to be walked */
};

long open_how(int directory, const char *path, u64 flags, u64 mode, u64 resolve)
{
    struct open_how how = {.flags = flags | O_CLOEXEC, .mode = mode, .resolve = resolve};
    long fd;
    int tries = 0;
    do
        fd = SYS4(openat2, directory, path, &how, sizeof how);
    while (fd == -EINTR || (fd == -EAGAIN && ++tries < TRIES_AGAIN));
    return fd;
}

/* The file type of what a descriptor refers to, or an error. */
static long type_of(int fd)
{
    struct statx about;
    long r = SYS5(statx, fd, "", AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW, STATX_TYPE, &about);
    return is_error(r) ? r : about.stx_mode & S_IFMT;
}

/* Replaces what has been reached by `fd`. */
static void arrive(struct walk *w, int fd)
{
    if (w->at != w->root)
        SYS1(close, w->at);
    w->at = fd;
}

/* The length of the first component of `s`, which *s is moved to; "." and slashes are passed. */
static size_t component(const char **s)
{
    for (;;) {
        while (**s == '/')
            ++*s;
        size_t n = 0;
        while ((*s)[n] && (*s)[n] != '/')
            n++;
        if (n != 1 || **s != '.')
            return n;
        ++*s;
    }
}

static bool is_dotdot(const char *s, size_t n)
{
    return n == 2 && s[0] == '.' && s[1] == '.';
}

static bool climbs(const char *rest)
{
    for (size_t n; (n = component(&rest)); rest += n)
        if (is_dotdot(rest, n))
            return true;
    return false;
}

/* Makes the component, which was missing a moment ago. */
static long make(const struct walk *w, const char *name, bool last)
{
    if (last && w->kind == FILE_AT_END) {
        long fd = open_how(w->at, name, O_CREAT | O_EXCL | O_NOFOLLOW | O_RDONLY, w->mode,
                           RESOLVE_BENEATH);
        if (!is_error(fd))
            SYS1(close, fd);
        return is_error(fd) ? fd : 0;
    }
    return SYS3(mkdirat, w->at, name, w->kind == DIRECTORY ? w->mode : 0755);
}

/* Opens the component itself (a link is not followed), making it if it is missing and
 * nothing after it leads upwards again. */
static long open_component(const struct walk *w, const char *name, const char *rest, bool last)
{
    for (int i = 0; i < ATTEMPTS; i++) {
        long fd = open_how(w->at, name, O_PATH | O_NOFOLLOW, 0,
                           RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS);
        if (fd != -ENOENT || climbs(rest))
            return fd;
        long r = make(w, name, last);
        if (is_error(r) && r != -EEXIST)
            return r;
    }
    return -EAGAIN;
}

/* Puts the text of the link `fd` in front of the rest of the path. */
static long expand_link(struct walk *w, int fd, const char *rest)
{
    static char text[PATH_MAX];
    if (++w->links > LINKS)
        return -ELOOP;
    long n = SYS4(readlinkat, fd, "", text, sizeof text);
    if (is_error(n))
        return n;
    size_t length = strlen(rest);
    if (!n)
        return -ENOENT;
    if ((size_t)n + 1 + length >= sizeof w->rest)
        return -ENAMETOOLONG;
    memmove(w->rest + n + 1, rest, length + 1);
    memcpy(w->rest, text, (size_t)n);
    w->rest[n] = '/';
    if (text[0] == '/') {
        arrive(w, w->root);
        w->way[0] = 0;
    }
    return 0;
}

static long climb(struct walk *w)
{
    size_t n = strlen(w->way);
    while (n && w->way[--n] != '/')
        ;
    w->way[n] = 0;
    if (!n) {
        arrive(w, w->root);
        return 0;
    }
    long fd = open_how(w->root, w->way, O_PATH | O_DIRECTORY, 0,
                       RESOLVE_IN_ROOT | RESOLVE_NO_SYMLINKS);
    if (is_error(fd))
        return fd;
    arrive(w, (int)fd);
    return 0;
}

static long descend(struct walk *w, const char *name, size_t length, const char *rest)
{
    const char *ahead = rest;
    bool last = !component(&ahead);
    long fd = open_component(w, name, rest, last);
    if (is_error(fd))
        return fd;
    long type = type_of((int)fd);
    if (type == S_IFLNK) {
        long r = last && w->nofollow ? -ELOOP : expand_link(w, (int)fd, rest);
        SYS1(close, fd);
        return r;
    }
    size_t n = strlen(w->way);
    long r = is_error(type)                         ? type
             : !last && type != S_IFDIR             ? -ENOTDIR
             : n + 1 + length >= sizeof w->way      ? -ENAMETOOLONG
                                                    : 0;
    if (is_error(r)) {
        SYS1(close, fd);
        return r;
    }
    w->way[n] = '/';
    memcpy(w->way + n + 1, name, length + 1);
    memmove(w->rest, rest, strlen(rest) + 1);
    arrive(w, (int)fd);
    return 0;
}

/* Walks to the end of the path: an owned descriptor, or an error. */
static long walk(struct walk *w)
{
    for (;;) {
        char name[NAME_MAX + 1];
        const char *s = w->rest;
        size_t n = component(&s);
        if (!n)
            break;
        if (n > NAME_MAX)
            return -ENAMETOOLONG;
        memcpy(name, s, n);
        name[n] = 0;
        long r;
        if (is_dotdot(name, n)) {
            memmove(w->rest, s + n, strlen(s + n) + 1);
            r = climb(w);
        } else {
            r = descend(w, name, n, s + n);
        }
        if (is_error(r))
            return r;
    }
    return w->at == w->root ? open_how(w->root, ".", O_PATH, 0, 0) : w->at;
}

/* The path as it is: inside the root by the kernel's own word. */
static long open_existing(int root, const char *path, bool nofollow)
{
    long fd = open_how(root, path, O_PATH | (nofollow ? O_NOFOLLOW : 0), 0,
                       RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS);
    if (is_error(fd) || !nofollow)
        return fd;
    long type = type_of((int)fd);
    if (type != S_IFLNK && !is_error(type))
        return fd;
    SYS1(close, fd);
    return is_error(type) ? type : -ELOOP;
}

/* resolve(root, path, kind, mode): an O_PATH descriptor of the path below the root. */
long op_resolve(const u64 *a)
{
    static struct walk w;
    const char *path = string_at(a[1]);
    size_t length = path ? strlen(path) : 0;
    u64 kind = a[2] & ~(u64)LAST_NOT_FOLLOWED;
    if (!path)
        return -EFAULT;
    if (kind >= KINDS || a[3] & ~(u64)07777)
        return -EINVAL;
    if (!length)
        return -ENOENT;
    if (length >= sizeof w.rest)
        return -ENAMETOOLONG;

    w.root = w.at = (int)a[0];
    w.kind = (unsigned)kind;
    w.nofollow = a[2] & LAST_NOT_FOLLOWED;
    w.mode = (u32)a[3];
    w.links = 0;
    w.way[0] = 0;
    memcpy(w.rest, path, length + 1);
    /* With a slash at its end even O_NOFOLLOW follows the last component. */
    while (length > 1 && w.rest[length - 1] == '/')
        w.rest[--length] = 0;

    long fd = open_existing(w.root, w.rest, w.nofollow);
    if (fd != -ENOENT || kind == EXISTING)
        return fd;
    long umask = SYS1(umask, 0); /* `mode` is meant as it is */
    fd = walk(&w);
    SYS1(umask, umask);
    if (is_error(fd))
        arrive(&w, w.root);
    return fd;
}
