import java.io.BufferedOutputStream;
import java.io.BufferedReader;
import java.io.FileDescriptor;
import java.io.FileOutputStream;
import java.io.IOException;
import java.io.InputStreamReader;
import java.io.OutputStream;
import java.io.UncheckedIOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import org.graalvm.polyglot.Context;

import org.graalvm.polyglot.PolyglotAccess;
import org.graalvm.polyglot.Source;
import org.graalvm.polyglot.proxy.ProxyArray;
import org.graalvm.polyglot.proxy.ProxyExecutable;
import org.graalvm.polyglot.proxy.ProxyObject;

/** GraalWasm as a JavaScript host: its own interface has no functions of the host, that of GraalJS has all. */
public final class Worker {
    private static final BufferedReader IN =
        new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8), 1 << 20);
    private static boolean over; // there are no requests any more
    private static String retried; // the request that the next context begins with
    private static final OutputStream OUT = new BufferedOutputStream(new FileOutputStream(FileDescriptor.out), 1 << 16);

    /** Arguments: javascript.js, what it is called with, and options of engines, `--option=value`. */
    public static void main(String[] args) throws Exception {
        var context = Context.newBuilder("js", "wasm").allowExperimentalOptions(true).allowPolyglotAccess(PolyglotAccess.ALL)
            .out(System.err).option("engine.WarnInterpreterOnly", "false").option("js.webassembly", "true");
        for (var arg : args) {
            if (arg.startsWith("--")) {
                context.option(arg.substring(2, arg.indexOf('=')), arg.substring(arg.indexOf('=') + 1));
            }
        }
        var given = Arrays.stream(args).skip(1).filter(arg -> !arg.startsWith("--")).toArray();
        var thread = new Thread(null, () -> run(context, args[0], given), "worker", 64L << 20);
        thread.setUncaughtExceptionHandler((which, error) -> {
            // An internal error of the engine: where, and what; frames of the interpreter around it say nothing.
            var place = Arrays.stream(error.getStackTrace())
                .filter(frame -> frame.getClassName().startsWith("org.graalvm.wasm.")).findFirst()
                .map(frame -> frame.getFileName() + ":" + frame.getLineNumber()).orElse("?");
            System.err.println("panicked at " + place + ": " + error);
            System.exit(1);
        });
        thread.start();
    }

    /** Serve, in a context after the other where the script says that one can do no more. */
    private static void run(Context.Builder builder, String script, Object[] args) {
        for (var again = false; !over; again = true) {
            serve(builder, script, args, again);
        }
        System.exit(0);
    }

    private static void serve(Context.Builder builder, String script, Object[] args, boolean again) {
        Object repeated = again ? retried == null ? "" : retried : false;
        try (var context = builder.build()) {
            var host = context.getBindings("js");
            host.putMember("scriptHost", ProxyObject.fromMap(java.util.Map.of(
                "name", "GraalWasm", "args", ProxyArray.fromArray(args), "again", repeated,
                "retry", (ProxyExecutable) values -> retried = values[0].asString(),
                "text", (ProxyExecutable) values -> text(values[0].asString()),
                "next", (ProxyExecutable) values -> next(),
                "keep", (ProxyExecutable) values -> say(values[0].asString(), false),
                "say", (ProxyExecutable) values -> say(values[0].asString(), true))));
            context.eval(Source.newBuilder("js", text(script), "javascript.js").buildLiteral());
        }
    }

    private static String text(String path) {
        try {
            return Files.readString(Path.of(path));
        } catch (IOException error) {
            throw new UncheckedIOException(error);
        }
    }

    private static String next() {
        try {
            if (!IN.ready()) {
                OUT.flush();
            }
            String line = retried;
            retried = null;
            line = line == null ? IN.readLine() : line;
            over = line == null;
            return line;
        } catch (IOException error) {
            throw new UncheckedIOException(error);
        }
    }

    private static Object say(String line, boolean now) {
        try {
            OUT.write((line + "\n").getBytes(StandardCharsets.UTF_8));
            if (now) {
                OUT.flush();
            }
            return null;
        } catch (IOException error) {
            throw new UncheckedIOException(error);
        }
    }
}
