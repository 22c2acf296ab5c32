/* One question to the agent's socket.  A frame is a big-endian u32 length and that many bytes (src/tulle/wire/control.py). */
#include "tulle_cni.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

/* An agent may be silent for so long before it says that it has read the call, and from then on. */
enum { SILENCE_S = 2, PATIENCE_S = 10 };

static const char *const FOLDER[] = {"run", "tulle", NULL};
static const char SOCKET_NAME[] = "agent.sock";

struct line {
    int fd;
    time_t end;
    const char *reason;
};

static time_t now_s(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec;
}

/* 1: try again (a signal came); 0: the line is dead, and `reason` says why. */
static int worth_retrying(struct line *line, ssize_t result) {
    if (result < 0 && errno == EINTR && now_s() < line->end)
        return 1;
    if (result == 0)
        line->reason = "it closed the connection";
    else
        line->reason = errno == EAGAIN || errno == EINTR ? "it is silent" : strerror(errno);
    return 0;
}

static int send_all(struct line *line, const char *at, size_t size) {
    while (size) {
        ssize_t done = send(line->fd, at, size, MSG_NOSIGNAL);
        if (done > 0) {
            at += done;
            size -= (size_t)done;
        } else if (!worth_retrying(line, done)) {
            return 0;
        }
    }
    return 1;
}

/* Length and body in one message, so that the agent wakes once; what does not fit follows. */
static int send_frame(struct line *line, struct bytes body) {
    uint32_t length = htonl((uint32_t)body.size);
    struct iovec parts[] = {{&length, sizeof length}, {(void *)(uintptr_t)body.at, body.size}};
    struct msghdr frame = {.msg_iov = parts, .msg_iovlen = 2};
    ssize_t done;
    while ((done = sendmsg(line->fd, &frame, MSG_NOSIGNAL)) <= 0)
        if (!worth_retrying(line, done))
            return 0;
    size_t sent = (size_t)done;
    if (sent < sizeof length)
        return send_all(line, (const char *)&length + sent, sizeof length - sent) && send_all(line, body.at, body.size);
    sent -= sizeof length;
    return send_all(line, body.at + sent, body.size - sent);
}

static int receive_all(struct line *line, char *at, size_t size) {
    while (size) {
        if (now_s() >= line->end) {
            line->reason = "it takes too long";
            return 0;
        }
        ssize_t done = recv(line->fd, at, size, 0);
        if (done > 0) {
            at += done;
            size -= (size_t)done;
        } else if (!worth_retrying(line, done)) {
            return 0;
        }
    }
    return 1;
}

static void set_patience(int fd, int option, time_t seconds) {
    struct timeval patience = {.tv_sec = seconds};
    setsockopt(fd, SOL_SOCKET, option, &patience, sizeof patience);
}

/* An empty frame says "read", or "still at work". */
static int receive_frame(struct line *line, struct bytes *reply) {
    uint32_t length;
    if (!receive_all(line, (char *)&length, sizeof length))
        return 0;
    if (!length)
        set_patience(line->fd, SO_RCVTIMEO, PATIENCE_S);
    while (!length) {
        if (!receive_all(line, (char *)&length, sizeof length))
            return 0;
    }
    length = ntohl(length);
    char *body = length <= REPLY_LIMIT ? malloc(length) : NULL;
    if (!body) {
        line->reason = "its answer is too long";
        return 0;
    }
    *reply = (struct bytes){body, length};
    return receive_all(line, body, length);
}

static int ask(struct line *line, struct bytes body, struct bytes *reply) {
    return send_frame(line, body) && receive_frame(line, reply);
}

static int peer_is_trusted(int fd) {
    struct ucred peer;
    socklen_t size = sizeof peer;
    return !getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) && is_trusted(peer.uid);
}

/* A socket in the folder that we stand in: no path is longer than an address holds, and none is followed. */
static int connect_here(int fd) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    memcpy(address.sun_path, SOCKET_NAME, sizeof SOCKET_NAME);
    set_patience(fd, SO_RCVTIMEO, SILENCE_S);
    set_patience(fd, SO_SNDTIMEO, SILENCE_S);
    while (connect(fd, (struct sockaddr *)&address, sizeof address))
        if (errno != EINTR)
            return -1;
    return 0;
}

static int enter_folder(int root, const char **reason) {
    struct stat status;
    int folder = walk(root, FOLDER, 0);
    if (folder < 0 || fchdir(folder) || fstatat(folder, SOCKET_NAME, &status, AT_SYMLINK_NOFOLLOW)) {
        *reason = strerror(errno);
        return 0;
    }
    close(folder);
    *reason = "not a socket of root's";
    return S_ISSOCK(status.st_mode) && is_trusted(status.st_uid);
}

/* ABSENT: nobody is there; SILENT: somebody is, and gave no whole answer.  `reason` is for a person. */
enum heard ask_agent(int root, struct bytes body, struct bytes *reply, const char **reason) {
    if (!enter_folder(root, reason))
        return ABSENT;
    struct line line = {socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), now_s() + TOTAL_S, NULL};
    if (line.fd < 0 || connect_here(line.fd)) {
        *reason = errno == EAGAIN ? "it is silent" : strerror(errno);
        return errno == EAGAIN ? SILENT : ABSENT;
    }
    if (!peer_is_trusted(line.fd)) {
        *reason = "served by another user";
        return ABSENT;
    }
    int whole = ask(&line, body, reply);
    *reason = line.reason;
    close(line.fd);
    return whole ? ANSWERED : SILENT;
}
