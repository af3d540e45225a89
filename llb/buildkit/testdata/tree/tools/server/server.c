// Answers 200 to everything. With --version it says what it was built from and
// which backend it found beside itself.
#include <arpa/inet.h>
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

const char *ggml_commit(void);

int main(int argc, char **argv) {
    if (argc == 2 && strcmp(argv[1], "--version") == 0) {
        void *backend = dlopen("/app/libggml-cpu.so", RTLD_NOW);
        const char *(*mark)(void) = backend ? (const char *(*)(void)) dlsym(backend, "ggml_backend_mark") : NULL;
        printf("commit %s mark %s uid %d\n", ggml_commit(), mark ? mark() : dlerror(), (int) getuid());
        return 0;
    }
    const char *port = getenv("LLAMA_ARG_PORT");
    for (int i = 1; i + 1 < argc; i++) {
        if (strcmp(argv[i], "--port") == 0) port = argv[i + 1];
    }
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(port ? atoi(port) : 8080)};
    int s = socket(AF_INET, SOCK_STREAM, 0);
    if (bind(s, (struct sockaddr *) &at, sizeof at) != 0 || listen(s, 8) != 0) {
        perror("listen");
        return 1;
    }
    for (;;) {
        char ask[1024];
        const char answer[] = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
        int c = accept(s, NULL, NULL);
        if (read(c, ask, sizeof ask) > 0 && write(c, answer, sizeof answer - 1) < 0) perror("write");
        close(c);
    }
}
