//! Which functions the running kernel has, and which of them are the ways into a system call.

use std::collections::HashSet;
use std::io;
use std::path::Path;

/// Names of the kernel's functions, from /proc/kallsyms (readable by everybody; only the addresses are hidden).
#[derive(Debug, Default)]
pub struct Symbols(HashSet<String>);

impl Symbols {
    /// Reads the list of `path`, in the format of /proc/kallsyms: address, type, name, and a module that we do not care for.
    pub fn read(path: &Path) -> io::Result<Self> {
        Ok(Self::parse(&std::fs::read_to_string(path)?))
    }

    /// From the text of such a list.
    pub fn parse(text: &str) -> Self {
        let functions = text.lines().filter_map(|line| {
            let mut words = line.split_ascii_whitespace();
            let (_, kind, name) = (words.next()?, words.next()?, words.next()?);
            matches!(kind, "t" | "T" | "w" | "W").then(|| name.to_owned())
        });
        Symbols(functions.collect())
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether the kernel has this very function.
    pub fn has(&self, function: &str) -> bool {
        self.0.contains(function)
    }

    /// `function` as the kernel has it: under its name, or as a copy that the compiler made of it.
    pub fn find(&self, function: &str) -> Option<String> {
        if self.has(function) {
            return Some(function.to_owned());
        }
        let clone = |name: &&String| {
            name.strip_prefix(function).is_some_and(|rest| {
                rest.starts_with(".isra.") || rest.starts_with(".constprop.") || rest.starts_with(".part.")
            })
        };
        self.0.iter().find(clone).cloned()
    }

    /// The functions that a system call enters through, on every ABI.
    ///
    /// Since 4.17 (fa697140f9a2) they take the caller's registers: `__x64_sys_read`, `__ia32_sys_read`, `__ia32_compat_sys_preadv`. Before,
    /// they take the arguments: `sys_read` and its alias `SyS_read`, of which one is enough, and `compat_sys_preadv`.
    pub fn of_system_call(&self, name: &str) -> Vec<String> {
        // 32-bit calls whose 64-bit arguments come in two halves are functions of x86's own.
        let wrapped = [
            format!("__x64_sys_{name}"),
            format!("__ia32_sys_{name}"),
            format!("__ia32_compat_sys_{name}"),
            format!("__ia32_sys_ia32_{name}"),
            format!("__ia32_compat_sys_x86_{}", name.trim_end_matches("64")),
        ];
        let found: Vec<String> = wrapped.into_iter().filter(|function| self.has(function)).collect();
        if !found.is_empty() {
            return found;
        }
        let first_of = |names: [String; 2]| names.into_iter().find(|function| self.has(function));
        let native = first_of([format!("sys_{name}"), format!("SyS_{name}")]);
        let compat = first_of([format!("compat_sys_{name}"), format!("compat_SyS_{name}")]);
        native.into_iter().chain(compat).collect()
    }
}

/// The system call that a kernel function is the way into, such as `unlinkat` of `__x64_sys_unlinkat`.
pub fn system_call_of(function: &str) -> Option<&str> {
    let (prefix, name) = function.split_once("sys_").or_else(|| function.split_once("SyS_"))?;
    let known = ["__x64_", "__ia32_", "__ia32_compat_", "", "compat_"];
    known.contains(&prefix).then(|| name.trim_start_matches("ia32_").trim_start_matches("x86_"))
}

/// Whether a system call's function takes the caller's registers (≥ 4.17) rather than the arguments.
pub fn takes_registers(function: &str) -> bool {
    function.starts_with("__")
}

#[cfg(test)]
mod tests {
    use super::*;

    const KALLSYMS: &str = "\
0000000000000000 T __x64_sys_read
0000000000000000 T __ia32_sys_read
0000000000000000 T __x64_sys_preadv
0000000000000000 T __ia32_compat_sys_preadv
0000000000000000 t release_task.isra.0
0000000000000000 d some_data
0000000000000000 t helper\t[module]
";

    #[test]
    fn functions_are_found_by_name_and_as_the_compilers_copies() {
        let symbols = Symbols::parse(KALLSYMS);
        assert!(symbols.has("helper") && !symbols.has("some_data"));
        assert_eq!(symbols.find("release_task").as_deref(), Some("release_task.isra.0"));
        assert_eq!(symbols.find("release"), None);
    }

    #[test]
    fn a_system_call_has_a_way_in_for_each_abi() {
        let symbols = Symbols::parse(KALLSYMS);
        assert_eq!(symbols.of_system_call("read"), ["__x64_sys_read", "__ia32_sys_read"]);
        assert_eq!(symbols.of_system_call("preadv"), ["__x64_sys_preadv", "__ia32_compat_sys_preadv"]);
        assert!(symbols.of_system_call("openat2").is_empty());
        let old = Symbols::parse("0 T sys_read\n0 T SyS_read\n0 T compat_SyS_preadv\n0 T SyS_preadv\n");
        assert_eq!(old.of_system_call("read"), ["sys_read"]);
        assert_eq!(old.of_system_call("preadv"), ["SyS_preadv", "compat_SyS_preadv"]);
    }

    #[test]
    fn a_function_tells_its_system_call() {
        assert_eq!(system_call_of("__x64_sys_unlinkat"), Some("unlinkat"));
        assert_eq!(system_call_of("__ia32_compat_sys_preadv"), Some("preadv"));
        assert_eq!(system_call_of("sys_unlinkat"), Some("unlinkat"));
        assert_eq!(system_call_of("do_sys_open"), None);
        assert!(takes_registers("__x64_sys_read") && !takes_registers("SyS_read"));
    }
}
