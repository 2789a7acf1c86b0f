//! What an engine is to the worker, and what all of them do alike behind the module `lab`.

use std::cell::RefCell;
use std::collections::HashMap;

/// How deep `lab.reenter` may be entered.
pub const MAX_DEPTH: u32 = 50;

/// An outcome other than "returned", by the protocol's names.
#[derive(Debug, Clone)]
pub struct Failure {
    pub kind: &'static str,
    pub detail: String,
}

impl Failure {
    pub fn new(kind: &'static str, detail: impl ToString) -> Self {
        Self { kind, detail: detail.to_string() }
    }

    pub fn unsupported(detail: impl ToString) -> Self {
        Self::new("unsupported", detail)
    }
}

/// Who offers what a module imports.
pub enum Provider<'a, I> {
    Lab,
    Instance(&'a I),
    Nobody,
}

/// One import, in the order of the module's import section.
pub struct Import<'a, I> {
    /// The name of the module that is asked for; "of" for what a bridge imports.
    pub module: &'a str,
    pub name: &'a str,
    pub provider: Provider<'a, I>,
}

/// An engine in one configuration.
pub trait Engine: Sized {
    const NAME: &'static str;
    /// It finds imports by their names, not by position.
    const BY_NAME: bool = false;
    type Module: Clone;
    type Store;
    type Instance: Clone;
    type Function;

    fn new(flags: &Flags) -> Result<Self, String>;
    /// A failure is "malformed" or "invalid".
    fn compile(&self, bytes: &[u8]) -> Result<Self::Module, Failure>;
    /// Whether it takes a module, which shows a feature.
    fn supports(&self, bytes: &[u8]) -> bool {
        self.compile(bytes).is_ok()
    }
    fn store(&self) -> Self::Store;
    fn instantiate(
        &self,
        store: &mut Self::Store,
        module: &Self::Module,
        imports: &[Import<Self::Instance>],
        fuel: Option<u64>,
    ) -> Result<Self::Instance, Failure>;
    /// The exported function of that name, None where there is none.
    fn function(&self, store: &mut Self::Store, of: &Self::Instance, name: &str) -> Option<Self::Function>;
    /// Call a function () -> ().
    fn call(&self, store: &mut Self::Store, function: &Self::Function, fuel: Option<u64>) -> Result<(), Failure>;
    /// The bytes of the exported memory of that name, for as long as `act` runs; None where there is none.
    fn memory<R>(
        &self,
        store: &mut Self::Store,
        of: &Self::Instance,
        name: &str,
        act: impl FnOnce(&mut [u8]) -> R,
    ) -> Option<R>;
    /// Whose function `lab.reenter` calls.
    fn set_callee(&self, store: &mut Self::Store, callee: &Self::Instance);
}

/// The flags of the command line, `key=value` each.
pub struct Flags(HashMap<String, String>);

impl Flags {
    pub fn new(arguments: impl Iterator<Item = String>) -> Result<Self, String> {
        let pairs = arguments.map(|argument| match argument.split_once('=') {
            Some((key, value)) => Ok((key.to_string(), value.to_string())),
            None => Err(format!("{argument:?} is no flag=value")),
        });
        Ok(Self(pairs.collect::<Result<_, _>>()?))
    }

    /// What a flag chooses among: the first where it is not given.
    pub fn choose<T: Copy>(&self, key: &str, choices: &[(&str, T)]) -> Result<T, String> {
        let Some(given) = self.0.get(key) else { return Ok(choices[0].1) };
        let found = choices.iter().find(|(name, _)| name == given);
        found.map(|(_, choice)| *choice).ok_or_else(|| {
            let names: Vec<&str> = choices.iter().map(|(name, _)| *name).collect();
            format!("{key}={given}: expected {}", names.join(" or "))
        })
    }
}

/// What the functions of `lab` leave behind.
#[derive(Default)]
pub struct Lab {
    pub trace: Vec<String>,
    /// How deep `lab.reenter` is entered now.
    pub depth: u32,
}

thread_local! {
    pub static LAB: RefCell<Lab> = RefCell::default();
}

/// Why a function of `lab` ended the call.
pub const HOST_TRAP: &str = "lab.trap";
pub const HOST_DEPTH: &str = "lab.reenter: too deep";

pub fn log(i: i32, l: i64) {
    LAB.with_borrow_mut(|lab| lab.trace.push(format!("{:x},{:x}", i as u32, l as u64)));
}

/// Do `call` one deeper; None where that is too deep.
pub fn reenter<R>(call: impl FnOnce() -> R) -> Option<R> {
    let entered = LAB.with_borrow_mut(|lab| {
        let room = lab.depth < MAX_DEPTH;
        lab.depth += u32::from(room);
        room
    });
    entered.then(|| {
        let result = call();
        LAB.with_borrow_mut(|lab| lab.depth -= 1);
        result
    })
}
