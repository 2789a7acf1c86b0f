// Binaryen's package, asked a line for a line by binaryen.py and binaryen_exec.py.
//
//     node binaryen.mjs library INDEX.JS LEVEL FEATURE...
//
// optimises modules: a line in is one in base64; the line out is "=" and what became of it, or "!" and why it was
// refused.
//
//     node binaryen.mjs program PROGRAM ARGUMENT...
//
// runs a program of the package, once for each empty line; the line out is JSON: its status, and what it said on its
// standard output and error.  It has a new memory each time, but is compiled once.
//
// Whatever else goes wrong ends the process: the state of what was running is not to be trusted after that.
import fs from "node:fs";
import { createRequire } from "node:module";
import vm from "node:vm";

let words = [];

/** End as a program in C++ does: with last words, and by a signal. */
function die(error) {
  fs.writeSync(2, [...words, error?.stack ?? error, ""].join("\n"));
  process.kill(process.pid, "SIGABRT");
}

/** What a module is refused for. */
class Refused extends Error {}

async function library(index, level, ...features) {
  // [optimisation, shrinking]: what wasm-opt's options mean.
  const LEVELS = { O0: [0, 0], O1: [1, 0], O2: [2, 0], O3: [3, 0], O4: [4, 0], Os: [2, 1], Oz: [2, 2] };
  if (!(level in LEVELS)) throw new Error(`no level ${level}: ${Object.keys(LEVELS).join(", ")}`);
  console.error = console.warn = (...said) => words.push(said.join(" "));  // before the library takes them for its own
  const { default: binaryen } = await import(index);
  binaryen.setOptimizeLevel(LEVELS[level][0]);
  binaryen.setShrinkLevel(LEVELS[level][1]);
  const enabled = features.reduce((all, name) => all | (binaryen.Features[name] ?? 0), 0);

  /** A module of the library's, read with all features: its own readBinary() knows only those of the first version. */
  function read(bytes) {
    const at = binaryen._malloc(bytes.length + 1);
    binaryen.stringToAscii(bytes.toString("latin1"), at);  // the only way in that the library has for bytes
    try {
      return binaryen.wrapModule(binaryen._BinaryenModuleReadWithFeatures(at, bytes.length, enabled));
    } catch (error) {
      if (error instanceof Error) throw error;  // an abort; what C++ throws is none
      throw new Refused((words[0] ?? binaryen.getExceptionMessage(error)[1]).replace(/.*Fatal: /, ""));
    } finally {
      binaryen._free(at);
    }
  }

  function optimised(bytes) {
    const module = read(bytes);
    try {
      module.setFeatures(enabled);
      if (!module.validate()) throw new Refused(words.join("\n").replace(/^[^]*?(?=\[wasm-validator)/, ""));
      module.optimize();
      return module.emitBinary();
    } finally {
      module.dispose();
    }
  }

  return (line) => {
    words = [];
    try {
      return "=" + Buffer.from(optimised(Buffer.from(line, "base64"))).toString("base64");
    } catch (error) {
      if (error instanceof Refused) return "!" + error.message.replace(/\s+/g, " ").slice(0, 300);
      throw error instanceof Error ? error : binaryen.getExceptionMessage(error).join(": ");
    }
  };
}

function program(file, ...args) {
  const source = fs.readFileSync(file, "utf8").replace(/^#!.*/, "");
  const names = ["Module", "process", "require", "WebAssembly", "__filename", "__dirname"];
  const start = vm.compileFunction(source, names, { filename: file });
  const require = createRequire(file);
  let said, status, compiled;
  const files = {  // the program's own: what it prints is kept
    ...fs,
    writeSync(to, data, at, length, position) {
      if (to !== 1 && to !== 2) return fs.writeSync(to, data, at, length, position);
      said[to] += Buffer.from(data.buffer, data.byteOffset + at, length).toString("latin1");
      return length;
    },
  };
  const host = Object.create(process, {
    argv: { value: [process.execPath, file, ...args] },
    exitCode: { set: (code) => { status = code; } },
    on: { value() {} },
  });
  const engine = Object.create(WebAssembly, {
    instantiate: {
      async value(bytes, imports) {
        compiled ??= await WebAssembly.compile(bytes);
        return { module: compiled, instance: new WebAssembly.Instance(compiled, imports) };
      },
    },
  });
  process.on("unhandledRejection", die);  // of the program, which nobody waits for
  return () =>
    new Promise((resolve) => {
      [said, status] = [{ 1: "", 2: "" }, 0];
      const module = { postRun: [() => resolve(JSON.stringify({ status, out: said[1], err: said[2] }))] };
      if (compiled) {  // its bytes need not be found again
        module.instantiateWasm = (imports, done) => {
          done(new WebAssembly.Instance(compiled, imports), compiled);
        };
      }
      start(module, host, (name) => (/^(node:)?fs$/.test(name) ? files : require(name)), engine, file, "");
    });
}

const [what, ...args] = process.argv.slice(2);
let answer;
try {
  answer = await { library, program }[what](...args);
} catch (error) {
  fs.writeSync(2, error.message + "\n");
  process.exit(1);
}
const chunk = Buffer.alloc(1 << 20);
let parts = [];
fs.writeSync(1, "ready\n");
for (let size; (size = fs.readSync(0, chunk)); ) {
  const [first, ...lines] = chunk.latin1Slice(0, size).split("\n");
  parts.push(first);
  for (const line of lines) {
    try {
      const out = Buffer.from((await answer(parts.join(""))) + "\n");
      for (let at = 0; at < out.length; ) at += fs.writeSync(1, out, at);
    } catch (error) {
      die(error);
    }
    parts = [line];
  }
}
