//! Silverfir-nano: its JIT, or its interpreter.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;

use sf_nano_core::value_type::{RefType, ValueType};
use sf_nano_core::{
    Config, Extern, FunctionType, InstanceId, Module, RefValue, RuntimeWorld, Tier, Value, WasmError, WorldAccess,
};

use crate::engine::{Engine, Failure, Flags, HOST_DEPTH, HOST_TRAP, Import, Provider, log, reenter};

/// Bytes from which an allocation is a mapping.
const MAPPED: libc::c_int = 1 << 18;
/// Bytes at the end of the heap that are free and stay there.
const KEPT: libc::c_int = 1 << 26;

pub struct Chosen {
    engine: sf_nano_core::Engine,
}

/// A module that has been validated: an instantiation uses one up.
pub struct Validated {
    bytes: Vec<u8>,
    parsed: RefCell<Option<Module>>,
}

pub struct Own {
    world: RuntimeWorld,
    /// The instance of GATE that `lab.reenter` goes through.
    callee: Rc<Cell<Option<InstanceId>>>,
    lab: Vec<sf_nano_core::Import>,
    /// Instances of WINDOW, by whose memory they have.
    windows: Vec<(InstanceId, String, InstanceId)>,
}

pub type Function = (InstanceId, sf_nano_core::Func);

/// A module that has another one's memory, called "x", as its first, which is the only one that can be seen from
/// outside; addressed by i32 and by i64.
const WINDOW: [&[u8]; 2] =
    [b"\0asm\x01\0\0\0\x02\x08\x01\x01m\x01x\x02\0\0", b"\0asm\x01\0\0\0\x02\x08\x01\x01m\x01x\x02\x04\0"];
/// A module whose function 1 calls another one's, called "x": functions are called from host functions by their
/// indices, which are not told.
const GATE: &[u8] = b"\0asm\x01\0\0\0\x01\x05\x01\x60\x01\x7f\0\x02\x07\x01\x01m\x01x\0\0\x03\x02\x01\0\
    \x07\x05\x01\x01f\0\x01\x0a\x08\x01\x06\0\x20\0\x10\0\x0b";

impl Engine for Chosen {
    const NAME: &'static str = "silverfir";
    const BY_NAME: bool = true;
    type Module = Rc<Validated>;
    type Store = Own;
    type Instance = InstanceId;
    type Function = Function;

    fn new(flags: &Flags) -> Result<Self, String> {
        // The interpreter gives each instance that is called two megabytes of stack, all zeros.  Out of a mapping of their
        // own they cost what is touched; once the first was freed, malloc would have them in its heap, and clear them.
        // What is smaller, such as memories, stays in the heap, whose pages are not given back after each.
        // SAFETY: no other thread allocates yet.
        unsafe {
            libc::mallopt(libc::M_MMAP_THRESHOLD, MAPPED);
            libc::mallopt(libc::M_TRIM_THRESHOLD, KEPT);
        }
        let tier = flags.choose("tier", &[("jit", Tier::Jit), ("interpreter", Tier::Interp)])?;
        let config = Config::new().tier(tier).parallel_compilation(false);
        Ok(Self { engine: sf_nano_core::Engine::new(config).map_err(|error| error.to_string())? })
    }

    fn compile(&self, bytes: &[u8]) -> Result<Rc<Validated>, Failure> {
        let module = Module::new("", bytes).map_err(|error| Failure::new("invalid", error.message()))?;
        Ok(Rc::new(Validated { bytes: bytes.to_vec(), parsed: RefCell::new(Some(module)) }))
    }

    /// The interpreter refuses only when it instantiates.
    fn supports(&self, bytes: &[u8]) -> bool {
        let outcome = self.compile(bytes).and_then(|module| self.instantiate(&mut self.store(), &module, &[], None));
        outcome.err().is_none_or(|failure| failure.kind == "unlinkable")
    }

    fn store(&self) -> Own {
        let world = RuntimeWorld::new();
        let callee = Rc::default();
        let lab = lab(world.handle(), Rc::clone(&callee), self.engine.tier());
        Own { world, callee, lab, windows: Vec::new() }
    }

    fn instantiate(
        &self,
        own: &mut Own,
        module: &Rc<Validated>,
        imports: &[Import<InstanceId>],
        _: Option<u64>,
    ) -> Result<InstanceId, Failure> {
        let mut bound = Vec::with_capacity(imports.len());
        for import in imports {
            bound.extend(match import.provider {
                Provider::Lab => {
                    let found = own.lab.iter().find(|function| function.name() == import.name);
                    found.map(|function| function.alias(import.module, import.name))
                }
                Provider::Instance(instance) => own
                    .export(*instance, import.name)
                    .map(|found| sf_nano_core::Import::new(import.module, import.name, found)),
                Provider::Nobody => None,
            });
        }
        own.instantiate(&self.engine, module.take()?, &bound)
    }

    fn function(&self, own: &mut Own, of: &InstanceId, name: &str) -> Option<Function> {
        Some((*of, own.world.instance(*of)?.get_func(name)?))
    }

    fn call(&self, own: &mut Own, (instance, function): &Function, _: Option<u64>) -> Result<(), Failure> {
        let instance = own.world.instance_mut(*instance).ok_or_else(|| Failure::unsupported("no instance"))?;
        instance.call(function, &[], &mut []).map_err(failure)
    }

    fn memory<R>(&self, own: &mut Own, of: &InstanceId, name: &str, act: impl FnOnce(&mut [u8]) -> R) -> Option<R> {
        let window = own.window(&self.engine, *of, name)?;
        let mut view = own.world.instance_mut(window)?.memory_mut().ok()?;
        Some(act(&mut view))
    }

