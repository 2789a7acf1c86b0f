//! A worker for engines in Rust, as docs/protocol.md has it.  Values pass by the bridge: here are modules, functions
//! () -> () and bytes of memories.
//!
//!     worker features.tsv version [flag=value ...]
//!
//! An engine is a module that implements `engine::Engine`, and a feature of the crate, of which one is built at a time.

mod engine;
mod session;

#[cfg_attr(feature = "sf-nano-core", path = "silverfir.rs")]
#[cfg_attr(feature = "wasmer", path = "wasmer.rs")]
#[cfg_attr(feature = "wasmi", path = "wasmi.rs")]
mod chosen;

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufRead, Write};
use std::os::fd::FromRawFd;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use chosen::Chosen;
use engine::{Engine, Flags, LAB};
use session::{Outcome, Session, Shared, Step};

/// Of the thread that does everything: validators and compilers recurse.
const STACK: usize = 256 << 20;

#[derive(Deserialize)]
struct Request<'a> {
    id: Option<i64>,
    #[serde(borrow)]
    steps: Option<Vec<Step<'a>>>,
    session: Option<String>,
    observe: Option<String>,
    fuel: Option<u64>,
}

#[derive(Serialize)]
struct Answer {
    id: Option<i64>,
    outcomes: Vec<Outcome>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    trace: Vec<String>,
}

fn main() {
    let answers = own_output().expect("a descriptor for answers");
    let work = std::thread::Builder::new().stack_size(STACK).spawn(move || serve(answers)).expect("a thread");
    std::process::exit(match work.join() {
        Ok(Ok(())) => 0,
        Ok(Err(error)) => {
            eprintln!("{error}");
            1
        }
        Err(_) => 101, // a panic, which has been told
    });
}

/// Standard output, for answers alone: what else is printed goes to standard error.
fn own_output() -> io::Result<File> {
    // SAFETY: the new descriptor is nobody else's.
    unsafe {
        let own = libc::fcntl(1, libc::F_DUPFD_CLOEXEC, 3);
        if own < 0 || libc::dup2(2, 1) < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(File::from_raw_fd(own))
    }
}

fn serve(answers: File) -> io::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let (Some(rows), Some(version)) = (arguments.next(), arguments.next()) else {
        return Err(io::Error::other("usage: worker features.tsv version [flag=value ...]"));
    };
    let flags = Flags::new(arguments).map_err(io::Error::other)?;
    let engine = Chosen::new(&flags).map_err(io::Error::other)?;
    let mut worker = Worker { shared: Shared::new(engine), sessions: HashMap::new(), answers, held: Vec::new() };
    let mut hello = json!({
        "protocol": 1, "engine": Chosen::NAME, "version": version, "values": "bridge",
        "features": supported(&worker.shared.engine, &std::fs::read_to_string(rows)?),
    });
    if Chosen::BY_NAME {
        hello["linking"] = json!("names");
    }
    worker.say(&hello)?;
    let mut input = io::BufReader::with_capacity(1 << 20, io::stdin());
    let mut line = Vec::new();
    while input.read_until(b'\n', &mut line)? > 0 {
        worker.answer(&line)?;
        line.clear();
        if !input.buffer().contains(&b'\n') {
            worker.flush()?;
        }
    }
    Ok(())
}

/// Asks the engine itself: a row of features.tsv is a feature, what it builds on, and a module that needs it.
fn supported<'a>(engine: &Chosen, rows: &'a str) -> Vec<&'a str> {
    let mut features = Vec::new();
    for row in rows.lines() {
        let mut parts = row.split('\t');
        let (Some(name), Some(needs), Some(module)) = (parts.next(), parts.next(), parts.next()) else { continue };
        let bytes = STANDARD.decode(module).unwrap_or_default();
        if needs.split(',').all(|need| need.is_empty() || features.contains(&need)) && engine.supports(&bytes) {
            features.push(name);
        }
    }
    features
}

struct Worker {
    shared: Shared<Chosen>,
    sessions: HashMap<String, Session<Chosen>>,
    answers: File,
    held: Vec<u8>,
}

impl Worker {
    fn say(&mut self, message: &Value) -> io::Result<()> {
        self.hold(message)?;
        self.flush()
    }

    /// Say something, but not before the next mark, or before there is nothing more to read.
    fn hold(&mut self, message: &impl Serialize) -> io::Result<()> {
        serde_json::to_writer(&mut self.held, message)?;
        self.held.push(b'\n');
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.answers.write_all(&self.held)?;
        self.held.clear();
        Ok(())
    }

    fn answer(&mut self, line: &[u8]) -> io::Result<()> {
        let request = match serde_json::from_slice::<Request>(line) {
            Ok(request) if request.id.is_some() && request.steps.is_some() => request,
            parsed => {
                let why = parsed.err().map_or("id and steps are needed".to_string(), |error| error.to_string());
                let any: Value = serde_json::from_slice(line).unwrap_or_default();
                let id = any.get("id").and_then(Value::as_i64);
                return self.hold(&json!({"id": id, "error": format!("no request: {why}")}));
            }
        };
        self.say(&json!({"started": request.id}))?;
        let steps = request.steps.unwrap_or_default();
        let kept = request.session.as_ref().and_then(|name| self.sessions.remove(name));
        let mut session = kept.unwrap_or_else(|| Session::new(&self.shared));
        let full = request.observe.as_deref() == Some("full");
        let outcomes = steps.iter().map(|step| session.outcome(&mut self.shared, step, full, request.fuel)).collect();
        let trace = LAB.with_borrow_mut(|lab| std::mem::take(&mut lab.trace));
        if let Some(name) = request.session
            && steps.iter().all(|step| step.action != "end")
        {
            self.sessions.insert(name, session);
        }
        self.hold(&Answer { id: request.id, outcomes, trace })
    }
}
