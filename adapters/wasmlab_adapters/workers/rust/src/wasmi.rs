//! wasmi.

use wasmi::errors::{ErrorKind, InstantiationError};
use wasmi::{
    AsContextMut, Caller, CompilationMode, Config, Error, Extern, ExternRef, Func, Instance, Module, Nullable, Store,
    StoreLimits, StoreLimitsBuilder, TrapCode, Val,
};

use crate::engine::{Engine, Failure, Flags, HOST_DEPTH, HOST_TRAP, Import, Provider, log, reenter};

pub struct Chosen {
    engine: wasmi::Engine,
    fuel: bool,
}

/// A store and the functions of `lab` in it.
pub struct Own {
    store: Store<Data>,
    lab: Vec<(&'static str, Func)>,
}

struct Data {
    callee: Option<Instance>,
    limits: StoreLimits,
}

/// Elements of a table, and bytes of a memory: wasmi has no limits of its own, and tries to get gigabytes.
const TABLE: usize = 10_000_000;
const MEMORY: usize = 1 << 31;

impl Engine for Chosen {
    const NAME: &'static str = "wasmi";
    const BY_NAME: bool = true;
    type Module = Module;
    type Store = Own;
    type Instance = Instance;
    type Function = Func;

    fn new(flags: &Flags) -> Result<Self, String> {
        let modes = [("eager", CompilationMode::Eager), ("lazy", CompilationMode::LazyTranslation)];
        let fuel = flags.choose("fuel", &[("false", false), ("true", true)])?;
        let mut config = Config::default();
        config.compilation_mode(flags.choose("mode", &modes)?).consume_fuel(fuel);
        config.wasm_multi_memory(true).wasm_memory64(true).wasm_simd(true).wasm_relaxed_simd(true);
        config.wasm_tail_call(true).wasm_extended_const(true);
        config.wasm_custom_page_sizes(true).wasm_wide_arithmetic(true);
        Ok(Self { engine: wasmi::Engine::new(&config), fuel })
    }

    fn compile(&self, bytes: &[u8]) -> Result<Module, Failure> {
        Module::new(&self.engine, bytes).map_err(|error| match error.kind() {
            ErrorKind::ImplementationLimits(_) | ErrorKind::UserLimits(_) => Failure::unsupported(error),
            _ => Failure::new("invalid", error),
        })
    }

    fn store(&self) -> Own {
        let limits = StoreLimitsBuilder::new().table_elements(TABLE).memory_size(MEMORY).build();
        let mut store = Store::new(&self.engine, Data { callee: None, limits });
        store.limiter(|data| &mut data.limits);
        let lab = lab(&mut store);
        Own { store, lab }
    }

    fn instantiate(
        &self,
        own: &mut Own,
        module: &Module,
        imports: &[Import<Instance>],
        fuel: Option<u64>,
    ) -> Result<Instance, Failure> {
        let mut externs = Vec::with_capacity(imports.len());
        for wanted in module.imports() {
            // by kinds, not in the order of the section
            let (from, name) = (wanted.module(), wanted.name());
            let import = imports.iter().find(|import| import.module == from && import.name == name);
            let found = match import.map(|import| &import.provider) {
                Some(Provider::Lab) => own.lab.iter().find(|(known, _)| *known == name).map(|(_, f)| Extern::from(*f)),
                Some(Provider::Instance(instance)) => instance.get_export(&own.store, name),
                Some(Provider::Nobody) | None => None,
            };
            externs.push(found.ok_or_else(|| Failure::new("unlinkable", format!("unknown import {from}.{name}")))?);
        }
        self.refuel(own, fuel)?;
        Instance::new(&mut own.store, module, &externs).map_err(ended)
    }

    fn function(&self, own: &mut Own, of: &Instance, name: &str) -> Option<Func> {
        of.get_func(&own.store, name)
    }

    fn call(&self, own: &mut Own, function: &Func, fuel: Option<u64>) -> Result<(), Failure> {
        self.refuel(own, fuel)?;
        function.call(&mut own.store, &[], &mut []).map_err(ended)
    }

    fn memory<R>(&self, own: &mut Own, of: &Instance, name: &str, act: impl FnOnce(&mut [u8]) -> R) -> Option<R> {
        let memory = of.get_memory(&own.store, name)?;
        Some(act(memory.data_mut(&mut own.store)))
    }

    fn set_callee(&self, own: &mut Own, callee: &Instance) {
        own.store.data_mut().callee = Some(*callee);
    }
}

impl Chosen {
    fn refuel(&self, own: &mut Own, fuel: Option<u64>) -> Result<(), Failure> {
        if !self.fuel {
            return Ok(());
        }
        own.store.set_fuel(fuel.unwrap_or(u64::MAX)).map_err(Failure::unsupported)
    }
}

/// How a call, or an instantiation, ended.
fn ended(error: Error) -> Failure {
    match error.as_trap_code() {
        Some(TrapCode::StackOverflow) => return Failure::new("exhausted", "call stack"),
        Some(TrapCode::OutOfFuel) => return Failure::new("exhausted", "fuel"),
        Some(TrapCode::OutOfSystemMemory | TrapCode::GrowthOperationLimited) => {
            return Failure::new("exhausted", "memory");
        }
        Some(code) => return Failure::new("trapped", format!("{code:?}")),
        None => {}
    }
    match error.kind() {
        ErrorKind::Message(words) if **words == *HOST_TRAP => Failure::new("trapped", "host"),
        ErrorKind::Message(words) if **words == *HOST_DEPTH => Failure::new("exhausted", "call stack"),
        ErrorKind::Instantiation(InstantiationError::ElementSegmentDoesNotFit { .. }) => {
            Failure::new("trapped", "TableOutOfBounds")
        }
        ErrorKind::Instantiation(
            InstantiationError::FailedToInstantiateMemory(_) | InstantiationError::FailedToInstantiateTable(_),
        ) => Failure::new("exhausted", format!("memory: {error}")),
        ErrorKind::Instantiation(_) | ErrorKind::Linker(_) => Failure::new("unlinkable", error),
        ErrorKind::Memory(_) | ErrorKind::Table(_) => Failure::new("exhausted", format!("memory: {error}")),
        _ => Failure::unsupported(error),
    }
}

/// The functions of the module `lab`.
fn lab(store: &mut Store<Data>) -> Vec<(&'static str, Func)> {
    let mut store = store.as_context_mut();
    vec![
        ("log", Func::wrap(&mut store, |i: i32, l: i64| log(i, l))),
        ("trap", Func::wrap(&mut store, || -> Result<(), Error> { Err(Error::new(HOST_TRAP)) })),
        (
            "reenter",
            Func::wrap(&mut store, |mut caller: Caller<Data>, i: i32| {
                let callee = caller.data().callee;
                let Some(function) = callee.and_then(|callee| callee.get_func(&caller, "reenter")) else {
                    return Ok(());
                };
                reenter(|| function.call(&mut caller, &[Val::I32(i)], &mut []))
                    .unwrap_or_else(|| Err(Error::new(HOST_DEPTH)))
            }),
        ),
        (
            "extern",
            Func::wrap(&mut store, |mut caller: Caller<Data>, i: i32| Nullable::Val(ExternRef::new(&mut caller, i))),
        ),
        (
            "number",
            Func::wrap(&mut store, |caller: Caller<Data>, reference: Nullable<ExternRef>| {
                reference.val().and_then(|found| found.data(&caller).downcast_ref::<i32>().copied()).unwrap_or(-1)
            }),
        ),
    ]
}
