// llorch-probe answers two questions from inside a server's container, without
// a shell or curl being there:
//
//   llorch-probe health          does the server answer 200 on /health?
//   llorch-probe readable FILE   can this user read FILE, and is it a GGUF file?
//
// The port is the one that the running server was really given: its command
// line is read from /proc, then its environment variable, then the default.
#include <arpa/inet.h>
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

static int port_of(const char *s) {
    char *end;
    long n = strtol(s, &end, 10);
    return *s && !*end && n > 0 && n < 65536 ? (int) n : 0;
}

// port_in looks for --port N or --port=N in one process' command line, if that
// process is the server.
static int port_in(const char *pid) {
    char path[64], buf[32768];
    snprintf(path, sizeof path, "/proc/%s/cmdline", pid);
    int fd = open(path, O_RDONLY);
    if (fd < 0) return 0;
    ssize_t n = read(fd, buf, sizeof buf - 1);
    close(fd);
    if (n <= 0) return 0;
    buf[n] = 0;
    const char *name = strrchr(buf, '/') ? strrchr(buf, '/') + 1 : buf;
    if (strcmp(name, "llama-server") != 0) return 0;
    int port = 0;
    for (char *arg = buf; arg < buf + n; arg += strlen(arg) + 1) {
        if (strncmp(arg, "--port=", 7) == 0) {
            port = port_of(arg + 7);
        } else if (strcmp(arg, "--port") == 0 && arg + 7 < buf + n) {
            port = port_of(arg + 7);
        }
    }
    return port;
}

static int server_port(void) {
    int port = 0;
    DIR *proc = opendir("/proc");
    if (proc) {
        for (struct dirent *e; !port && (e = readdir(proc));) {
            if (isdigit((unsigned char) e->d_name[0])) port = port_in(e->d_name);
        }
        closedir(proc);
    }
    const char *env = getenv("LLAMA_ARG_PORT");
    if (!port && env) port = port_of(env);
    return port ? port : 8080;
}

static int health(void) {
    int s = socket(AF_INET, SOCK_STREAM, 0);
    struct timeval limit = {.tv_sec = 2};
    setsockopt(s, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    setsockopt(s, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(server_port())};
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (s < 0 || connect(s, (struct sockaddr *) &to, sizeof to) != 0) {
        printf("port %d: %s\n", ntohs(to.sin_port), strerror(errno));
        return 1;
    }
    const char ask[] = "GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    if (write(s, ask, sizeof ask - 1) != (ssize_t) sizeof ask - 1) {
        perror("write");
        return 1;
    }
    char answer[256];
    size_t have = 0;
    for (ssize_t n; have < sizeof answer - 1 && (n = read(s, answer + have, sizeof answer - 1 - have)) > 0;) have += n;
    answer[have] = 0;
    char *line_end = strpbrk(answer, "\r\n");
    if (line_end) *line_end = 0;
    puts(have ? answer : "no answer");
    return strncmp(answer, "HTTP/1.", 7) == 0 && strncmp(answer + 8, " 200", 4) == 0 ? 0 : 1;
}

static int readable(const char *file) {
    char magic[4];
    int fd = open(file, O_RDONLY);
    if (fd < 0) {
        fprintf(stderr, "%s: %s\n", file, strerror(errno));
        return 1;
    }
    if (read(fd, magic, 4) != 4 || memcmp(magic, "GGUF", 4) != 0) {
        fprintf(stderr, "%s: not a GGUF file\n", file);
        return 1;
    }
    return 0;
}

int main(int argc, char **argv) {
    if (argc == 2 && strcmp(argv[1], "health") == 0) return health();
    if (argc == 3 && strcmp(argv[1], "readable") == 0) return readable(argv[2]);
    fprintf(stderr, "usage: llorch-probe health | readable FILE\n");
    return 2;
}
