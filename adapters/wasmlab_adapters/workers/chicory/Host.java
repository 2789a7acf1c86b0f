import @group@.runtime.ExportFunction;
import @group@.runtime.HostFunction;
import @group@.runtime.ImportFunction;
import @group@.runtime.Instance;
import @group@.runtime.WasmFunctionHandle;
import @group@.wasm.types.ExternalType;
import @group@.wasm.types.FunctionType;
import @group@.wasm.types.ValType;
import java.lang.reflect.InvocationTargetException;
import java.lang.reflect.Proxy;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.function.BiFunction;
import java.util.function.Function;
import java.util.function.ToLongFunction;

/** The module "lab" of a session. */
final class Host {
    private static final int REENTRIES = 50;
    private static final long NULL = -1; // the engine's null reference, where references are numbers
    private static final Long NONE = 0xFFFF_FFFFL; // what is no number of a reference

    private final Session session;
    private final Map<String, HostFunction> functions = new HashMap<>();
    int depth;

    Host(Session session) {
        this.session = session;
        add("log", List.of(ValType.I32, ValType.I64), List.of(), (instance, args) -> {
            session.trace.add(Integer.toHexString((int) args[0]) + "," + Long.toHexString(args[1]));
            return null;
        });
        add("trap", List.of(), List.of(), (instance, args) -> {
            throw new Session.Failed("trapped", "host");
        });
        add("reenter", List.of(ValType.I32), List.of(), (instance, args) -> {
            reenter(args[0]);
            return null;
        });
        add("extern", List.of(ValType.I32), List.of(ValType.ExternRef), references(
            args -> args[0] & 0xFFFF_FFFFL, (args, refs) -> (Long) (args[0] & 0xFFFF_FFFFL)));
        add("number", List.of(ValType.ExternRef), List.of(ValType.I32), references(
            args -> args[0] == NULL ? NONE : args[0] & 0xFFFF_FFFFL, (args, refs) -> refs[0] instanceof Long ? refs[0] : NONE));
    }

    /** A function from or to references. */
    private static WasmFunctionHandle references(
            ToLongFunction<long[]> byNumber, BiFunction<long[], Object[], Object> byObject) {
        return handle(args -> new long[] {byNumber.applyAsLong(args)}, (type, args, refs) -> {
            Object result = byObject.apply(args, refs);
            return type.getMethod("of", long[].class, Object[].class)
                .invoke(null, new long[] {(Long) result}, new Object[] {result});
        });
    }

    /** A function as another instance imports it. */
    static ImportFunction forward(String module, String name, Instance source) {
        ExportFunction function = source.export(name);
        var handle = handle(function::apply, (type, args, refs) -> ExportFunction.class
            .getMethod("applyWithRefs", long[].class, Object[].class).invoke(function, args, refs));
        var type = source.exportType(name);
        try {
            return ImportFunction.class
                .getConstructor(String.class, String.class, FunctionType.class, WasmFunctionHandle.class, Instance.class)
                .newInstance(module, name, type, handle, source);
        } catch (ReflectiveOperationException error) { // of older releases, which do not ask whose it is
            return new ImportFunction(module, name, type, handle);
        }
    }

    private interface WithRefs {
        Object apply(Class<?> result, long[] args, Object[] refs) throws ReflectiveOperationException;
    }

    /** References are numbers (`apply`), in newer releases objects, by a method that the older ones do not know. */
    private static WasmFunctionHandle handle(Function<long[], long[]> byNumber, WithRefs byObject) {
        return (WasmFunctionHandle) Proxy.newProxyInstance(
            Host.class.getClassLoader(), new Class<?>[] {WasmFunctionHandle.class}, (proxy, method, args) -> {
                switch (method.getName()) {
                    case "apply":
                        return byNumber.apply((long[]) args[1]);
                    case "applyWithRefs":
                        try {
                            return byObject.apply(method.getReturnType(), (long[]) args[1], (Object[]) args[2]);
                        } catch (InvocationTargetException error) {
                            throw error.getCause();
                        }
                    default:
                        throw new UnsupportedOperationException(method.getName());
                }
            });
    }

    private void add(String name, List<ValType> params, List<ValType> results, WasmFunctionHandle code) {
        functions.put(name, new HostFunction("lab", name, FunctionType.of(params, results), code));
    }

    HostFunction function(String name) {
        return functions.get(name);
    }

    private void reenter(long number) {
        Instance callee = session.registered.get("lab.callee");
        if (callee == null || Session.kind(callee, "reenter") != ExternalType.FUNCTION) {
            return;
        }
        if (depth >= REENTRIES) {
            throw new Session.Failed("exhausted", "call stack");
        }
        depth++;
        try {
            callee.export("reenter").apply(number);
        } finally {
            depth--;
        }
    }
}
