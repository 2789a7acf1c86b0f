// What a tiny module costs a JavaScript engine alone: as many as are asked for, each another one, compiled,
// instantiated, called once and dropped.  speed.py runs it in the worker's place.
"use strict";

const host = typeof Deno !== "undefined" ? Deno.args : typeof process !== "undefined" ? process.argv.slice(2)
  : typeof scriptArgs !== "undefined" ? scriptArgs : typeof scriptHost !== "undefined" ? scriptHost.args : globalThis.arguments;

// (module (global $g (mut i32) (i32.const 0)) (func (export "f") (global.set $g (i32.const n))))
const HEAD = [0, 97, 115, 109, 1, 0, 0, 0, 1, 4, 1, 96, 0, 0, 3, 2, 1, 0, 6, 6, 1, 127, 1, 65, 0, 11, 7, 5, 1, 1, 102, 0, 0];
const tiny = (n) => new Uint8Array(
  [...HEAD, 10, 12, 1, 10, 0, 65, n & 127 | 128, n >> 7 & 127 | 128, n >> 14 & 127 | 128, 128, 0, 36, 0, 11]);

for (let n = 0; n < Number(host[0]); n++) new WebAssembly.Instance(new WebAssembly.Module(tiny(n))).exports.f();
if (typeof scriptHost !== "undefined") scriptHost.next();  // GraalWasm's worker ends where there are no requests
