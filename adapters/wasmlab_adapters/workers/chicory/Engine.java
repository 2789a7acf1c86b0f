import @group@.runtime.ImportValues;
import @group@.runtime.Instance;
import @group@.runtime.Machine;
import @group@.wasm.Parser;
import @group@.wasm.WasmModule;
import java.lang.reflect.InvocationTargetException;
import java.lang.reflect.Method;
import java.util.HexFormat;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.function.Function;

/** How modules come to life: by the interpreter, or compiled to bytecode of the JVM. */
final class Engine {
    private static final int BRIDGES = 64;

    private final Function<Instance, Machine> compiler; // null: the interpreter
    private final Map<String, WasmModule> bridges = new LinkedHashMap<>() {
        @Override
        protected boolean removeEldestEntry(Map.Entry<String, WasmModule> eldest) {
            return size() > BRIDGES;
        }
    };

    Engine(boolean compiled) throws ReflectiveOperationException {
        compiler = compiled ? compiler() : null;
    }

    /** By reflection: not every release has it. */
    private static Function<Instance, Machine> compiler() throws ReflectiveOperationException {
        Method compile = Class.forName("@group@.compiler.MachineFactoryCompiler").getMethod("compile", Instance.class);
        return instance -> {
            try {
                return (Machine) compile.invoke(null, instance);
            } catch (InvocationTargetException error) {
                throw error.getCause() instanceof RuntimeException cause ? cause : new IllegalStateException(error.getCause());
            } catch (IllegalAccessException error) {
                throw new IllegalStateException(error);
            }
        };
    }

    WasmModule bridge(String base64) {
        return bridges.computeIfAbsent(base64, text -> Parser.parse(java.util.Base64.getDecoder().decode(text)));
    }

    Instance instantiate(WasmModule module, ImportValues imports) {
        var builder = Instance.builder(module).withImportValues(imports);
        if (compiler != null) {
            builder = builder.withMachineFactory(compiler);
        }
        return builder.build();
    }

    /** Does it run vector instructions?  The interpreter of older releases validates them, and leaves them to a part. */
    boolean runsVectors() {
        byte[] load = HexFormat.of().parseHex(
            "0061736d010000000104016000000302010005030100010705010166" + "00000a0b010900" + "4100fd0004001a0b");
        try {
            instantiate(Parser.parse(load), ImportValues.empty()).export("f").apply();
            return true;
        } catch (Throwable error) {
            return false;
        }
    }

    /** Is it valid here?  Validation is part of instantiation, which then fails for the imports, if there are any. */
    boolean takes(byte[] bytes) {
        try {
            instantiate(Parser.parse(bytes), ImportValues.empty());
            return true;
        } catch (RuntimeException error) {
            return error.getClass().getSimpleName().equals("UnlinkableException");
        } catch (Throwable error) {
            return false;
        }
    }
}
