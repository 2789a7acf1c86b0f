// WABT's interpreter, by the C++ interface of its library.
#include <memory>
#include <new>
#include <string>
#include <vector>

#include "wabt/binary-reader.h"
#include "wabt/error.h"
#include "wabt/interp/binary-reader-interp.h"
#include "wabt/interp/interp.h"

#define export export_ // a name of worker.h, which is C
extern "C" {
#include "../worker.h"

const char engine_name[] = "wabt";
const bool engine_native = false;
const size_t engine_stack = 16 << 20;
}

using namespace wabt::interp;
using wabt::Result;

static wabt::Features features;
static const std::string host_trap = "lab.trap", too_deep = "call stack exhausted";

struct instance {
    Instance::Ptr own;
    Module::Ptr module;
};

struct store {
    Store own{features};
    std::vector<std::unique_ptr<instance>> instances;
    std::vector<HostFunc::Ptr> lab;
};

const char *engine_version(void) { return WORKER_VERSION; }

bool engine_set(const char *, const char *) { return false; }

void engine_start(void) {
    features.EnableAll();
    features.disable_exceptions(); // an older draft of them, and parts only of the next two
    features.disable_function_references();
    features.disable_gc();
    features.disable_threads(); // nobody waits, or is notified
}

// How calls end

static void ended(const Trap::Ptr &trap, outcome *out) {
    std::string words = trap ? trap->message() : "no reason given";
    if (words == host_trap) return fail(out, "trapped", "host");
    bool deep = words.compare(0, too_deep.size(), too_deep) == 0;
    fail(out, deep ? "exhausted" : "trapped", "%s", words.c_str());
}

static Result trapped(Store &own, const std::string &words, Trap::Ptr *trap) {
    *trap = Trap::New(own, words);
    return Result::Error;
}

// The module "lab"

static Result host_log(Thread &thread, const Values &args, Values &, Trap::Ptr *) {
    lab_log(args[0].Get<u32>(), args[1].Get<u64>());
    thread.store().Collect();
    return Result::Ok;
}

static Result host_trapping(Thread &thread, const Values &, Values &, Trap::Ptr *trap) {
    return trapped(thread.store(), host_trap, trap);
}

static Result host_reenter(Thread &thread, const Values &args, Values &results, Trap::Ptr *trap) {
    instance *of;
    Func *callee = reinterpret_cast<Func *>(lab_callee(&of));
    if (!callee) return Result::Ok;
    if (current->depth >= MAX_REENTER) return trapped(thread.store(), too_deep, trap);
    current->depth++;
    Result result = callee->Call(thread.store(), args, results, trap);
    current->depth--;
    return *trap ? Result(Result::Error) : result;
}

// A reference of the host is its number and one.
static Result host_extern(Thread &thread, const Values &args, Values &results, Trap::Ptr *) {
    void *number = reinterpret_cast<void *>(uintptr_t{args[0].Get<u32>()} + 1);
    results[0] = Value::Make(Foreign::New(thread.store(), number).ref());
    return Result::Ok;
}

static Result host_number(Thread &thread, const Values &args, Values &results, Trap::Ptr *) {
    Ref asked = args[0].Get<Ref>();
    bool ours = asked != Ref::Null && thread.store().Is<Foreign>(asked);
    uintptr_t found = ours ? reinterpret_cast<uintptr_t>(thread.store().UnsafeGet<Foreign>(asked)->ptr()) : 0;
    results[0] = Value::Make(u32(found - 1));
    return Result::Ok;
}

static HostFunc::Ptr lab_function(store *s, name wanted) {
    using T = wabt::Type;
    static const struct {
        const char *name;
        ValueTypes from, to;
        HostFunc::Callback code;
    } all[] = {
        {"log", {T::I32, T::I64}, {}, host_log},
        {"trap", {}, {}, host_trapping},
        {"reenter", {T::I32}, {}, host_reenter},
        {"extern", {T::I32}, {T::ExternRef}, host_extern},
        {"number", {T::ExternRef}, {T::I32}, host_number},
    };
    for (const auto &one : all)
        if (is(wanted, one.name)) return HostFunc::New(s->own, FuncType(one.from, one.to), one.code);
    return {};
}

// Instances

static bool same_name(const std::string &text, name wanted) {
    return text.size() == wanted.size && !text.compare(0, text.size(), wanted.at, wanted.size);
}

