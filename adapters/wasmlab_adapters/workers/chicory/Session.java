import @group@.runtime.ExportFunction;
import @group@.runtime.ImportGlobal;
import @group@.runtime.ImportMemory;
import @group@.runtime.ImportTable;
import @group@.runtime.ImportTag;
import @group@.runtime.ImportValues;
import @group@.runtime.Instance;
import @group@.runtime.Memory;
import @group@.runtime.WasmException;
import @group@.wasm.Parser;
import @group@.wasm.WasmModule;
import @group@.wasm.types.Export;
import @group@.wasm.types.ExternalType;
import com.google.gson.JsonArray;
import com.google.gson.JsonObject;
import java.security.MessageDigest;
import java.util.Arrays;
import java.util.Base64;
import java.util.HashMap;
import java.util.HexFormat;
import java.util.Map;

/** A store: instances by name, and what is registered. */
final class Session {
    private static final int BLOCK = 4096;

    private final Engine engine;
    private final Host host = new Host(this);
    private final Map<String, Instance> instances = new HashMap<>();
    final Map<String, Instance> registered = new HashMap<>();
    JsonArray trace = new JsonArray();

    Session(Engine engine) {
        this.engine = engine;
    }

    /** A step that did not return; `kind` and message are the outcome's. */
    static final class Failed extends RuntimeException {
        final String kind;

        Failed(String kind, String detail) {
            super(detail, null, false, false);
            this.kind = kind;
        }
    }

    JsonObject outcome(JsonObject step, boolean full) {
        var outcome = new JsonObject();
        try {
            JsonArray values = run(step, full);
            outcome.addProperty("kind", "returned");
            if (values != null) {
                outcome.add("values", values);
            }
        } catch (Failed failed) {
            outcome.addProperty("kind", failed.kind);
            String detail = failed.getMessage();
            outcome.addProperty("detail", detail.substring(0, Math.min(detail.length(), 2000)));
        }
        return outcome;
    }

    private JsonArray run(JsonObject step, boolean full) {
        String action = step.get("do").getAsString();
        switch (action) {
            case "instantiate":
                instantiate(step);
                return null;
            case "end":
                return null;
            case "register":
                registered.put(step.get("as").getAsString(), instance(step));
                return null;
            case "call":
                call(step);
                return null;
            case "write":
                write(step);
                return null;
            case "read":
                return read(step, full);
            default:
                throw new Failed("unsupported", "no step " + action);
        }
    }

    private Instance instance(JsonObject step) {
        String name = step.has("name") ? step.get("name").getAsString() : "";
        Instance found = instances.get(name);
        if (found == null) {
            throw new Failed("unsupported", "no instance " + name);
        }
        return found;
    }

    private void instantiate(JsonObject step) {
        Instance of = null;
        if (step.has("of")) {
            of = instances.get(step.get("of").getAsString());
            if (of == null) {
                throw new Failed("unsupported", "no instance " + step.get("of").getAsString());
            }
        }
        String text = step.get("module").getAsString();
        WasmModule module;
        try {
            module = of == null ? Parser.parse(Base64.getDecoder().decode(text)) : engine.bridge(text);
        } catch (Throwable error) {
            throw ended(error, "malformed");
        }
        try {
            instances.put(step.get("name").getAsString(), engine.instantiate(module, imports(module, of)));
        } catch (Throwable error) {
            throw ended(error, "invalid");
        }
    }

    private ImportValues imports(WasmModule module, Instance of) {
        var values = ImportValues.builder();
        for (int i = 0; i < module.importSection().importCount(); i++) {
            var wanted = module.importSection().getImport(i);
            String from = wanted.module();
            String name = wanted.name();
            if (from.equals("lab") && host.function(name) != null) {
                values.addFunction(host.function(name));
                continue;
            }
            Instance source = of != null && from.equals("of") ? of : registered.get(from);
            ExternalType kind = source == null ? null : kind(source, name);
            if (kind == null) {
                continue; // the engine finds that it is missing
            }
            switch (kind) {
                case FUNCTION:
                    values.addFunction(Host.forward(from, name, source));
                    break;
                case GLOBAL:
                    values.addGlobal(new ImportGlobal(from, name, source.exports().global(name)));
                    break;
                case MEMORY:
                    values.addMemory(new ImportMemory(from, name, source.exports().memory(name)));
                    break;
                case TABLE:
                    values.addTable(new ImportTable(from, name, source.exports().table(name)));
                    break;
                default:
                    values.addTag(new ImportTag(from, name, source.tag(export(source, name).index())));
            }
        }
        return values.build();
    }

    /** What an instance exports under a name; null for nothing. */
    private static Export export(Instance instance, String name) {
        var exports = instance.module().exportSection();
        for (int i = 0; i < exports.exportCount(); i++) {
            if (exports.getExport(i).name().equals(name)) {
                return exports.getExport(i);
            }
        }
        return null;
    }

