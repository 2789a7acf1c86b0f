// Binaryen's library, which optimises one module after the other, for binaryen.py.
//
//     node binaryen.mjs INDEX.JS LEVEL FEATURE...
//
// A line in is a module in base64; the line out is "=" and what became of it, or "!" and why it was refused.  Whatever
// else goes wrong ends the process: the library's state is not to be trusted after that.
import fs from "node:fs";

const [index, level, ...features] = process.argv.slice(2);
let words = [];
console.error = console.warn = (...said) => words.push(said.join(" "));  // before the library takes them for its own
const {default: binaryen} = await import(index);

// [optimisation, shrinking]: what wasm-opt's options mean.
const LEVELS = {O0: [0, 0], O1: [1, 0], O2: [2, 0], O3: [3, 0], O4: [4, 0], Os: [2, 1], Oz: [2, 2]};
if (!(level in LEVELS)) throw new Error(`no level ${level}: ${Object.keys(LEVELS).join(", ")}`);
const [optimise, shrink] = LEVELS[level];
binaryen.setOptimizeLevel(optimise);
binaryen.setShrinkLevel(shrink);
const enabled = features.reduce((all, name) => all | (binaryen.Features[name] ?? 0), 0);

/** What a module is refused for. */
class Refused extends Error {}

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

function answer(line) {
  words = [];
  try {
    return "=" + Buffer.from(optimised(Buffer.from(line, "base64"))).toString("base64");
  } catch (error) {
    if (error instanceof Refused) return "!" + error.message.replace(/\s+/g, " ").slice(0, 300);
    fs.writeSync(2, [...words, error.stack ?? binaryen.getExceptionMessage(error).join(": "), ""].join("\n"));
    process.kill(process.pid, "SIGABRT");
    throw error;
  }
}

fs.writeSync(1, "ready\n");
const chunk = Buffer.alloc(1 << 20);
let parts = [];
for (let size; (size = fs.readSync(0, chunk)); ) {
  const [first, ...lines] = chunk.latin1Slice(0, size).split("\n");
  parts.push(first);
  for (const line of lines) {
    const out = Buffer.from(answer(parts.join("")) + "\n");
    for (let at = 0; at < out.length; ) at += fs.writeSync(1, out, at);
    parts = [line];
  }
}
