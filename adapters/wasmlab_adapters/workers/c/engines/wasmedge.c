/* WasmEdge, by its C API. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include <wasmedge/wasmedge.h>

#include "../worker.h"

enum { MAX_MODULES = 256, TRAP = 1, TOO_DEEP = 2, THREW = 3, MAX_RESIDENT = 256 << 20 };

const char engine_name[] = "wasmedge";
const bool engine_native = false;
const size_t engine_stack = 16 << 20;

static bool aot;
static WasmEdge_LoaderContext *loader;
static WasmEdge_ValidatorContext *validator;
static WasmEdge_ExecutorContext *executor;
static WasmEdge_CompilerContext *compiler;
static WasmEdge_ModuleInstanceContext *lab, *idle;

const char *engine_version(void) { return WasmEdge_VersionGet(); }

bool engine_set(const char *setting, const char *value) {
    if (strcmp(setting, "mode")) return false;
    aot = !strcmp(value, "aot");
    return aot || !strcmp(value, "interpreter");
}

/* Modules: loaded and validated once, as long as they are asked for. */

typedef struct module {
    uint8_t *bytes;
    size_t size;
    uint64_t hash;
    WasmEdge_ASTModuleContext *ast;
} module;

static module modules[MAX_MODULES]; /* by hash */
static unsigned stores;             /* how many there are: their instances may need modules that are replaced */
static WasmEdge_ASTModuleContext **replaced;
static size_t replaced_count;

static uint64_t hash_of(const uint8_t *at, size_t size) {
    uint64_t hash = 14695981039346656037u;
    for (size_t i = 0; i < size; i++) hash = (hash ^ at[i]) * 1099511628211u;
    return hash ^ hash >> 32;
}

/* Compiled ahead of time, by way of a file that is loaded at once. */
static WasmEdge_Result compile(uint8_t *bytes, size_t size, WasmEdge_ASTModuleContext **ast) {
    char path[64];
    snprintf(path, sizeof path, "/tmp/wasmlab-wasmedge-%d.so", (int)getpid());
    WasmEdge_Result result = WasmEdge_CompilerCompileFromBuffer(compiler, bytes, size, path);
    if (WasmEdge_ResultOK(result)) result = WasmEdge_LoaderParseFromFile(loader, ast, path);
    unlink(path);
    return result;
}

static WasmEdge_ASTModuleContext *load(uint8_t *bytes, size_t size, bool bridge, WasmEdge_Result *result) {
    WasmEdge_ASTModuleContext *ast = NULL;
    *result = WasmEdge_LoaderParseFromBuffer(loader, &ast, bytes, (uint32_t)size);
    if (WasmEdge_ResultOK(*result)) *result = WasmEdge_ValidatorValidate(validator, ast);
    if (WasmEdge_ResultOK(*result) && aot && !bridge) {
        WasmEdge_ASTModuleDelete(ast);
        ast = NULL;
        *result = compile(bytes, size, &ast);
        if (WasmEdge_ResultOK(*result)) *result = WasmEdge_ValidatorValidate(validator, ast);
    }
    if (WasmEdge_ResultOK(*result)) return ast;
    WasmEdge_ASTModuleDelete(ast);
    return NULL;
}

static WasmEdge_ASTModuleContext *loaded(uint8_t *bytes, size_t size, bool bridge, WasmEdge_Result *result) {
    uint64_t hash = hash_of(bytes, size);
    module *place = &modules[hash % MAX_MODULES];
    *result = WasmEdge_Result_Success;
    if (place->ast && place->hash == hash && place->size == size && !memcmp(place->bytes, bytes, size))
        return place->ast;
    WasmEdge_ASTModuleContext *ast = load(bytes, size, bridge, result);
    if (!ast) return NULL;
    if (place->ast) {
        if (!(replaced = realloc(replaced, (replaced_count + 1) * sizeof *replaced))) abort();
        replaced[replaced_count++] = place->ast;
    }
    free(place->bytes);
    *place = (module){malloc(size + 1), size, hash, ast};
    if (!place->bytes) abort();
    memcpy(place->bytes, bytes, size);
    return ast;
}

/* In a process of its own: the compiler ends it by an assertion where a feature is unknown to it. */
bool engine_compiles(uint8_t *bytes, size_t size) {
    WasmEdge_Result result;
    pid_t child = fork();
    int status = 0;
    if (!child) _exit(!load(bytes, size, false, &result));
    return child > 0 && waitpid(child, &status, 0) == child && !status;
}

