// Runs the server of an image inside it, where there is no shell, so that one that
// cannot start is found before anybody gets it:
//
//   starts LEVEL PROGRAM
//
// LEVEL is what the image's CPU code is compiled for: a builder's own machine may
// lack it, or be of another architecture, and then nothing is known.
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

// patience is how many seconds the program may take to print its version.
enum { patience = 60 };

int main(int argc, char **argv) {
    if (argc != 3) return 2;
    pid_t pid = fork();
    if (pid < 0) {
        perror("llorch-bk: the server was not tried");
        return 1;
    }
    if (pid == 0) {
        alarm(patience);
        execl(argv[2], argv[2], "--version", (char *) NULL);
        _exit(errno == ENOEXEC ? 126 : 127);
    }
    int status;
    if (waitpid(pid, &status, 0) < 0) return 1;
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return 0;
    if (WIFSIGNALED(status) && WTERMSIG(status) == SIGILL && strcmp(argv[1], "portable") != 0) {
        printf("the server was not tried: this builder's CPU is no %s\n", argv[1]);
        return 0;
    }
    if (WIFEXITED(status) && WEXITSTATUS(status) == 126) {
        printf("the server was not tried: this builder's CPU is of another architecture\n");
        return 0;
    }
    if (WIFSIGNALED(status) && WTERMSIG(status) == SIGALRM)
        fprintf(stderr, "llorch-bk: the server does not start in the image: %s --version says nothing for %d seconds\n", argv[2], patience);
    else if (WIFSIGNALED(status))
        fprintf(stderr, "llorch-bk: the server does not start in the image: %s --version dies of signal %d\n", argv[2], WTERMSIG(status));
    else
        fprintf(stderr, "llorch-bk: the server does not start in the image: %s --version gives exit code %d\n", argv[2], WEXITSTATUS(status));
    return 1;
}
