/* The plugin of type "loopback": brings lo up in the container, and answers for it.  It needs no agent. */
#include "tulle_cni.h"

#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

enum { ANSWER_LIMIT = 8192, PATH_LIMIT = 1024 };

static const char *netns_path(const struct call *call) {
    const char *path = getenv("CNI_NETNS");
    if (!path || path[0] != '/' || strlen(path) > PATH_LIMIT || strpbrk(path, "\"\\"))
        fail(call, CODE_ENVIRONMENT, "CNI_NETNS", "must be an absolute path");
    return path;
}

static int is_own(int netns) {
    struct stat theirs, ours;
    return !fstat(netns, &theirs) && !stat("/proc/self/ns/net", &ours) && theirs.st_ino == ours.st_ino &&
           theirs.st_dev == ours.st_dev;
}

/* NULL when we are in the namespace now; else what is wrong with it. */
static const char *enter(const char *path) {
    int netns = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (netns < 0)
        return strerror(errno);
    if (is_own(netns))
        return "is the node's own namespace";
    if (!setns(netns, CLONE_NEWNET))
        return NULL;
    return errno == EINVAL ? "is not a network namespace" : strerror(errno);
}

static int flags_of_lo(int fd, struct ifreq *request) {
    memset(request, 0, sizeof *request);
    memcpy(request->ifr_name, "lo", sizeof "lo");
    return ioctl(fd, SIOCGIFFLAGS, request);
}

static int set_lo(int fd, int up) {
    struct ifreq request;
    if (flags_of_lo(fd, &request))
        return -1;
    request.ifr_flags = (short)(up ? request.ifr_flags | IFF_UP : request.ifr_flags & ~IFF_UP);
    return ioctl(fd, SIOCSIFFLAGS, &request);
}

static int has_ipv6(void) {
    struct sockaddr_in6 one = {.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT};
    int fd = socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    return fd >= 0 && !bind(fd, (struct sockaddr *)&one, sizeof one);
}

static _Noreturn void answer_add(const struct call *call, const char *path) {
    static char answer[ANSWER_LIMIT];
    struct member previous = {.name = "prevResult"};
    if (json_members(call->stdin_, &previous, 1) && previous.value.size && previous.value.at[0] == '{')
        succeed(previous.value.at, previous.value.size);
    int old = call->version[0] == '0', oldest = old && call->version[2] < '3', six = has_ipv6();
    const char *v4 = old ? "\"version\":\"4\"," : "", *v6 = old ? "\"version\":\"6\"," : "";
    int size;
    if (oldest)
        size = snprintf(answer, sizeof answer, "{\"cniVersion\":\"%s\",\"ip4\":{\"ip\":\"127.0.0.1/8\"}%s,\"dns\":{}}\n",
                        call->version, six ? ",\"ip6\":{\"ip\":\"::1/128\"}" : "");
    else
        size = snprintf(answer, sizeof answer,
                        "{\"cniVersion\":\"%s\",\"interfaces\":[{\"name\":\"lo\",\"mac\":\"00:00:00:00:00:00\","
                        "\"sandbox\":\"%s\"}],\"ips\":[{%s\"address\":\"127.0.0.1/8\",\"interface\":0}%s%s%s],\"dns\":{}}\n",
                        call->version, path, v4, six ? ",{" : "", six ? v6 : "",
                        six ? "\"address\":\"::1/128\",\"interface\":0}" : "");
    succeed(answer, (size_t)size);
}

static void delete(void) {
    const char *path = getenv("CNI_NETNS");
    if (!path || path[0] != '/' || enter(path))
        return; /* lo went with its namespace */
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd >= 0)
        set_lo(fd, 0);
}

static _Noreturn void inside(const struct call *call, int check) {
    struct ifreq request;
    const char *path = netns_path(call), *wrong = enter(path);
    if (wrong)
        fail(call, CODE_NETNS, path, wrong);
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (!check && (fd < 0 || set_lo(fd, 1)))
        fail(call, CODE_IO, "lo cannot be set up", strerror(errno));
    if (!check)
        answer_add(call, path);
    if (fd < 0 || flags_of_lo(fd, &request) || !(request.ifr_flags & IFF_UP))
        fail(call, CODE_NOT_AS_ATTACHED, "lo", "is down: delete the pod's sandbox, and let it be made again");
    succeed("", 0);
}

_Noreturn void loopback(const struct call *call) {
    if (!strcmp(call->command, "ADD"))
        inside(call, 0);
    if (!strcmp(call->command, "CHECK"))
        inside(call, 1);
    if (!strcmp(call->command, "DEL"))
        delete();
    succeed("", 0); /* GC, STATUS: nothing is kept */
}