static Ref export_of(const instance *of, name wanted) {
    const auto &types = of->module->export_types();
    for (size_t i = 0; i < types.size(); i++)
        if (same_name(types[i].name, wanted)) return of->own->exports()[i];
    return Ref::Null;
}

template <typename T>
static T *exported(const instance *of, name wanted) {
    Ref found = export_of(of, wanted);
    Store &own = *of->own.store();
    return found != Ref::Null && own.Is<T>(found) ? own.UnsafeGet<T>(found).get() : nullptr;
}

static Ref provided(store *s, const source *of, const import *asked) {
    if (!asked->of && is(asked->module, "lab")) {
        HostFunc::Ptr found = lab_function(s, asked->name);
        if (!found) return Ref::Null;
        s->lab.push_back(found);
        return found.ref();
    }
    const instance *from = asked->of ? of->of : session_registered(current, asked->module);
    return from ? export_of(from, asked->name) : Ref::Null;
}

static bool link_all(store *s, const Module &module, const source *of, RefVec *into, outcome *out) {
    const auto &types = module.import_types();
    if (types.size() != of->count) return fail(out, "unsupported", "%zu imports", types.size()), false;
    for (size_t i = 0; i < of->count; i++) {
        Ref found = provided(s, of, &of->imports[i]);
        if (found == Ref::Null) return unknown_import(&of->imports[i], out);
        Trap::Ptr why;
        if (Failed(s->own.UnsafeGet<Extern>(found)->Match(s->own, types[i], &why)))
            return fail(out, "unlinkable", "%s", why->message().c_str()), false;
        into->push_back(found);
    }
    return true;
}

// Addresses of tables are cut to 32 bits, and some instructions take no others.
static bool strange(outcome *out) {
    if (out) fail(out, "unsupported", "a table addressed by i64");
    return false;
}

static bool read(const source *of, ModuleDesc *into, outcome *out) {
    wabt::Errors errors;
    wabt::ReadBinaryOptions options(features, nullptr, false, true, true);
    if (Succeeded(ReadBinaryInterp("module", of->bytes, of->size, options, &errors, into))) {
        for (const TableDesc &table : into->tables)
            if (table.type.limits.is_64) return strange(out);
        for (const ImportDesc &asked : into->imports)
            if (auto table = dynamic_cast<const TableType *>(asked.type.type.get()); table && table->limits.is_64)
                return strange(out);
        return true;
    }
    if (out) fail(out, "invalid", "%s", errors.empty() ? "no reason given" : errors.front().message.c_str());
    return false;
}

bool engine_compiles(uint8_t *bytes, size_t size) {
    source of{};
    of.bytes = bytes;
    of.size = size;
    ModuleDesc found;
    return read(&of, &found, nullptr);
}

instance *engine_instantiate(store *s, const source *of, outcome *out) {
    ModuleDesc found;
    RefVec imports;
    Trap::Ptr trap;
    if (!read(of, &found, out)) return nullptr;
    auto made = std::make_unique<instance>();
    made->module = Module::New(s->own, std::move(found));
    if (!link_all(s, *made->module, of, &imports, out)) return nullptr;
    try {
        made->own = Instance::Instantiate(s->own, made->module.ref(), imports, &trap);
    } catch (const std::bad_alloc &) {
        return fail(out, "exhausted", "memory"), nullptr;
    }
    if (!made->own || trap) return ended(trap, out), nullptr;
    s->instances.push_back(std::move(made));
    return s->instances.back().get();
}

store *store_new(void) { return new store; }

void store_free(store *s) { delete s; }

function *engine_function(instance *of, name wanted) {
    return reinterpret_cast<function *>(exported<Func>(of, wanted));
}

void engine_call(instance *of, function *called, const value *, size_t, outcome *out) {
    Values results;
    Trap::Ptr trap;
    try {
        Result result = reinterpret_cast<Func *>(called)->Call(*of->own.store(), {}, results, &trap);
        if (Failed(result) || trap) ended(trap, out); // an indirect call that exhausts the stack is told as a success
    } catch (const std::bad_alloc &) {
        fail(out, "exhausted", "memory");
    }
}

bool engine_memory(instance *of, name wanted, uint8_t **data, size_t *size) {
    Memory *found = exported<Memory>(of, wanted);
    if (!found) return false;
    *data = found->UnsafeData();
    *size = found->ByteSize();
    return true;
}

bool engine_exports(instance *of, name wanted, uint8_t) { return export_of(of, wanted) != Ref::Null; }

void engine_get(instance *, name, outcome *out) { fail(out, "unsupported", "no step get"); }