/* Calls.  The interpreter's stack grows as long as there is memory, and compiled code runs on the thread's: a watch
   stops the one.  The other ends in a signal, whose handler is the engine's: it is made to run on a stack of its own,
   and what it takes for an access to a memory is told apart. */

static void (*handler)(int, siginfo_t *, void *);
static bool overflowed;

static void handle(int number, siginfo_t *info, void *context) {
    overflowed = stack_ended(info->si_addr);
    handler(number, info, context);
}

/* In front of the C library's. */
int sigaction(int number, const struct sigaction *action, struct sigaction *old) {
    static int (*real)(int, const struct sigaction *, struct sigaction *);
    if (!real) *(void **)&real = dlsym(RTLD_NEXT, "sigaction");
    if (!action || !(action->sa_flags & SA_SIGINFO)) return real(number, action, old);
    struct sigaction mine = *action;
    handler = action->sa_sigaction;
    mine.sa_sigaction = handle;
    mine.sa_flags |= SA_ONSTACK;
    return real(number, &mine, old);
}

static WasmEdge_Async *stopper; /* of a call that is long over: what it stops is the executor */
static pthread_mutex_t calls = PTHREAD_MUTEX_INITIALIZER;
static bool calling, stopped;

static void *watch(void *unused) {
    (void)unused;
    long page = sysconf(_SC_PAGESIZE);
    for (;;) {
        usleep(10000);
        pthread_mutex_lock(&calls);
        long pages = 0;
        FILE *file = calling && !stopped ? fopen("/proc/self/statm", "r") : NULL;
        if (file) {
            if (fscanf(file, "%*d %ld", &pages) == 1 && pages > MAX_RESIDENT / page) {
                stopped = true;
                WasmEdge_AsyncCancel(stopper);
            }
            fclose(file);
        }
        pthread_mutex_unlock(&calls);
    }
    return NULL;
}

static bool in_call(bool now) {
    pthread_mutex_lock(&calls);
    bool was = stopped;
    calling = now;
    stopped = false;
    if (now) overflowed = false;
    pthread_mutex_unlock(&calls);
    return was;
}

static const WasmEdge_FunctionInstanceContext *idle_function(void) {
    return WasmEdge_ModuleInstanceFindFunction(idle, WasmEdge_StringWrap("f", 1));
}

/* After a call: its outcome. */
static void ended(WasmEdge_Result result, outcome *out) {
    bool was_stopped = in_call(false);
    if (was_stopped) WasmEdge_ExecutorInvoke(executor, idle_function(), NULL, 0, NULL, 0); /* takes what is left */
    if (WasmEdge_ResultOK(result)) return;
    if (overflowed) return fail(out, "exhausted", "call stack");
    uint32_t code = WasmEdge_ResultGetCode(result);
    const char *words = WasmEdge_ResultGetMessage(result);
    if (WasmEdge_ResultGetCategory(result) == WasmEdge_ErrCategory_UserLevelError) {
        if (code == TRAP) return fail(out, "trapped", "host");
        if (code == TOO_DEEP) return fail(out, "exhausted", "call stack");
        return fail(out, "unsupported", "an exception cannot pass through a host function");
    }
    switch (code) {
    case WasmEdge_ErrCode_Interrupted: return fail(out, "exhausted", "call stack");
    case WasmEdge_ErrCode_UncaughtException: return fail(out, "threw", "%s", "");
    case WasmEdge_ErrCode_DataSegDoesNotFit: return fail(out, "trapped", "out of bounds memory access");
    case WasmEdge_ErrCode_ElemSegDoesNotFit: return fail(out, "trapped", "out of bounds table access");
    }
    fail(out, code >> 8 == 3 ? "unlinkable" : "trapped", "%s", words);
}

/* Stores and instances */

struct instance {
    WasmEdge_ModuleInstanceContext *context;
    char name[24]; /* by which others of its store import from it */
    instance *before;
};

struct store {
    WasmEdge_StoreContext *context;
    instance *instances;
    unsigned count;
};

store *store_new(void) {
    static bool prepared;
    if (!prepared) stack_for_signals();
    prepared = true;
    store *made = calloc(1, sizeof *made);
    if (!made) abort();
    made->context = WasmEdge_StoreCreate();
    WasmEdge_ExecutorRegisterImport(executor, made->context, lab);
    stores++;
    return made;
}

