/* Without an agent: its own code, started as the agent left word how to; else a tombstone that it finds later. */
#include "tulle_cni.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { WORD_LIMIT = 4096, WORDS = 16 };

extern char **environ;

static const char *const STATE[] = {"var", "lib", "tulle", NULL};
static const char *const TOMBSTONES[] = {"var", "lib", "tulle", "tombstones", NULL};
static const char *const VOLATILE_TOMBSTONES[] = {"run", "tulle", "tombstones", NULL};
static const char COMMAND_FILE[] = "cni-offline";

/* The command that the agent left: NUL-terminated words.  Its size, or -1. */
static ssize_t read_command(int root, char *words) {
    struct stat status;
    ssize_t size = -1;
    int folder = walk(root, STATE, 0);
    int file = folder < 0 ? -1 : openat(folder, COMMAND_FILE, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (file >= 0 && !fstat(file, &status) && S_ISREG(status.st_mode) && is_trusted(status.st_uid) &&
        !(status.st_mode & 022))
        size = read(file, words, WORD_LIMIT);
    if (file >= 0)
        close(file);
    if (folder >= 0)
        close(folder);
    return size > 0 && words[0] == '/' && words[size - 1] == 0 ? size : -1;
}

/* A file without a name that holds `stdin_` again. */
static int stdin_again(struct bytes stdin_) {
    int file = memfd_create("cni-stdin", MFD_CLOEXEC);
    if (file < 0 || write_all(file, stdin_.at, stdin_.size) || lseek(file, 0, SEEK_SET) < 0)
        return -1;
    return dup2(file, STDIN_FILENO);
}

void run_offline(int root, struct bytes stdin_) {
    char words[WORD_LIMIT];
    char *argv[WORDS + 1] = {NULL};
    ssize_t size = read_command(root, words);
    size_t count = 0;
    for (char *at = words; size > 0 && at < words + size && count < WORDS; at += strlen(at) + 1)
        argv[count++] = at;
    if (!count || access(argv[0], X_OK) || fchdir(root) || stdin_again(stdin_) < 0)
        return;
    umask(022);
    execve(argv[0], argv, environ);
    umask(077);
}

static int write_durably(int folder, const char *name, struct bytes body) {
    char beside[64];
    snprintf(beside, sizeof beside, ".%s", name);
    int file = openat(folder, beside, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (file < 0)
        return -1;
    int failed = write_all(file, body.at, body.size) || fsync(file);
    close(file);
    failed = failed || renameat(folder, beside, folder, name) || fsync(folder);
    if (failed)
        unlinkat(folder, beside, 0);
    return failed ? -1 : 0;
}

/* Keep the whole request for the agent: on disk, else at least until the next boot.  0 when kept. */
int leave_tombstone(int root, struct bytes body) {
    static const char *const *const places[] = {TOMBSTONES, VOLATILE_TOMBSTONES};
    struct timespec now;
    char name[48];
    clock_gettime(CLOCK_REALTIME, &now);
    snprintf(name, sizeof name, "%011lld.%09ld-%d", (long long)now.tv_sec, now.tv_nsec, (int)getpid());
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        int folder = walk(root, places[i], 1);
        int failed = folder < 0 || write_durably(folder, name, body);
        if (folder >= 0)
            close(folder);
        if (!failed)
            return 0;
    }
    return -1;
}