    static ExternalType kind(Instance instance, String name) {
        Export found = export(instance, name);
        return found == null ? null : found.exportType();
    }

    private void call(JsonObject step) {
        Instance instance = instance(step);
        String name = step.get("export").getAsString();
        if (kind(instance, name) != ExternalType.FUNCTION) {
            throw new Failed("unsupported", "no function " + name);
        }
        ExportFunction function = instance.export(name);
        int times = step.has("repeat") ? step.get("repeat").getAsInt() : 1;
        Failed last = null;
        for (int i = 0; i < times; i++) {
            last = null;
            host.depth = 0;
            try {
                function.apply();
            } catch (Throwable error) {
                last = ended(error, "trapped");
                if (!last.kind.equals("threw")) {
                    throw last;
                }
            }
        }
        if (last != null) {
            throw last;
        }
    }

    /** How something ended, by the class of what was thrown; `otherwise` for a class that says nothing. */
    static Failed ended(Throwable error, String otherwise) {
        String words = String.valueOf(error.getMessage());
        for (Throwable at = error; at != null; at = at.getCause()) {
            if (at instanceof Failed) {
                return (Failed) at;
            }
            if (at instanceof WasmException) {
                return new Failed("threw", "");
            }
            if (at instanceof StackOverflowError || words.contains("call stack exhausted")) {
                return new Failed("exhausted", "call stack");
            }
            if (at instanceof OutOfMemoryError) {
                return new Failed("exhausted", "memory");
            }
        }
        switch (error.getClass().getSimpleName()) {
            case "MalformedException":
                return new Failed("malformed", words);
            case "InvalidException": // an access that is not aligned, too
                return new Failed(otherwise.equals("trapped") ? otherwise : "invalid", words);
            case "UnlinkableException":
                return new Failed("unlinkable", words);
            case "UninstantiableException":
            case "TrapException":
            case "WasmRuntimeException":
                return new Failed("trapped", words);
            default:
                // Not one of the engine's own: an internal error, which is told as it is.
                return new Failed(error instanceof ArithmeticException ? "trapped" : otherwise, error.getClass().getSimpleName() + ": " + words);
        }
    }

    private Memory memory(JsonObject step) {
        Instance instance = instance(step);
        String name = step.get("export").getAsString();
        if (kind(instance, name) != ExternalType.MEMORY) {
            throw new Failed("unsupported", "no memory " + name);
        }
        return instance.exports().memory(name);
    }

    private static void within(long at, long count, long size) {
        if (at < 0 || count < 0 || at > size || count > size - at) {
            throw new Failed("unsupported", "bytes " + at + " to " + (at + count) + " of a memory of " + size);
        }
    }

    private void write(JsonObject step) {
        Memory memory = memory(step);
        byte[] data = HexFormat.of().parseHex(step.get("hex").getAsString());
        long at = step.get("at").getAsLong();
        within(at, data.length, memory.pages() * 65536L);
        memory.write((int) at, data);
    }

    private JsonArray read(JsonObject step, boolean full) {
        Memory memory = memory(step);
        long size = memory.pages() * 65536L;
        var values = new JsonArray();
        if (step.has("bytes")) {
            long at = step.get("at").getAsLong();
            long count = step.get("bytes").getAsLong();
            within(at, count, size);
            values.add("bytes:" + HexFormat.of().formatHex(memory.readBytes((int) at, (int) count)));
            return values;
        }
        values.add("i64:" + Long.toHexString(size));
        if (size > Integer.MAX_VALUE) {
            throw new Failed("unsupported", "a memory of " + size + " bytes is not looked into");
        }
        byte[] data = memory.readBytes(0, (int) size);
        values.add(full ? "bytes:" + HexFormat.of().formatHex(data) : "digest:" + digest(data));
        return values;
    }

    /** The digest of those blocks that are not all zeros. */
    private static String digest(byte[] data) {
        try {
            var total = MessageDigest.getInstance("SHA-256");
            byte[] zeros = new byte[BLOCK];
            for (int at = 0; at < data.length; at += BLOCK) {
                int end = Math.min(at + BLOCK, data.length);
                if (!Arrays.equals(data, at, end, zeros, 0, end - at)) {
                    total.update(java.nio.ByteBuffer.allocate(8).order(java.nio.ByteOrder.LITTLE_ENDIAN).putLong(0, at / BLOCK));
                    total.update(data, at, end - at);
                }
            }
            return HexFormat.of().formatHex(total.digest()).substring(0, 16);
        } catch (java.security.NoSuchAlgorithmException error) {
            throw new IllegalStateException(error);
        }
    }
}