void store_free(store *s) {
    while (s->instances) {
        instance *before = s->instances->before;
        WasmEdge_ModuleInstanceDelete(s->instances->context);
        free(s->instances);
        s->instances = before;
    }
    WasmEdge_StoreDelete(s->context);
    free(s);
    if (--stores) return;
    while (replaced_count) WasmEdge_ASTModuleDelete(replaced[--replaced_count]);
}

static name name_of(const source *of, const import *asked) {
    if (!asked->of && is(asked->module, "lab")) return asked->module;
    const instance *found = asked->of ? of->of : session_registered(current, asked->module);
    return found ? (name){found->name, strlen(found->name)} : (name){"?", 1};
}

instance *engine_instantiate(store *s, const source *of, outcome *out) {
    size_t size = of->size;
    WasmEdge_Result result;
    uint8_t *renamed = imports_renamed(of, name_of, &size);
    WasmEdge_ASTModuleContext *ast = loaded(renamed ? renamed : of->bytes, size, of->of, &result);
    free(renamed);
    if (!ast) { /* malformed and invalid are not told apart: an offset over 2^32 is malformed here, invalid there */
        bool exn = WasmEdge_ResultGetCode(result) == WasmEdge_ErrCode_MalformedRefType; /* in tables and segments */
        fail(out, exn ? "unsupported" : "invalid", "%s", WasmEdge_ResultGetMessage(result));
        return NULL;
    }
    instance *made = calloc(1, sizeof *made);
    if (!made) abort();
    snprintf(made->name, sizeof made->name, "%u", s->count++);
    in_call(true);
    WasmEdge_String given = WasmEdge_StringWrap(made->name, (uint32_t)strlen(made->name));
    result = WasmEdge_ExecutorRegister(executor, &made->context, s->context, ast, given);
    ended(result, out);
    if (!WasmEdge_ResultOK(result)) {
        free(made);
        return NULL;
    }
    made->before = s->instances;
    return s->instances = made;
}

static WasmEdge_String wrapped(name n) { return WasmEdge_StringWrap(n.at, (uint32_t)n.size); }

function *engine_function(instance *of, name export) {
    return (function *)WasmEdge_ModuleInstanceFindFunction(of->context, wrapped(export));
}

void engine_call(instance *of, function *f, const value *args, size_t count, outcome *out) {
    (void)of, (void)args, (void)count;
    in_call(true);
    ended(WasmEdge_ExecutorInvoke(executor, (WasmEdge_FunctionInstanceContext *)f, NULL, 0, NULL, 0), out);
}

bool engine_memory(instance *of, name export, uint8_t **data, size_t *size) {
    WasmEdge_MemoryInstanceContext *found = WasmEdge_ModuleInstanceFindMemory(of->context, wrapped(export));
    if (!found) return false;
    *size = (size_t)WasmEdge_MemoryInstanceGetPageSize(found) << 16;
    *data = *size ? WasmEdge_MemoryInstanceGetPointer(found, 0, 0) : NULL;
    return true;
}

bool engine_exports(instance *of, name wanted, uint8_t kind) {
    return kind == MEMORY ? WasmEdge_ModuleInstanceFindMemory(of->context, wrapped(wanted)) != NULL
                          : WasmEdge_ModuleInstanceFindTable(of->context, wrapped(wanted)) != NULL;
}

void engine_get(instance *of, name export, outcome *out) {
    (void)of, (void)export;
    fail(out, "unsupported", "no step get");
}

/* The module "lab" */

#define HOST(NAME)                                                                                                  \
    static WasmEdge_Result NAME(void *data, const WasmEdge_CallingFrameContext *frame, const WasmEdge_Value *args, \
                                WasmEdge_Value *results)
#define USER(CODE) WasmEdge_ResultGen(WasmEdge_ErrCategory_UserLevelError, CODE)

HOST(host_log) {
    (void)data, (void)frame, (void)results;
    lab_log((uint32_t)WasmEdge_ValueGetI32(args[0]), (uint64_t)WasmEdge_ValueGetI64(args[1]));
    return WasmEdge_Result_Success;
}

HOST(host_trap) {
    (void)data, (void)frame, (void)args, (void)results;
    return USER(TRAP);
}

