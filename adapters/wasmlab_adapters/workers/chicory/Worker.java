import com.google.gson.JsonArray;
import com.google.gson.JsonElement;
import com.google.gson.JsonObject;
import com.google.gson.JsonParser;
import com.google.gson.JsonPrimitive;
import java.io.BufferedOutputStream;
import java.io.BufferedReader;
import java.io.FileDescriptor;
import java.io.FileOutputStream;
import java.io.InputStreamReader;
import java.io.OutputStream;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.Base64;
import java.util.HashMap;
import java.util.List;
import java.util.Map;

/** The protocol (docs/protocol.md): lines in, lines out; what an engine prints goes to standard error. */
public final class Worker {
    private final Map<String, Session> sessions = new HashMap<>();
    private final Engine engine;
    private final OutputStream out;

    private Worker(Engine engine, OutputStream out) {
        this.engine = engine;
        this.out = out;
    }

    /** Arguments: features.tsv, the engine's name and version, then mode=interpreter or mode=compiler. */
    public static void main(String[] args) throws Exception {
        var out = new BufferedOutputStream(new FileOutputStream(FileDescriptor.out), 1 << 16);
        System.setOut(new PrintStream(new FileOutputStream(FileDescriptor.err), true));
        boolean compiled = false;
        for (var flag : List.of(args).subList(3, args.length)) {
            if (!flag.equals("mode=compiler") && !flag.equals("mode=interpreter")) {
                fail(flag + ": this worker has no such setting or value");
            }
            compiled = flag.equals("mode=compiler");
        }
        Engine engine = null;
        try {
            engine = new Engine(compiled);
        } catch (ClassNotFoundException | NoSuchMethodException error) {
            fail("mode=compiler: this release has no compiler, or not the one that is known");
        }
        var hello = new JsonObject();
        hello.addProperty("protocol", 1);
        hello.addProperty("engine", args[1]);
        hello.addProperty("version", args[2]);
        hello.addProperty("values", "bridge");
        hello.addProperty("linking", "names");
        hello.addProperty("tells_malformed", true);
        hello.add("features", features(engine, Files.readAllLines(Path.of(args[0]))));
        var worker = new Worker(engine, out);
        worker.say(hello);
        // Deep recursion is the engine's own: its stack is that of this thread.
        var thread = new Thread(null, worker::serve, "worker", 32L << 20);
        thread.start();
    }

    private static void fail(String why) {
        System.err.println(why);
        System.exit(1);
    }

    /** What the release supports, asked of itself: a row is a feature, what it builds on, and a module that needs it. */
    private static JsonArray features(Engine engine, List<String> rows) {
        var found = new JsonArray();
        for (var row : rows) {
            var parts = row.split("\t");
            boolean based = parts[1].isEmpty()
                || Arrays.stream(parts[1].split(",")).allMatch(name -> found.contains(new JsonPrimitive(name)));
            if (based && engine.takes(Base64.getDecoder().decode(parts[2])) && (!parts[0].equals("simd") || engine.runsVectors())) {
                found.add(parts[0]);
            }
        }
        return found;
    }

    private void serve() {
        try (var lines = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8), 1 << 20)) {
            for (String line = lines.readLine(); line != null; line = lines.readLine()) {
                answer(line);
                if (!lines.ready()) {
                    out.flush();
                }
            }
            out.flush();
            System.exit(0);
        } catch (Throwable error) {
            error.printStackTrace();
            System.exit(1);
        }
    }

    private void say(JsonObject message) throws Exception {
        hold(message);
        out.flush();
    }

    /** Say something, but not before the next mark, or before there is nothing more to read. */
    private void hold(JsonObject message) throws Exception {
        out.write((message + "\n").getBytes(StandardCharsets.UTF_8));
    }

    private void answer(String line) throws Exception {
        JsonElement id = null;
        JsonObject request;
        JsonArray steps;
        try {
            request = JsonParser.parseString(line).getAsJsonObject();
            if (request.has("id") && request.get("id").getAsJsonPrimitive().isNumber()) {
                id = request.get("id");
            }
            steps = request.getAsJsonArray("steps");
            for (var step : steps) {
                step.getAsJsonObject().get("do").getAsString();
            }
            id.getAsLong();
        } catch (RuntimeException error) {
            var message = new JsonObject();
            message.add("id", id);
            message.addProperty("error", "no request: " + error);
            hold(message);
            return;
        }
        var started = new JsonObject();
        started.add("started", id);
        say(started);
        var message = new JsonObject();
        message.add("id", id);
        run(request, steps, message);
        hold(message);
    }

    private void run(JsonObject request, JsonArray steps, JsonObject message) {
        String name = request.has("session") ? request.get("session").getAsString() : null;
        Session session = name == null ? null : sessions.remove(name);
        if (session == null) {
            session = new Session(engine);
        }
        session.trace = new JsonArray();
        boolean full = request.has("observe") && request.get("observe").getAsString().equals("full");
        boolean ended = name == null;
        var outcomes = new JsonArray();
        for (var step : steps) {
            outcomes.add(session.outcome(step.getAsJsonObject(), full));
            ended |= step.getAsJsonObject().get("do").getAsString().equals("end");
        }
        if (!ended) {
            sessions.put(name, session);
        }
        message.add("outcomes", outcomes);
        if (!session.trace.isEmpty()) {
            message.add("trace", session.trace);
        }
    }
}
