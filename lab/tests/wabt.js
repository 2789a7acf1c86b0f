// WABT's validator, out of its package in JavaScript: a worker that takes modules, and runs none, for zoo_check.py.
//
//     node wabt.js PACKAGE features.tsv VERSION
//
// Whether a module is valid shows in how its instantiation ends; where that could end in another way even so, because
// something is imported, written or run, it is unsupported, as all else is.
"use strict";
const fs = require("fs"), path = require("path");

const [folder, rows, version] = process.argv.slice(2);
const FEATURES = [
  "mutable_globals", "sat_float_to_int", "sign_extension", "simd", "threads", "multi_value", "tail_call", "bulk_memory",
  "reference_types", "memory64", "multi_memory", "extended_const", "relaxed_simd",
];
const ENABLED = Object.fromEntries(FEATURES.map((name) => [name, true]));
const LIVE = new Set([2, 8, 9, 11]); // sections of imports, the start function, elements, data

const decoded = (text) => new Uint8Array(Buffer.from(text, "base64")); // not a part of another buffer: that whole is read

const say = (message) => {
  let data = Buffer.from(JSON.stringify(message) + "\n");
  while (data.length) data = data.subarray(fs.writeSync(1, data));
};

function* lines() {
  const input = Buffer.alloc(1 << 16);
  let rest = [];
  for (let count; (count = fs.readSync(0, input)); ) {
    let from = 0;
    for (let end; (end = input.subarray(0, count).indexOf(10, from)) >= 0; from = end + 1) {
      yield Buffer.concat([...rest, input.subarray(from, end)]).toString();
      rest = [];
    }
    rest.push(Buffer.from(input.subarray(from, count)));
  }
}

function hasLiveSection(bytes) {
  for (let at = 8; at < bytes.length; ) {
    if (LIVE.has(bytes[at++])) return true;
    let size = 0, shift = 0, byte;
    do {
      byte = bytes[at++];
      size += (byte & 127) * 2 ** shift;
      shift += 7;
    } while (byte & 128);
    at += size;
  }
  return false;
}

function serve(wabt) {
  // Why a module is refused; nothing where it is valid.
  const refused = (bytes) => {
    let module;
    try {
      module = wabt.readWasm(bytes, { readDebugNames: false, ...ENABLED });
      module.validate(ENABLED);
    } catch (error) {
      return String(error.message || error).slice(0, 1000);
    } finally {
      module?.destroy();
    }
  };
  const unsupported = (detail) => ({ kind: "unsupported", detail });
  const outcome = (step, known) => {
    if (step.do === "end") return { kind: "returned" };
    if (step.do === "instantiate") {
      const bytes = decoded(step.module), why = refused(bytes);
      if (why !== undefined) return { kind: "invalid", detail: why };
      if (hasLiveSection(bytes)) return unsupported("valid; nothing is instantiated here");
      known.add(step.name);
      return { kind: "returned" };
    }
    if (!known.has(step.name)) return unsupported(`no instance ${step.name}`);
    return step.do === "register" ? { kind: "returned" } : unsupported("nothing runs here");
  };
  const answer = (line, sessions) => {
    let request = {};
    try {
      request = Object(JSON.parse(line));
    } catch (error) {
      return say({ id: null, error: String(error) });
    }
    const { id, session, steps } = request;
    if (!Number.isInteger(id) || !Array.isArray(steps)) return say({ id: id ?? null, error: "id and steps are needed" });
    say({ started: id });
    const known = sessions.get(session) || new Set();
    say({ id, outcomes: steps.map((step) => outcome(step, known)) });
    if (session === undefined) return;
    if (steps.some((step) => step.do === "end")) sessions.delete(session);
    else sessions.set(session, known);
  };

  const features = [];
  for (const row of fs.readFileSync(rows, "utf8").trim().split("\n")) {
    const [name, needs, module] = row.split("\t");
    const ready = needs.split(",").every((need) => !need || features.includes(need));
    if (ready && refused(decoded(module)) === undefined) features.push(name);
  }
  say({ protocol: 1, engine: "wabt", version, values: "native", spectest: true, features });
  const sessions = new Map();
  for (const line of lines()) answer(line, sessions);
  process.exit(0);
}

const loaded = require(path.join(folder, "index.js"));
const ready = typeof loaded === "function" ? loaded() : loaded;
ready.ready ? ready.ready.then(() => serve(ready)) : Promise.resolve(ready).then((wabt) => serve(wabt));