HOST(host_reenter) {
    (void)data, (void)frame, (void)results;
    instance *of;
    function *f = lab_callee(&of);
    if (!f) return WasmEdge_Result_Success;
    if (current->depth >= MAX_REENTER) return USER(TOO_DEEP);
    current->depth++;
    WasmEdge_Result result =
        WasmEdge_ExecutorInvoke(executor, (WasmEdge_FunctionInstanceContext *)f, args, 1, NULL, 0);
    current->depth--;
    bool threw = WasmEdge_ResultGetCode(result) == WasmEdge_ErrCode_UncaughtException;
    return threw ? USER(THREW) : result;
}

/* A reference of the host is its number and one: no pointer is null. */
HOST(host_extern) {
    (void)data, (void)frame;
    results[0] = WasmEdge_ValueGenExternRef((void *)((uintptr_t)(uint32_t)WasmEdge_ValueGetI32(args[0]) + 1));
    return WasmEdge_Result_Success;
}

HOST(host_number) {
    (void)data, (void)frame;
    bool null = WasmEdge_ValueIsNullRef(args[0]);
    uintptr_t found = null ? 0 : (uintptr_t)WasmEdge_ValueGetExternRef(args[0]);
    results[0] = WasmEdge_ValueGenI32(found > UINT32_MAX ? -1 : (int32_t)(found - 1));
    return WasmEdge_Result_Success;
}

static void offer(const char *export, WasmEdge_HostFunc_t code, const char *from, const char *to) {
    WasmEdge_ValType types[2][4];
    const char *letters[] = {from, to};
    for (int side = 0; side < 2; side++)
        for (size_t i = 0; letters[side][i]; i++) {
            char c = letters[side][i];
            types[side][i] = c == 'i'   ? WasmEdge_ValTypeGenI32()
                             : c == 'I' ? WasmEdge_ValTypeGenI64()
                                        : WasmEdge_ValTypeGenExternRef();
        }
    WasmEdge_FunctionTypeContext *type =
        WasmEdge_FunctionTypeCreate(types[0], (uint32_t)strlen(from), types[1], (uint32_t)strlen(to));
    WasmEdge_ModuleInstanceAddFunction(lab, WasmEdge_StringWrap(export, (uint32_t)strlen(export)),
                                       WasmEdge_FunctionInstanceCreate(type, code, NULL, 0));
    WasmEdge_FunctionTypeDelete(type);
}

static void offer_lab(void) {
    lab = WasmEdge_ModuleInstanceCreate(WasmEdge_StringWrap("lab", 3));
    offer("log", host_log, "iI", "");
    offer("trap", host_trap, "", "");
    offer("reenter", host_reenter, "i", "");
    offer("extern", host_extern, "i", "e");
    offer("number", host_number, "e", "i");
}

void engine_start(void) {
    WasmEdge_LogOff();
    WasmEdge_ConfigureContext *config = WasmEdge_ConfigureCreate();
    for (int proposal = 0; proposal < WasmEdge_Proposal_Component; proposal++)
        WasmEdge_ConfigureAddProposal(config, (enum WasmEdge_Proposal)proposal);
    if (aot) { /* the compiler ends the process where it finds them */
        WasmEdge_ConfigureRemoveProposal(config, WasmEdge_Proposal_GC);
        WasmEdge_ConfigureRemoveProposal(config, WasmEdge_Proposal_ExceptionHandling);
    }
    WasmEdge_ConfigureSetForceInterpreter(config, !aot);
    loader = WasmEdge_LoaderCreate(config);
    validator = WasmEdge_ValidatorCreate(config);
    executor = WasmEdge_ExecutorCreate(config, NULL);
    if (aot) compiler = WasmEdge_CompilerCreate(config);
    WasmEdge_ConfigureDelete(config);
    offer_lab();
    static uint8_t nothing[] = "\0asm\1\0\0\0\1\4\1\140\0\0\3\2\1\0\7\5\1\1f\0\0\12\4\1\2\0\13";
    WasmEdge_Result result;
    WasmEdge_ASTModuleContext *ast = load(nothing, sizeof nothing - 1, true, &result);
    WasmEdge_StoreContext *own = WasmEdge_StoreCreate();
    if (!ast || !WasmEdge_ResultOK(WasmEdge_ExecutorInstantiate(executor, &idle, own, ast))) abort();
    stopper = WasmEdge_ExecutorAsyncInvoke(executor, idle_function(), NULL, 0);
    WasmEdge_AsyncWait(stopper);
    pthread_t thread;
    if (pthread_create(&thread, NULL, watch, NULL)) abort();
}
