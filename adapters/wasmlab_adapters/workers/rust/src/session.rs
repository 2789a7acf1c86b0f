//! A store with its instances, and the steps of requests.

use std::borrow::Cow;
use std::collections::{HashMap, VecDeque};
use std::rc::Rc;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::engine::{Engine, Failure, Import, Provider};

const BLOCK: usize = 4096;
/// How many modules stay compiled: cases come in families that have the same ones.
const MODULES: usize = 32;
const BRIDGES: usize = 256;
const LONGEST_DETAIL: usize = 2000;

/// What a request asks; keys that it does not have are empty.
#[derive(Deserialize)]
#[serde(default)]
#[derive(Default)]
pub struct Step<'a> {
    #[serde(borrow, rename = "do")]
    pub action: Cow<'a, str>,
    #[serde(borrow)]
    name: Cow<'a, str>,
    #[serde(borrow)]
    module: Cow<'a, str>,
    imports: Vec<(Option<Cow<'a, str>>, Cow<'a, str>)>,
    of: Option<Cow<'a, str>>,
    #[serde(borrow, rename = "as")]
    alias: Cow<'a, str>,
    #[serde(borrow)]
    export: Cow<'a, str>,
    repeat: Option<u64>,
    at: u64,
    #[serde(borrow)]
    hex: Cow<'a, str>,
    bytes: Option<u64>,
}

/// How a step ended, as it is told.
#[derive(Serialize)]
pub struct Outcome {
    kind: &'static str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    values: Vec<String>,
    #[serde(skip_serializing_if = "String::is_empty")]
    detail: String,
}

/// The engine, and what all sessions share.
pub struct Shared<E: Engine> {
    pub engine: E,
    modules: Cache<E::Module>,
    bridges: Cache<E::Module>,
}

impl<E: Engine> Shared<E> {
    pub fn new(engine: E) -> Self {
        Self { engine, modules: Cache::new(MODULES), bridges: Cache::new(BRIDGES) }
    }

    fn compiled(&mut self, step: &Step) -> Result<E::Module, Failure> {
        let cache = if step.of.is_some() { &mut self.bridges } else { &mut self.modules };
        if let Some(found) = cache.found.get(&*step.module) {
            return Ok(found.clone());
        }
        let bytes = STANDARD.decode(&*step.module).map_err(|error| Failure::unsupported(format!("base64: {error}")))?;
        let module = self.engine.compile(&bytes)?;
        cache.keep(&step.module, module.clone());
        Ok(module)
    }
}

/// The last modules that were compiled, by their text in base64.
struct Cache<M> {
    size: usize,
    found: HashMap<Rc<str>, M>,
    order: VecDeque<Rc<str>>,
}

impl<M> Cache<M> {
    fn new(size: usize) -> Self {
        Self { size, found: HashMap::new(), order: VecDeque::new() }
    }

    fn keep(&mut self, text: &str, module: M) {
        if self.order.len() >= self.size
            && let Some(oldest) = self.order.pop_front()
        {
            self.found.remove(&oldest);
        }
        let key: Rc<str> = text.into();
        self.order.push_back(Rc::clone(&key));
        self.found.insert(key, module);
    }
}

pub struct Session<E: Engine> {
    store: E::Store,
    instances: HashMap<String, E::Instance>,
    registered: HashMap<String, E::Instance>,
}

impl<E: Engine> Session<E> {
    pub fn new(shared: &Shared<E>) -> Self {
        Self { store: shared.engine.store(), instances: HashMap::new(), registered: HashMap::new() }
    }

    /// Do a step; what came of it.
    pub fn outcome(&mut self, shared: &mut Shared<E>, step: &Step, full: bool, fuel: Option<u64>) -> Outcome {
        match self.run(shared, step, full, fuel) {
            Ok(values) => Outcome { kind: "returned", values, detail: String::new() },
            Err(Failure { kind, detail }) => {
                Outcome { kind, values: Vec::new(), detail: detail.chars().take(LONGEST_DETAIL).collect() }
            }
        }
    }

    fn run(
        &mut self,
        shared: &mut Shared<E>,
        step: &Step,
        full: bool,
        fuel: Option<u64>,
    ) -> Result<Vec<String>, Failure> {
        match &*step.action {
            "instantiate" => {
                let module = shared.compiled(step)?;
                self.instantiate(&shared.engine, step, &module, fuel)?;
            }
            "register" => {
                let instance = self.instance(&step.name)?;
                if step.alias == "lab.callee" {
                    shared.engine.set_callee(&mut self.store, &instance);
                }
                self.registered.insert(step.alias.to_string(), instance);
            }
            "call" => self.call(&shared.engine, step, fuel)?,
            "write" => self.write(&shared.engine, step)?,
            "read" => return self.read(&shared.engine, step, full),
            "end" => {}
            other => return Err(Failure::unsupported(format!("no step {other}"))),
        }
        Ok(Vec::new())
    }

