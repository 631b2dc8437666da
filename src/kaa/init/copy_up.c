/* copy_up: a fresh tmpfs gets what it covers.
 *
 * The source is an image's, or a volume that somebody else is writing to at this moment:
 * every entry is opened by itself, without following, without crossing a mount, and what was
 * opened is what is copied. The target is our own.
 *
 * Not carried over: that names are links of one file, and the xattrs of what is neither a
 * directory nor a regular file (there is no descriptor that could be asked for them).
 */
#include "init.h"

#define DEPTH_MAX 256 /* directories, each of which costs two descriptors and some stack */
#define XATTR_MAX (64 << 10)

#define ENTRY (AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW)

static long copy_directory(int source, int target, int depth);

static long stat_of(int fd, struct statx *about)
{
    return SYS5(statx, fd, "", ENTRY, STATX_BASIC_STATS, about);
}

/* A descriptor of the entry that can be read, if it is still of the type that *about says.
 * Refreshes *about: nobody may get one file's set-id bit on another file's contents. */
static long open_for_reading(int source, const char *name, struct statx *about)
{
    u16 type = about->stx_mode & S_IFMT;
    long fd = open_how(source, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY, 0,
                       RESOLVE_BENEATH | RESOLVE_NO_XDEV);
    if (is_error(fd))
        return fd;
    long r = stat_of((int)fd, about);
    if (!is_error(r) && (about->stx_mode & S_IFMT) != type)
        r = -ESTALE;
    if (is_error(r)) {
        SYS1(close, fd);
        return r;
    }
    return fd;
}

/* The extended attributes; those that the target's filesystem or the kernel does not want
 * from us are left out. */
static long copy_xattrs(int source, int target)
{
    static char names[XATTR_MAX];
    static u8 value[XATTR_MAX];
    long size = SYS3(flistxattr, source, names, sizeof names);
    if (is_error(size))
        return size == -EOPNOTSUPP ? 0 : size;
    for (const char *name = names; name < names + size; name += strlen(name) + 1) {
        long n = SYS4(fgetxattr, source, name, value, sizeof value);
        if (is_error(n))
            continue; /* removed meanwhile, or not for our eyes */
        long r = SYS5(fsetxattr, target, name, value, n, 0);
        if (is_error(r) && r != -EOPNOTSUPP && r != -EPERM)
            return r;
    }
    return 0;
}

/* Owner, mode, times. The owner first, because a change of it clears set-id bits. */
static long copy_attributes(int directory, const char *name, const struct statx *about)
{
    const struct timespec times[2] = {{about->stx_atime.tv_sec, about->stx_atime.tv_nsec},
                                      {about->stx_mtime.tv_sec, about->stx_mtime.tv_nsec}};
    u32 mode = about->stx_mode & 07777;
    long r = SYS5(fchownat, directory, name, about->stx_uid, about->stx_gid,
                  AT_SYMLINK_NOFOLLOW);
    if (r == -EINVAL) { /* an owner that this user namespace has no number for */
        mode &= ~(u32)06000;
        r = 0;
    }
    if (!is_error(r) && (about->stx_mode & S_IFMT) != S_IFLNK)
        r = SYS3(fchmodat, directory, name, mode);
    if (!is_error(r))
        r = SYS4(utimensat, directory, name, times, AT_SYMLINK_NOFOLLOW);
    return r;
}

/* The bytes [from, to) of one file to the same place in another. */
static long copy_range(int source, int target, s64 from, s64 to)
{
    long r = SYS3(lseek, target, from, SEEK_SET);
    while (!is_error(r) && from < to) { /* sendfile moves `from` on */
        r = SYS4(sendfile, target, source, &from, to - from);
        if (r == 0)
            return 0; /* it has become shorter */
        if (r == -EINTR || r == -EAGAIN)
            r = 0;
    }
    return is_error(r) ? r : 0;
}

/* Holes stay holes: an image may hold a file of many terabytes that occupies nothing. */
static long copy_bytes(int source, int target, s64 size)
{
    long r = 0;
    for (s64 at = 0; at < size && !is_error(r);) {
        s64 begin = SYS3(lseek, source, at, SEEK_DATA);
        if (begin == -ENXIO)
            break;
        s64 end = is_error(begin) ? begin : SYS3(lseek, source, begin, SEEK_HOLE);
        if (is_error(end))
            return end;
        at = end < size ? end : size;
        r = copy_range(source, target, begin, at);
    }
    return is_error(r) ? r : SYS2(ftruncate, target, size);
}

