/* Without an agent: its own code, started as the agent left word how to; else a tombstone that it finds later. */
#include "tulle_cni.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
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

/* A file without a name, read from its beginning: it holds `content`. */
static int unnamed_file(const char *name, struct bytes content) {
    int file = memfd_create(name, MFD_CLOEXEC);
    if (file >= 0 && (write_all(file, content.at, content.size) || lseek(file, 0, SEEK_SET) < 0))
        return -1;
    return file;
}

static pid_t running;

static void set_alarms(int how) {
    sigset_t alarms;
    sigemptyset(&alarms);
    sigaddset(&alarms, SIGALRM);
    sigprocmask(how, &alarms, NULL);
}

/* In the child: become the agent's code, which ends when we do. */
static _Noreturn void become(char *const argv[], int root, int given, int answer, pid_t parent) {
    set_alarms(SIG_UNBLOCK);
    umask(022);
    if (!prctl(PR_SET_PDEATHSIG, SIGKILL) && getppid() == parent && !fchdir(root) && dup2(given, STDIN_FILENO) >= 0 &&
        dup2(answer, STDOUT_FILENO) >= 0)
        execve(argv[0], argv, environ);
    _exit(127);
}

static void give_up(int number) {
    (void)number;
    kill(running, SIGKILL);
}

/* Its exit code; -1 when a signal ended it, as it does after TOTAL_S. */
static int wait_for(pid_t child) {
    struct sigaction action = {.sa_handler = give_up};
    int status;
    running = child;
    sigaction(SIGALRM, &action, NULL);
    alarm(TOTAL_S);
    set_alarms(SIG_UNBLOCK);
    while (waitpid(child, &status, 0) < 0)
        if (errno != EINTR)
            return -1;
    alarm(0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

/* The reply as the agent would give it: exit code, then what was written.  1 when there is one. */
static int read_answer(int code, int file, struct bytes *reply) {
    struct stat status;
    if (code < 0 || fstat(file, &status) || status.st_size > REPLY_LIMIT || (code && !status.st_size))
        return 0;
    char *body = malloc(1 + (size_t)status.st_size);
    if (!body || pread(file, body + 1, (size_t)status.st_size, 0) != (ssize_t)status.st_size)
        return 0;
    body[0] = (char)code;
    *reply = (struct bytes){body, 1 + (size_t)status.st_size};
    return 1;
}

/* ABSENT: there is nothing to run; SILENT: it ended without an answer.  What it said before it died is not passed on. */
enum heard run_alone(int root, struct bytes stdin_, struct bytes *reply) {
    char words[WORD_LIMIT];
    char *argv[WORDS + 1] = {NULL};
    ssize_t size = read_command(root, words);
    size_t count = 0;
    for (char *at = words; size > 0 && at < words + size && count < WORDS; at += strlen(at) + 1)
        argv[count++] = at;
    if (!count || access(argv[0], X_OK))
        return ABSENT;
    int given = unnamed_file("cni-stdin", stdin_), answer = unnamed_file("cni-stdout", (struct bytes){"", 0});
    signal(SIGCHLD, SIG_DFL);
    set_alarms(SIG_BLOCK);
    pid_t parent = getpid(), child = given < 0 || answer < 0 ? -1 : fork();
    if (child == 0)
        become(argv, root, given, answer, parent);
    return child > 0 && read_answer(wait_for(child), answer, reply) ? ANSWERED : SILENT;
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
