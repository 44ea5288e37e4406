/* Records what a process asks of the disk below $DISK_TRACE_ROOT, and what it sends, in one order, into
   $DISK_TRACE_FILE. Preloaded into a learner; disk_trace.py reads the records and says what a power cut leaves.

   A record: op (1 byte), file (8 bytes: inode), offset (8), length of a path (4), length of data (4), path, data.
   Ops: 'c' made, 'o' opened for writing, 'w' written, 't' truncated to offset, 'f' synced, 'r' renamed (data: new
   path), 'u' unlinked, 'm' directory made, 'd' directory removed, 'l' linked (data: new path), 's' sent. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#define REAL(name) ((__typeof__(&name))real(#name))
#define FILES 4096

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static int trace = -1;
static char root[PATH_MAX];
static uint64_t inode_of[FILES]; /* 0 for what lies elsewhere */

static void *real(const char *name) {
    void *found = dlsym(RTLD_NEXT, name);
    if (!found) abort();
    return found;
}

__attribute__((constructor)) static void start(void) {
    const char *where = getenv("DISK_TRACE_ROOT"), *file = getenv("DISK_TRACE_FILE");
    if (!where || !file) return;
    snprintf(root, sizeof root, "%s", where);
    trace = REAL(open)(file, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
}

static int absolute(int directory, const char *path, char *out) {
    char base[PATH_MAX], link[64];
    if (path[0] == '/') {
        snprintf(out, PATH_MAX, "%s", path);
    } else {
        snprintf(link, sizeof link, directory == AT_FDCWD ? "/proc/self/cwd" : "/proc/self/fd/%d", directory);
        ssize_t size = readlink(link, base, sizeof base - 1);
        if (size < 0) return 0;
        base[size] = 0;
        if (snprintf(out, PATH_MAX, "%s/%s", base, path) >= PATH_MAX) return 0;
    }
    size_t length = strlen(root);
    return trace >= 0 && strncmp(out, root, length) == 0 && (out[length] == '/' || out[length] == 0);
}

/* The caller holds the lock, so that records stand in the order of what they record. */
static void note(char op, uint64_t inode, uint64_t offset, const char *path, const void *data, uint32_t size) {
    char head[25];
    uint32_t length = path ? strlen(path) : 0;
    head[0] = op;
    memcpy(head + 1, &inode, 8);
    memcpy(head + 9, &offset, 8);
    memcpy(head + 17, &length, 4);
    memcpy(head + 21, &size, 4);
    struct iovec parts[3] = {{head, 25}, {(void *)path, length}, {(void *)data, size}};
    ssize_t all = 25 + (ssize_t)length + size;
    if (REAL(writev)(trace, parts, 3) != all) abort(); /* half a trace would prove nothing */
}

static uint64_t inode(int file) { return file >= 0 && file < FILES ? inode_of[file] : 0; }

static int opened(int (*how)(int, const char *, int, mode_t), int directory, const char *path, int flags, mode_t mode) {
    char full[PATH_MAX];
    int ours = absolute(directory, path, full);
    if (!ours) return how(directory, path, flags, mode);
    pthread_mutex_lock(&lock);
    struct stat about;
    int there = stat(full, &about) == 0;
    int file = how(directory, path, flags, mode);
    if (file >= 0 && file < FILES && fstat(file, &about) == 0) {
        inode_of[file] = about.st_ino;
        if (!there && S_ISREG(about.st_mode)) note('c', about.st_ino, 0, full, 0, 0);
        else note('o', about.st_ino, 0, full, 0, 0); /* tells which inode a directory has, too */
        if (flags & O_TRUNC) note('t', about.st_ino, 0, 0, 0, 0);
    }
    pthread_mutex_unlock(&lock);
    return file;
}

static int by_openat(int directory, const char *path, int flags, mode_t mode) {
    return REAL(openat64)(directory, path, flags, mode);
}

#define MODE(flags, last) \
    mode_t mode = 0; \
    if ((flags) & (O_CREAT | O_TMPFILE)) { va_list rest; va_start(rest, last); mode = va_arg(rest, int); va_end(rest); }

int open(const char *path, int flags, ...) { MODE(flags, flags) return opened(by_openat, AT_FDCWD, path, flags, mode); }
int open64(const char *path, int flags, ...) { MODE(flags, flags) return opened(by_openat, AT_FDCWD, path, flags, mode); }
int openat(int at, const char *path, int flags, ...) { MODE(flags, flags) return opened(by_openat, at, path, flags, mode); }
int openat64(int at, const char *path, int flags, ...) { MODE(flags, flags) return opened(by_openat, at, path, flags, mode); }

int close(int file) {
    if (file >= 0 && file < FILES) inode_of[file] = 0;
    return REAL(close)(file);
}

ssize_t write(int file, const void *data, size_t size) {
    if (!inode(file)) return REAL(write)(file, data, size);
    pthread_mutex_lock(&lock);
    int flags = fcntl(file, F_GETFL);
    off_t at = lseek(file, 0, flags & O_APPEND ? SEEK_END : SEEK_CUR);
    ssize_t done = REAL(write)(file, data, size);
    if (done > 0) note('w', inode(file), at, 0, data, done);
    pthread_mutex_unlock(&lock);
    return done;
}

ssize_t pwrite64(int file, const void *data, size_t size, off64_t at) {
    if (!inode(file)) return REAL(pwrite64)(file, data, size, at);
    pthread_mutex_lock(&lock);
    ssize_t done = REAL(pwrite64)(file, data, size, at);
    if (done > 0) note('w', inode(file), at, 0, data, done);
    pthread_mutex_unlock(&lock);
    return done;
}
ssize_t pwrite(int file, const void *data, size_t size, off_t at) { return pwrite64(file, data, size, at); }

static int cut(int file, off64_t size) {
    if (!inode(file)) return REAL(ftruncate64)(file, size);
    pthread_mutex_lock(&lock);
    int done = REAL(ftruncate64)(file, size);
    if (done == 0) note('t', inode(file), size, 0, 0, 0);
    pthread_mutex_unlock(&lock);
    return done;
}
int ftruncate64(int file, off64_t size) { return cut(file, size); }
int ftruncate(int file, off_t size) { return cut(file, size); }

static int synced(int (*how)(int), int file) {
    if (!inode(file)) return how(file);
    pthread_mutex_lock(&lock);
    int done = how(file);
    if (done == 0) note('f', inode(file), 0, 0, 0, 0);
    pthread_mutex_unlock(&lock);
    return done;
}
int fsync(int file) { return synced(REAL(fsync), file); }
int fdatasync(int file) { return synced(REAL(fdatasync), file); }

static int two(char op, int (*how)(const char *, const char *), const char *from, const char *to) {
    char a[PATH_MAX], b[PATH_MAX];
    if (!absolute(AT_FDCWD, from, a) || !absolute(AT_FDCWD, to, b)) return how(from, to);
    pthread_mutex_lock(&lock);
    int done = how(from, to);
    if (done == 0) note(op, 0, 0, a, b, strlen(b));
    pthread_mutex_unlock(&lock);
    return done;
}
int rename(const char *from, const char *to) { return two('r', REAL(rename), from, to); }
int link(const char *from, const char *to) { return two('l', REAL(link), from, to); }

int unlinkat(int at, const char *path, int flags) {
    char full[PATH_MAX];
    if (!absolute(at, path, full)) return REAL(unlinkat)(at, path, flags);
    pthread_mutex_lock(&lock);
    int done = REAL(unlinkat)(at, path, flags);
    if (done == 0) note(flags & AT_REMOVEDIR ? 'd' : 'u', 0, 0, full, 0, 0);
    pthread_mutex_unlock(&lock);
    return done;
}
int unlink(const char *path) { return unlinkat(AT_FDCWD, path, 0); }
int rmdir(const char *path) { return unlinkat(AT_FDCWD, path, AT_REMOVEDIR); }

int mkdir(const char *path, mode_t mode) {
    char full[PATH_MAX];
    if (!absolute(AT_FDCWD, path, full)) return REAL(mkdir)(path, mode);
    pthread_mutex_lock(&lock);
    int done = REAL(mkdir)(path, mode);
    struct stat about;
    if (done == 0 && stat(full, &about) == 0) note('m', about.st_ino, 0, full, 0, 0);
    pthread_mutex_unlock(&lock);
    return done;
}

/* Noted before it goes out: a peer must never have heard of what is not on disk yet. */
ssize_t send(int file, const void *data, size_t size, int flags) {
    if (trace < 0) return REAL(send)(file, data, size, flags);
    pthread_mutex_lock(&lock);
    ssize_t done = REAL(send)(file, data, size, flags);
    if (done > 0) note('s', (uint64_t)file, 0, 0, data, done);
    pthread_mutex_unlock(&lock);
    return done;
}