static long copy_file(int source, int target, const char *name, struct statx *about)
{
    long from = open_for_reading(source, name, about);
    if (is_error(from))
        return from == -ENOENT ? 0 : from;
    long to = open_how(target, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0600,
                       RESOLVE_BENEATH);
    long r = to;
    if (!is_error(to)) {
        r = copy_bytes((int)from, (int)to, (s64)about->stx_size);
        /* The owner before the xattrs: a change of it would clear file capabilities. */
        if (!is_error(r))
            r = copy_attributes(target, name, about);
        if (!is_error(r))
            r = copy_xattrs((int)from, (int)to);
        SYS1(close, to);
    }
    SYS1(close, from);
    return r;
}

static long copy_subdirectory(int source, int target, const char *name, struct statx *about,
                              int depth)
{
    long from = open_for_reading(source, name, about);
    if (is_error(from))
        return from == -ENOENT ? 0 : from;
    long r = SYS3(mkdirat, target, name, 0700);
    if (!is_error(r)) {
        long to = open_how(target, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0,
                           RESOLVE_BENEATH);
        r = to;
        if (!is_error(to)) {
            r = copy_directory((int)from, (int)to, depth + 1);
            if (!is_error(r))
                r = copy_xattrs((int)from, (int)to);
            SYS1(close, to);
        }
    }
    SYS1(close, from);
    /* Last, because filling it changed its times, and a default ACL is an xattr. */
    return is_error(r) ? r : copy_attributes(target, name, about);
}

static long copy_link(int fd, int target, const char *name)
{
    static char text[PATH_MAX];
    long n = SYS4(readlinkat, fd, "", text, sizeof text - 1);
    if (is_error(n))
        return n;
    text[n] = 0;
    return SYS3(symlinkat, text, target, name);
}

static long copy_node(int target, const char *name, const struct statx *about)
{
    u64 major = about->stx_rdev_major, minor = about->stx_rdev_minor;
    u64 device = (minor & 0xff) | major << 8 | (minor & ~(u64)0xff) << 12;
    return SYS4(mknodat, target, name, (about->stx_mode & S_IFMT) | 0600, device);
}

/* What is mounted on an entry is not copied; a directory is made in its place. */
static long copy_mountpoint(int source, int target, const char *name)
{
    struct statx about;
    long r = SYS5(statx, source, name, AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT, STATX_TYPE,
                  &about);
    if (is_error(r) || (about.stx_mode & S_IFMT) != S_IFDIR)
        return r;
    return SYS3(mkdirat, target, name, 0755);
}

static long copy_entry(int source, int target, const char *name, int depth)
{
    struct statx about;
    long fd = open_how(source, name, O_PATH | O_NOFOLLOW, 0, RESOLVE_BENEATH | RESOLVE_NO_XDEV);
    if (fd == -ENOENT)
        return 0; /* removed meanwhile */
    if (fd == -EXDEV)
        return copy_mountpoint(source, target, name);
    if (is_error(fd))
        return fd;
    long r = stat_of((int)fd, &about);
    u16 type = about.stx_mode & S_IFMT;
    if (!is_error(r) && type == S_IFLNK)
        r = copy_link((int)fd, target, name);
    SYS1(close, fd);
    if (is_error(r))
        return r;
    if (type == S_IFDIR)
        return copy_subdirectory(source, target, name, &about, depth);
    if (type == S_IFREG)
        return copy_file(source, target, name, &about);
    if (type != S_IFLNK)
        r = copy_node(target, name, &about);
    return is_error(r) ? r : copy_attributes(target, name, &about);
}

static bool is_dot(const char *name)
{
    return name[0] == '.' && (!name[1] || (name[1] == '.' && !name[2]));
}

static long copy_directory(int source, int target, int depth)
{
    u64 buffer[1024 / sizeof(u64)]; /* small: there is one for every level */
    if (depth == DEPTH_MAX)
        return -ENAMETOOLONG;
    for (;;) {
        long n = SYS3(getdents64, source, buffer, sizeof buffer);
        if (n <= 0)
            return n == -ENOENT ? 0 : n; /* removed meanwhile */
        for (long at = 0; at < n;) {
            const struct dirent64 *entry = (const void *)((const u8 *)buffer + at);
            long r = is_dot(entry->name) ? 0 : copy_entry(source, target, entry->name, depth);
            if (is_error(r))
                return r;
            at += entry->length;
        }
    }
}

/* copy_up(source, target): two directories, of which the source may be an O_PATH descriptor */
long op_copy_up(const u64 *a)
{
    long source = open_how((int)a[0], ".", O_RDONLY | O_DIRECTORY, 0, 0);
    if (is_error(source))
        return source;
    long umask = SYS1(umask, 0);
    long r = copy_directory((int)source, (int)a[1], 0);
    SYS1(umask, umask);
    SYS1(close, source);
    return r;
}