    fn set_callee(&self, own: &mut Own, callee: &InstanceId) {
        let gate = own.around(&self.engine, GATE, *callee, "reenter");
        own.callee.set(gate);
    }
}

impl Validated {
    fn take(&self) -> Result<Module, Failure> {
        match self.parsed.take() {
            Some(module) => Ok(module),
            // SAFETY: these bytes were validated when they were compiled.
            None => unsafe { Module::new_unchecked("", &self.bytes) }.map_err(failure),
        }
    }
}

impl Own {
    fn export(&self, of: InstanceId, name: &str) -> Option<Extern> {
        self.world.instance(of)?.get_export(name).ok()?
    }

    fn instantiate(
        &mut self,
        engine: &sf_nano_core::Engine,
        module: Module,
        imports: &[sf_nano_core::Import],
    ) -> Result<InstanceId, Failure> {
        self.world.instantiate(engine, module, imports).map_err(|error| failure(error.into_parts().1))
    }

    /// An instance of WINDOW or GATE around what an instance exports.
    fn around(
        &mut self,
        engine: &sf_nano_core::Engine,
        module: &[u8],
        of: InstanceId,
        name: &str,
    ) -> Option<InstanceId> {
        let import = sf_nano_core::Import::new("m", "x", self.export(of, name)?);
        self.instantiate(engine, Module::new("", module).ok()?, &[import]).ok()
    }

    fn window(&mut self, engine: &sf_nano_core::Engine, of: InstanceId, name: &str) -> Option<InstanceId> {
        if let Some((.., found)) = self.windows.iter().find(|(whose, known, _)| *whose == of && known == name) {
            return Some(*found);
        }
        let made = WINDOW.iter().find_map(|module| self.around(engine, module, of, name))?;
        self.windows.push((of, name.to_string(), made));
        Some(made)
    }
}

/// How a call, or what else was asked for, ended.
fn failure(error: WasmError) -> Failure {
    let words = error.message();
    match error.class() {
        "exception" => Failure::new("threw", ""),
        "trap" if words == HOST_TRAP => Failure::new("trapped", "host"),
        "trap" if words == NO_THROW || words == "interp: host dispatcher is already active" => {
            Failure::unsupported(words)
        }
        "trap" if words == HOST_DEPTH || words == "call stack exhausted" => Failure::new("exhausted", "call stack"),
        "exhaustion" => Failure::new("exhausted", words),
        "trap" => Failure::new("trapped", words),
        // So it calls a segment that does not fit.
        "unlinkable" if words.starts_with("out of bounds") || words == "offset is negative" => {
            Failure::new("trapped", words)
        }
        "unlinkable" if words == "unknown table" => Failure::new("invalid", words), // of a segment
        // The module was validated before: these are the compiler's, or the interpreter's, own.
        "malformed" | "invalid" => Failure::unsupported(words),
        "unlinkable" => Failure::new("unlinkable", words),
        class => Failure::unsupported(format!("{class}: {words}")),
    }
}

const NO_THROW: &str = "an exception cannot pass through a host function";

/// The functions of the module `lab`.
fn lab(world: WorldAccess, callee: Rc<Cell<Option<InstanceId>>>, tier: Tier) -> Vec<sf_nano_core::Import> {
    use ValueType::{I32, I64};
    let labels = Rc::new(RefCell::new(Labels::default()));
    let numbers = Rc::clone(&labels);
    let function = |name, params: &[ValueType], results: &[ValueType], code: Code| {
        let signature = FunctionType::new(params.to_vec(), results.to_vec());
        sf_nano_core::Import::func_typed("lab", name, move |_, values, results| code(values, results), signature)
    };
    let enter_again: Code = Box::new(move |values, _| {
        let Some(gate) = callee.get() else { return Ok(()) };
        let called = reenter(|| world.invoke(gate, 1, values)).unwrap_or_else(|| Err(WasmError::trap(HOST_DEPTH)));
        called.map(drop).map_err(|error| match tier {
            Tier::Jit if error.is_exception() => WasmError::trap(NO_THROW),
            _ => error,
        })
    });
    let log_values: Code = Box::new(|values, _| {
        if let [Value::I32(i), Value::I64(l)] = values {
            log(*i, *l);
        }
        Ok(())
    });
    let label: Code = Box::new(move |values, results| {
        if let [Value::I32(number)] = values {
            let label = labels.borrow_mut().of(*number);
            results[0] = Value::Ref(RefValue::externref(label), RefType::externref());
        }
        Ok(())
    });
    let number: Code = Box::new(move |values, results| {
        let label = if let [Value::Ref(found, _)] = values { found.host_id() } else { None };
        results[0] = Value::I32(label.and_then(|label| numbers.borrow().numbers.get(label).copied()).unwrap_or(-1));
        Ok(())
    });
    let externref = ValueType::externref();
    vec![
        function("log", &[I32, I64], &[], log_values),
        function("trap", &[], &[], Box::new(|_, _| Err(WasmError::trap(HOST_TRAP)))),
        function("reenter", &[I32], &[], enter_again),
        function("extern", &[I32], &[externref], label),
        function("number", &[externref], &[I32], number),
    ]
}

type Code = Box<dyn Fn(&[Value], &mut [Value]) -> Result<(), WasmError>>;

/// The engine's references of the host are labels of 27 bits; those of the lab are numbers of 32.
#[derive(Default)]
struct Labels {
    numbers: Vec<i32>,
    labels: HashMap<i32, usize>,
}

impl Labels {
    fn of(&mut self, number: i32) -> usize {
        *self.labels.entry(number).or_insert_with(|| {
            self.numbers.push(number);
            self.numbers.len() - 1
        })
    }
}
