/* Code that runs into the end of the stack comes back: by a signal, on a stack of its own. */
#define _GNU_SOURCE
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdlib.h>

#include "worker.h"

enum { NEAR = 1 << 20 }; /* frames may leap over the guard page by so much */

static sigjmp_buf *back;
static uintptr_t lowest; /* address of the stack */

bool stack_ended(const void *address) {
    uintptr_t at = (uintptr_t)address;
    return at + NEAR > lowest && at < lowest + NEAR;
}

static void fault(int number, siginfo_t *info, void *unused) {
    (void)unused;
    if (back && stack_ended(info->si_addr)) siglongjmp(*back, 1);
    signal(number, SIG_DFL); /* what it is else happens again, and ends the process */
}

void stack_for_signals(void) {
    pthread_attr_t attributes;
    void *stack;
    size_t size;
    if (pthread_getattr_np(pthread_self(), &attributes) || pthread_attr_getstack(&attributes, &stack, &size)) abort();
    lowest = (uintptr_t)stack;
    stack_t other = {.ss_size = 1 << 16, .ss_sp = malloc(1 << 16)};
    if (!other.ss_sp || sigaltstack(&other, NULL)) abort();
}

static void prepare(void) {
    struct sigaction action = {.sa_sigaction = fault, .sa_flags = SA_SIGINFO | SA_ONSTACK};
    stack_for_signals();
    sigaction(SIGSEGV, &action, NULL);
    sigaction(SIGBUS, &action, NULL);
}

bool guarded(void (*code)(void *), void *with) {
    sigjmp_buf here, *outer = back;
    if (!lowest) prepare();
    bool fine = !sigsetjmp(here, 1);
    if (fine) {
        back = &here;
        code(with);
    }
    back = outer;
    return fine;
}
