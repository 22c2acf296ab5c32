/* tulle-cni: carries a call of the container runtime to the agent, and its answer back.
 *
 * It decides nothing but what can be told alone: VERSION, input that is too large, and what to say
 * when there is no agent, or one that is silent.  Called as "loopback" it is that plugin,
 * and with --send the agent's helper.
 */
#include "tulle_cni.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    STDIN_LIMIT = 1 << 20,
    ENVIRONMENT_LIMIT = 128 << 10,
    STDIN_PATIENCE_MS = 10000,
};

extern char **environ;

static const char *const COMMANDS[] = {"ADD", "DEL", "CHECK", "GC", "STATUS", "VERSION", NULL};

/* The kind, the environment, an empty string, and stdin: the frame as it is sent. */
static char request[1 + ENVIRONMENT_LIMIT + 1 + STDIN_LIMIT + 1];

static int is_known(const char *command) {
    for (const char *const *each = COMMANDS; *each; each++)
        if (!strcmp(*each, command))
            return 1;
    return 0;
}

static int is_carried(const char *variable) {
    return !strncmp(variable, "CNI_", 4) || !strncmp(variable, "TULLE_", 6);
}

/* Write the environment into `request`; the place after it. */
static size_t put_environment(const struct call *call) {
    size_t size = 0;
    request[size++] = 'C';
    for (char **each = environ; *each; each++) {
        if (!is_carried(*each))
            continue;
        size_t length = strlen(*each) + 1;
        if (size + length > 1 + ENVIRONMENT_LIMIT)
            fail(call, CODE_ENVIRONMENT, "the environment", "more than 128 KiB of CNI_* and TULLE_*");
        memcpy(request + size, *each, length);
        size += length;
    }
    request[size++] = 0;
    return size;
}

static ssize_t read_some(char *at, size_t room) {
    struct pollfd input = {.fd = STDIN_FILENO, .events = POLLIN};
    for (;;) {
        int ready = poll(&input, 1, STDIN_PATIENCE_MS);
        if (!ready)
            errno = ETIMEDOUT;
        ssize_t size = ready > 0 ? read(STDIN_FILENO, at, room) : -1;
        if (size >= 0 || errno != EINTR)
            return size;
    }
}

static struct bytes read_stdin(const struct call *call, char *at) {
    size_t size = 0;
    ssize_t more;
    while ((more = read_some(at + size, STDIN_LIMIT + 1 - size)) > 0)
        size += (size_t)more;
    if (more < 0)
        fail(call, CODE_IO, "stdin cannot be read", strerror(errno));
    if (size > STDIN_LIMIT)
        fail(call, CODE_UNDECODABLE, "stdin is not a network configuration", "more than 1 MiB");
    return (struct bytes){at, size};
}

static int is(const struct call *call, const char *command) {
    return !strcmp(call->command, command);
}

/* Nobody gave an answer: what can be done all the same, and else what to tell the runtime. */
static _Noreturn void without_agent(const struct call *call, int root, struct bytes body, const char *reason) {
    char details[512];
    const char *folder = getenv("TULLE_ROOT");
    snprintf(details, sizeof details, "%s/run/tulle/agent.sock: %.160s: start tulled, or see its log",
             folder && strcmp(folder, "/") ? folder : "", reason);
    if (is(call, "DEL") && root >= 0 && !leave_tombstone(root, body))
        succeed("", 0);
    fail(call, is(call, "STATUS") ? CODE_NOT_AVAILABLE : CODE_TRY_AGAIN, "the agent does not answer", details);
}

static int can_be_done_alone(const struct call *call) {
    return is(call, "DEL") || is(call, "CHECK") || is(call, "GC");
}

static _Noreturn void carry(const struct call *call, struct bytes body) {
    struct bytes reply = {NULL, 0};
    const char *reason = NULL;
    char both[128];
    int root = open_root();
    if (root < 0)
        without_agent(call, root, body, strerror(errno));
    enum heard heard = ask_agent(root, body, &reply, &reason);
    if (heard == ABSENT && can_be_done_alone(call)) {
        heard = run_alone(root, call->stdin_, &reply);
        if (heard == SILENT) {
            snprintf(both, sizeof both, "%.80s, and its code alone ended without an answer", reason);
            reason = both;
        }
    }
    if (heard != ANSWERED)
        without_agent(call, root, body, reason);
    int failed = write_all(STDOUT_FILENO, reply.at + 1, reply.size - 1);
    _exit(failed ? 1 : (unsigned char)reply.at[0]);
}

static int is_called(const char *argv0, const char *name) {
    const char *slash = argv0 ? strrchr(argv0, '/') : NULL;
    return argv0 && !strcmp(slash ? slash + 1 : argv0, name);
}

int main(int argc, char **argv) {
    signal(SIGPIPE, SIG_IGN);
    umask(077);
    if (argc == 2 && !strcmp(argv[1], "--version"))
        succeed("tulle-cni " TULLE_VERSION "\n", sizeof "tulle-cni " TULLE_VERSION);
    if (argc == 2 && !strcmp(argv[1], "--send"))
        send_for_agent();
    const char *command = getenv("CNI_COMMAND");
    if (!command || !*command) {
        static const char about[] = "tulle-cni " TULLE_VERSION ": a CNI plugin, versions 0.1.0 to 1.1.0\n";
        write_all(STDERR_FILENO, about, sizeof about - 1);
        return 0;
    }
    struct call call = {.command = command, .version = "1.1.0"};
    if (!is_known(command))
        fail(&call, CODE_ENVIRONMENT, "CNI_COMMAND", "must be one of ADD, DEL, CHECK, GC, STATUS, VERSION");
    size_t size = put_environment(&call);
    call.stdin_ = read_stdin(&call, request + size);
    call.version = requested_version(call.stdin_);
    if (is(&call, "VERSION"))
        answer_version(&call);
    if (is_called(argv[0], "loopback"))
        loopback(&call);
    carry(&call, (struct bytes){request, size + call.stdin_.size});
}
