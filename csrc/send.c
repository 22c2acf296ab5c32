/* "tulle-cni --send": sends the agent's requests to the kernel, so that the agent need not wait for it.
 *
 * The agent's end, and the specification, is src/tulle/kernel/sender.py.  stdin is a line of packets: the number of a
 * job (u32, the machine's order) and its requests, with the socket to send them through, and maybe one descriptor
 * more that the requests name as CARRIED.  The kernel's answers wait in that socket, for the agent.  What could not
 * be sent is said: number and errno.  The line's end is ours: what was not begun by then is left, since nobody is there
 * any more to undo it.
 */
#include "tulle_cni.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { CARRIED = 10, REQUESTS_LIMIT = 64 << 10, MOST_DESCRIPTORS = 2 };

struct job {
    uint32_t number;
    char requests[REQUESTS_LIMIT];
};

struct refusal {
    uint32_t number, error;
};

/* What came with `message`; -1 where nothing did. */
static void take_descriptors(struct msghdr *message, int found[MOST_DESCRIPTORS]) {
    struct cmsghdr *header = CMSG_FIRSTHDR(message);
    found[0] = found[1] = -1;
    if (header && header->cmsg_level == SOL_SOCKET && header->cmsg_type == SCM_RIGHTS)
        memcpy(found, CMSG_DATA(header), header->cmsg_len - CMSG_LEN(0));
}

/* 0, or why it could not be sent. */
static int carry_out(const struct job *job, size_t size, const int descriptors[MOST_DESCRIPTORS]) {
    if (descriptors[0] < 0)
        return EBADF;
    if (descriptors[1] >= 0 && dup3(descriptors[1], CARRIED, O_CLOEXEC) < 0)
        return errno;
    ssize_t sent = send(descriptors[0], job->requests, size, MSG_NOSIGNAL);
    int error = sent < 0 ? errno : 0;
    if (descriptors[1] >= 0)
        close(CARRIED);
    return error;
}

static int has_hung_up(void) {
    struct pollfd line = {.fd = STDIN_FILENO, .events = POLLRDHUP};
    return poll(&line, 1, 0) > 0;
}

/* The size of the next job's requests; -1 when there is none any more. */
static ssize_t next_job(struct job *job, int descriptors[MOST_DESCRIPTORS]) {
    union {
        char room[CMSG_SPACE(MOST_DESCRIPTORS * sizeof(int))];
        struct cmsghdr aligned;
    } control;
    struct iovec into = {job, sizeof *job};
    struct msghdr message = {
        .msg_iov = &into, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};
    ssize_t size;
    do
        size = recvmsg(STDIN_FILENO, &message, MSG_CMSG_CLOEXEC);
    while (size < 0 && errno == EINTR);
    if (size < (ssize_t)sizeof job->number || message.msg_flags & MSG_TRUNC)
        return -1;
    take_descriptors(&message, descriptors);
    return size - (ssize_t)sizeof job->number;
}

_Noreturn void send_for_agent(void) {
    static struct job job;
    static const int OTHERS[] = {SIGINT, SIGTERM, SIGHUP}; /* told to the agent, who may still be at work */
    int descriptors[MOST_DESCRIPTORS];
    ssize_t size;
    for (size_t at = 0; at < sizeof OTHERS / sizeof *OTHERS; at++)
        signal(OTHERS[at], SIG_IGN);
    while ((size = next_job(&job, descriptors)) >= 0 && !has_hung_up()) {
        struct refusal refusal = {job.number, (uint32_t)carry_out(&job, (size_t)size, descriptors)};
        for (int at = 0; at < MOST_DESCRIPTORS; at++)
            if (descriptors[at] >= 0)
                close(descriptors[at]);
        if (refusal.error && send(STDIN_FILENO, &refusal, sizeof refusal, MSG_NOSIGNAL) < 0)
            break;
    }
    _exit(0);
}
