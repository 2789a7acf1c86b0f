//! Wasmer, with Cranelift or Singlepass.

use std::num::NonZero;

use wasmer::sys::{Cranelift, EngineBuilder, Features, Singlepass, Target};
use wasmer::{
    AsStoreRef, CompileError, Extern, ExternRef, Function, FunctionEnv, FunctionEnvMut, FunctionType, Instance,
    InstantiationError, LinkError, Module, RuntimeError, Store, Type, Value, WasmError,
};

use crate::engine::{Engine, Failure, Flags, HOST_DEPTH, HOST_TRAP, Import, Provider, log, reenter};

pub struct Chosen {
    engine: wasmer::Engine,
}

/// A store, whom `lab.reenter` calls, and the functions of `lab`, which are made when they are asked for first.
pub struct Own {
    store: Store,
    callee: FunctionEnv<Callee>,
    lab: Vec<(String, Function)>,
}

#[derive(Default)]
struct Callee(Option<Instance>);

impl Engine for Chosen {
    const NAME: &'static str = "wasmer";
    type Module = Module;
    type Store = Own;
    type Instance = Instance;
    type Function = Function;

    fn new(flags: &Flags) -> Result<Self, String> {
        let one = NonZero::<usize>::MIN;
        let builder = if flags.choose("compiler", &[("cranelift", true), ("singlepass", false)])? {
            let mut compiler = Cranelift::new();
            compiler.num_threads(one);
            EngineBuilder::new(compiler).set_features(Some(features(true)))
        } else {
            let mut compiler = Singlepass::new();
            compiler.num_threads(one);
            EngineBuilder::new(compiler).set_features(Some(features(false)))
        };
        let engine = builder.set_target(Some(Target::default())).engine();
        Ok(Self { engine: engine.into() })
    }

    fn compile(&self, bytes: &[u8]) -> Result<Module, Failure> {
        Module::from_binary(&self.engine, bytes).map_err(|error| match error {
            CompileError::Wasm(WasmError::Unsupported(_) | WasmError::ImplLimitExceeded) => Failure::unsupported(error),
            CompileError::Wasm(_) | CompileError::Validate(_) => Failure::new("invalid", error),
            _ => Failure::unsupported(error),
        })
    }

    fn store(&self) -> Own {
        let mut store = Store::new(self.engine.clone());
        let callee = FunctionEnv::new(&mut store, Callee::default());
        Own { store, callee, lab: Vec::new() }
    }

    fn instantiate(
        &self,
        own: &mut Own,
        module: &Module,
        imports: &[Import<Instance>],
        _: Option<u64>,
    ) -> Result<Instance, Failure> {
        let mut externs = Vec::with_capacity(imports.len());
        for import in imports {
            let found = match import.provider {
                Provider::Lab => own.lab(import.name).map(Extern::from),
                Provider::Instance(instance) => instance.exports.get_extern(import.name).cloned(),
                Provider::Nobody => None,
            };
            let unknown = || Failure::new("unlinkable", format!("unknown import {}.{}", import.module, import.name));
            externs.push(found.ok_or_else(unknown)?);
        }
        Instance::new_by_index(&mut own.store, module, &externs).map_err(|error| match error {
            InstantiationError::Start(error) | InstantiationError::Link(LinkError::Trap(error)) => ended(error),
            InstantiationError::Link(LinkError::Import(..)) => Failure::new("unlinkable", error),
            InstantiationError::Link(LinkError::Resource(_)) => Failure::new("exhausted", format!("memory: {error}")),
            _ => Failure::unsupported(error),
        })
    }

    fn function(&self, _: &mut Own, of: &Instance, name: &str) -> Option<Function> {
        of.exports.get_function(name).ok().cloned()
    }

    fn call(&self, own: &mut Own, function: &Function, _: Option<u64>) -> Result<(), Failure> {
        function.call(&mut own.store, &[]).map(drop).map_err(ended)
    }

    fn memory<R>(&self, own: &mut Own, of: &Instance, name: &str, act: impl FnOnce(&mut [u8]) -> R) -> Option<R> {
        let view = of.exports.get_memory(name).ok()?.view(&own.store);
        // SAFETY: nothing else runs in the store meanwhile.
        Some(act(unsafe { view.data_unchecked_mut() }))
    }

    fn set_callee(&self, own: &mut Own, callee: &Instance) {
        own.callee.as_mut(&mut own.store).0 = Some(callee.clone());
    }
}

/// What the compilers have.  Some that is asked for beyond that ends the process, as does for Singlepass a module that
/// imports a function with several results.
fn features(cranelift: bool) -> Features {
    let mut features = Features::new();
    features.reference_types(true).bulk_memory(true).extended_const(true).multi_memory(true).threads(false);
    features.multi_value(cranelift).simd(cranelift).relaxed_simd(cranelift).exceptions(cranelift);
    features.wide_arithmetic(cranelift);
    features
}

/// How a call, or an instantiation, ended.
fn ended(error: RuntimeError) -> Failure {
    if error.is_exception() {
        return Failure::new("threw", "");
    }
    let words = error.message();
    match error.to_trap().map(|code| format!("{code:?}")) {
        Some(code) if code == "StackOverflow" => Failure::new("exhausted", "call stack"),
        Some(code) => Failure::new("trapped", code),
        None if words == HOST_TRAP => Failure::new("trapped", "host"),
        None if words == HOST_DEPTH => Failure::new("exhausted", "call stack"),
        None => Failure::unsupported(words),
    }
}

impl Own {
    /// A function of the module `lab`.
    fn lab(&mut self, name: &str) -> Option<Function> {
        if let Some((_, found)) = self.lab.iter().find(|(known, _)| known == name) {
            return Some(found.clone());
        }
        let store = &mut self.store;
        let function = match name {
            "log" => Function::new_typed(store, |i: i32, l: i64| log(i, l)),
            "trap" => Function::new_typed(store, || -> Result<(), RuntimeError> { Err(RuntimeError::new(HOST_TRAP)) }),
            "reenter" => Function::new_typed_with_env(store, &self.callee, enter_again),
            "extern" => {
                let signature = FunctionType::new([Type::I32], [Type::ExternRef]);
                Function::new_with_env(store, &self.callee, signature, |mut env, values| {
                    let number = values[0].unwrap_i32();
                    Ok(vec![Value::ExternRef(Some(ExternRef::new(&mut env, number)))])
                })
            }
            "number" => {
                let signature = FunctionType::new([Type::ExternRef], [Type::I32]);
                Function::new_with_env(store, &self.callee, signature, |env, values| {
                    let Value::ExternRef(reference) = &values[0] else { return Ok(vec![Value::I32(-1)]) };
                    let number = reference.as_ref().and_then(|found| found.downcast(&env.as_store_ref()).copied());
                    Ok(vec![Value::I32(number.unwrap_or(-1))])
                })
            }
            _ => return None,
        };
        self.lab.push((name.to_string(), function.clone()));
        Some(function)
    }
}

fn enter_again(mut env: FunctionEnvMut<Callee>, number: i32) -> Result<(), RuntimeError> {
    let callee = env.data().0.clone();
    let Some(function) = callee.and_then(|callee| callee.exports.get_function("reenter").ok().cloned()) else {
        return Ok(());
    };
    reenter(|| function.call(&mut env, &[Value::I32(number)]).map(drop))
        .unwrap_or_else(|| Err(RuntimeError::new(HOST_DEPTH)))
}