    fn instance(&self, name: &str) -> Result<E::Instance, Failure> {
        self.instances.get(name).cloned().ok_or_else(|| Failure::unsupported(format!("no instance {name}")))
    }

    fn instantiate(&mut self, engine: &E, step: &Step, module: &E::Module, fuel: Option<u64>) -> Result<(), Failure> {
        let of = step.of.as_ref().map(|name| self.instance(name)).transpose()?;
        let provider = |module: Option<&str>| match module {
            Some("lab") => Some(Provider::Lab),
            Some(name) => self.registered.get(name).map(Provider::Instance),
            None => of.as_ref().map(Provider::Instance),
        };
        let imports: Vec<_> = (step.imports.iter())
            .map(|(module, name)| Import {
                module: module.as_deref().unwrap_or("of"),
                name,
                provider: provider(module.as_deref()).unwrap_or(Provider::Nobody),
            })
            .collect();
        let instance = engine.instantiate(&mut self.store, module, &imports, fuel)?;
        self.instances.insert(step.name.to_string(), instance);
        Ok(())
    }

    /// Call as often as the step says; the last call counts, but a trap or exhaustion ends them.
    fn call(&mut self, engine: &E, step: &Step, fuel: Option<u64>) -> Result<(), Failure> {
        let instance = self.instance(&step.name)?;
        let function = engine
            .function(&mut self.store, &instance, &step.export)
            .ok_or_else(|| Failure::unsupported(format!("no function {}", step.export)))?;
        let mut last = Ok(());
        for _ in 0..step.repeat.unwrap_or(1) {
            last = engine.call(&mut self.store, &function, fuel);
            if last.as_ref().is_err_and(|failure| failure.kind != "threw") {
                break;
            }
        }
        last
    }

    fn memory<R>(
        &mut self,
        engine: &E,
        step: &Step,
        act: impl FnOnce(&mut [u8]) -> Result<R, Failure>,
    ) -> Result<R, Failure> {
        let instance = self.instance(&step.name)?;
        engine
            .memory(&mut self.store, &instance, &step.export, act)
            .unwrap_or_else(|| Err(Failure::unsupported(format!("no memory {}", step.export))))
    }

    fn write(&mut self, engine: &E, step: &Step) -> Result<(), Failure> {
        let data = unhex(&step.hex).ok_or_else(|| Failure::unsupported("no bytes in hex"))?;
        self.memory(engine, step, |memory| {
            part(memory, step.at, data.len() as u64)?.copy_from_slice(&data);
            Ok(())
        })
    }

    fn read(&mut self, engine: &E, step: &Step, full: bool) -> Result<Vec<String>, Failure> {
        self.memory(engine, step, |memory| {
            if let Some(bytes) = step.bytes {
                return Ok(vec![format!("bytes:{}", hex(part(memory, step.at, bytes)?))]);
            }
            let content = if full { format!("bytes:{}", hex(memory)) } else { format!("digest:{}", digest(memory)) };
            Ok(vec![format!("i64:{:x}", memory.len()), content])
        })
    }
}

fn part(memory: &mut [u8], at: u64, bytes: u64) -> Result<&mut [u8], Failure> {
    let size = memory.len();
    let beyond = || Failure::unsupported(format!("{bytes} bytes at {at} of a memory of {size}"));
    let end = at.checked_add(bytes).filter(|end| *end <= size as u64).ok_or_else(beyond)?;
    Ok(&mut memory[at as usize..end as usize])
}

/// That of the blocks which are not all zeros.
fn digest(memory: &[u8]) -> String {
    let mut total = Sha256::new();
    for (number, block) in memory.chunks(BLOCK).enumerate() {
        if block != &[0; BLOCK][..block.len()] {
            total.update((number as u64).to_le_bytes());
            total.update(block);
        }
    }
    hex(&total.finalize())[..16].to_string()
}

fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digits = bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]).map(|digit| DIGITS[digit as usize] as char);
    digits.collect()
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let pairs = text.as_bytes().chunks(2);
    pairs.map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok().filter(|p| p.len() == 2)?, 16).ok()).collect()
}
