"""wasmlab: differential testing and conformance of WebAssembly engines."""

__version__ = "0.1.0"
