//! Compiles the modules' C programs, once for each kind of kernel and way of counting, and writes the table's header for them.
//!
//! In: `<module>/module.toml`, `<module>/<module>.bpf.c`, `common/`. Out: eBPF objects and `objects.rs`, a list of them.

use std::collections::BTreeMap;
use std::env;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde::Deserialize;

const MODULES: &[&str] = &["process", "network_viewer"];

/// Kinds of kernels; `common/bpf.h` says which. BTF needs `-g`, compare-and-swap needs instruction set v3.
const FLAVOURS: &[(&str, &[&str])] = &[
    ("rows", &["-mcpu=v3", "-g", "-DFLAVOUR_ROWS=1", "-DFLAVOUR_HASH=0", "-DFLAVOUR_LEGACY=0"]),
    ("hash", &["-mcpu=v2", "-g", "-DFLAVOUR_ROWS=0", "-DFLAVOUR_HASH=1", "-DFLAVOUR_LEGACY=0"]),
    ("legacy", &["-mcpu=v2", "-DFLAVOUR_ROWS=0", "-DFLAVOUR_HASH=0", "-DFLAVOUR_LEGACY=1"]),
];

/// Most ways into the kernel that one system call has on any kernel (workers/src/loader/symbols.rs, `of_system_call`).
const FUNCTIONS_PER_SYSTEM_CALL: usize = 4;

#[derive(Deserialize)]
struct Table {
    event: Vec<Event>,
}

#[derive(Deserialize)]
struct Event {
    name: String,
    #[serde(default)]
    system_calls: Vec<String>,
    #[serde(default)]
    counter: Vec<Counter>,
}

#[derive(Deserialize)]
struct Counter {
    name: String,
}

#[derive(Deserialize)]
struct Numbers {
    x86_64: u32,
    i386: u32,
}

fn main() -> Result<()> {
    let out = PathBuf::from(env::var("OUT_DIR").context("cargo sets OUT_DIR")?);
    println!("cargo::rerun-if-changed=common");
    let numbers: BTreeMap<String, Numbers> = parse(Path::new("common/system_calls.toml"))?;
    let mut list = String::from("pub(crate) static OBJECTS: &[Object] = &[\n");
    for module in MODULES {
        println!("cargo::rerun-if-changed={module}");
        let table: Table = parse(&Path::new(module).join("module.toml"))?;
        fs::write(out.join(format!("{module}_table.h")), header(module, &table, &numbers)?)?;
        for (flavour, flags) in FLAVOURS {
            for apps in [false, true] {
                for returns in [false, true] {
                    let object = compile(module, flavour, flags, apps, returns, &out)?;
                    writeln!(
                        list,
                        "    Object {{ module: {module:?}, flavour: Flavour::{}, apps: {apps}, returns: {returns}, \
                         bytes: include_object!({object:?}) }},",
                        capitalised(flavour),
                    )?;
                }
            }
        }
    }
    list.push_str("];\n");
    fs::write(out.join("objects.rs"), list).context("cannot write the list of objects")
}

fn parse<T: for<'de> Deserialize<'de>>(path: &Path) -> Result<T> {
    let text = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    toml::from_str(&text).with_context(|| format!("cannot understand {}", path.display()))
}

/// The C side of the table: slots, events, and which system call is which event.
fn header(module: &str, table: &Table, numbers: &BTreeMap<String, Numbers>) -> Result<String> {
    let mut text = format!("/* Made from {module}/module.toml by build.rs. */\n#pragma once\n");
    let counters: Vec<&str> =
        table.event.iter().flat_map(|event| &event.counter).map(|counter| counter.name.as_str()).collect();
    writeln!(text, "#define COUNTERS {}", counters.len())?;
    writeln!(text, "enum {{ {} }};", join(&counters, |name| format!("SLOT_{name}")))?;
    writeln!(
        text,
        "enum {{ EVENT_none, {} }};",
        join(&table.event, |event| format!("EVENT_{}", event.name))
    )?;
    for abi in ["x86_64", "i386"] {
        let mut cases = String::new();
        for event in table.event.iter().filter(|event| !event.system_calls.is_empty()) {
            for call in &event.system_calls {
                let Some(known) = numbers.get(call) else {
                    bail!(
                        "{module}/module.toml names the system call `{call}`, whose numbers common/system_calls.toml lacks"
                    );
                };
                let number = if abi == "x86_64" { known.x86_64 } else { known.i386 };
                write!(cases, " X({number}, EVENT_{})", event.name)?;
            }
        }
        writeln!(text, "#define FOR_EACH_CALL_OF_{abi}(X){cases}")?;
    }
    for (call, number) in numbers {
        writeln!(text, "enum {{ NR_x86_64_{call} = {}, NR_i386_{call} = {} }};", number.x86_64, number.i386)?;
    }
    for event in &table.event {
        let copies = event.system_calls.len() * FUNCTIONS_PER_SYSTEM_CALL;
        let uses: String = (0..copies).map(|n| format!(" X({}, {n})", event.name)).collect();
        writeln!(text, "#define FOR_EACH_{}(X){uses}", event.name.to_uppercase())?;
    }
    Ok(text)
}

fn join<T>(items: &[T], each: impl Fn(&T) -> String) -> String {
    items.iter().map(each).collect::<Vec<_>>().join(", ")
}

fn compile(
    module: &str,
    flavour: &str,
    flags: &[&str],
    apps: bool,
    returns: bool,
    out: &Path,
) -> Result<PathBuf> {
    let source = format!("{module}/{module}.bpf.c");
    let object = out.join(format!("{module}-{flavour}-{}-{}.o", tag(apps, "apps"), tag(returns, "return")));
    let mut clang = Command::new("clang");
    clang
        .args(["-target", "bpf", "-O2", "-std=gnu11", "-Wall", "-Wextra", "-Werror", "-Wno-unused-function"])
        .args([
            "-Wno-unused-parameter",
            "-Wno-unused-const-variable",
            "-Wno-sign-compare",
            "-fno-jump-tables",
        ])
        .args(["-ffreestanding", "-nostdinc"])
        .args(flags)
        .arg(format!("-DAPPS={}", u8::from(apps)))
        .arg(format!("-DRETURN={}", u8::from(returns)))
        .arg("-I")
        .arg(out)
        .args(["-c", &source, "-o"])
        .arg(&object);
    run(&mut clang, "clang")?;
    // Keeps BTF, drops DWARF, which only makes the worker larger.
    run(Command::new("llvm-strip").arg("--strip-debug").arg(&object), "llvm")?;
    Ok(object)
}

fn tag(on: bool, name: &str) -> String {
    if on { name.to_owned() } else { format!("no{name}") }
}

fn capitalised(name: &str) -> String {
    name[..1].to_uppercase() + &name[1..]
}

fn run(command: &mut Command, package: &str) -> Result<()> {
    let status = command.status().with_context(|| {
        format!("cannot run {:?}; install the package `{package}`", command.get_program())
    })?;
    if !status.success() {
        bail!("{command:?} failed: {status}");
    }
    Ok(())
}
