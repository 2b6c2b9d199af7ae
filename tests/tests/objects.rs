//! "Shows" 3: the objects without BTF hold nothing that kernels 4.14 to 5.1 refuse; and the typed programs read the
//! kernel by types alone, so that they load under `lockdown=confidentiality`.
//!
//! Such kernels are not at hand, so the objects' bytes are looked at instead. What 4.14 has: `include/uapi/linux/bpf.h`
//! and `kernel/bpf/verifier.c` of v4.14.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use object::{Object, ObjectSection, ObjectSymbol, SymbolKind};
use probe_objects::Flavour;

const MODULES: &[&str] = shared::table::MODULES;

/// BPF_MAXINSNS of 4.14.
const INSTRUCTIONS_MAX: usize = 4096;
/// Helpers that the objects without BTF may call: map lookup, update and delete, probe_read, get_smp_processor_id,
/// get_current_pid_tgid, get_current_comm, get_current_task. All in 4.14, for every kind of tracing program.
const HELPERS_OF_4_14: [i32; 8] = [1, 2, 3, 4, 8, 14, 16, 35];
/// probe_read and its kin: 4, 45 (str), 112 to 115 (user and kernel, plain and str).
const PROBE_READS: [i32; 6] = [4, 45, 112, 113, 114, 115];
/// BPF_MAP_TYPE_HASH, BPF_MAP_TYPE_ARRAY, and BPF_MAP_TYPE_LRU_HASH (4.10).
const MAP_TYPES: [u32; 3] = [1, 2, 9];
/// `struct bpf_map_def` of the legacy map section: type, sizes of key and value, entries, flags.
const MAP_DEFINITION_BYTES: usize = 20;
/// Section of the plain tracepoint programs, which read the memory of callers, such as the arguments of clone3. Lockdown
/// takes them away, and nothing else hangs on them.
const MAY_PROBE_READ: &str = "tracepoint";
/// And the typed programs that read a datagram's sender, which has no type; nothing hangs on them, either.
const READS_ADDRESSES: &str = "function_udp_source_";

/// One instruction of 8 bytes: `include/uapi/linux/bpf.h`, `struct bpf_insn`.
#[derive(Clone, Copy, Debug)]
struct Instruction {
    code: u8,
    source: u8,
    offset: i16,
    immediate: i32,
}

impl Instruction {
    /// The 64-bit constant takes two places; its second half is no instruction.
    fn slots(self) -> usize {
        if self.code == LOAD_64 { 2 } else { 1 }
    }
}

const LOAD_64: u8 = 0x18;
const JUMP: u8 = 0x05;
const CALL: u8 = 0x85;
const EXIT: u8 = 0x95;

fn decode(bytes: &[u8]) -> Vec<Instruction> {
    let words = bytes.as_chunks::<8>().0.iter();
    let decoded = words.map(|b| Instruction {
        code: b[0],
        source: b[1] >> 4,
        offset: i16::from_le_bytes([b[2], b[3]]),
        immediate: i32::from_le_bytes([b[4], b[5], b[6], b[7]]),
    });
    decoded.collect()
}

/// What 4.14 refuses in a program; one sentence each.
fn faults_for_4_14(program: &[Instruction]) -> Vec<String> {
    let mut faults = Vec::new();
    if program.len() > INSTRUCTIONS_MAX {
        faults.push(format!("{} instructions, at most {INSTRUCTIONS_MAX}", program.len()));
    }
    let mut at = 0;
    while let Some(&instruction) = program.get(at) {
        if let Some(fault) = instruction_fault(instruction) {
            faults.push(format!("instruction {at}: {fault}"));
        }
        at += instruction.slots();
    }
    faults.extend(flow_fault(program));
    faults
}

/// `check_cfg` of 4.14: no way leads back to where it came from, out of the program, or nowhere to an instruction.
///
/// A jump to a lower address alone is fine: clang lays shared ends of branches out that way.
fn flow_fault(program: &[Instruction]) -> Option<String> {
    #[derive(Clone, Copy, PartialEq)]
    enum Seen {
        Never,
        OnTheWay,
        Done,
    }
    let mut seen = vec![Seen::Never; program.len()];
    let mut way = vec![(0, successors(program, 0))];
    while let Some((at, next)) = way.last_mut() {
        if program.get(*at).is_none() {
            return Some(format!("a way out of the program, to {at}"));
        }
        seen[*at] = Seen::OnTheWay;
        match next.pop() {
            Some(to) if seen.get(to) == Some(&Seen::OnTheWay) => {
                return Some(format!("loop from {at} to {to}"));
            }
            Some(to) if seen.get(to) == Some(&Seen::Done) => {}
            Some(to) => way.push((to, successors(program, to))),
            None => {
                seen[*at] = Seen::Done;
                way.pop();
            }
        }
    }
    let mut at = 0;
    while let Some(instruction) = program.get(at) {
        if seen[at] == Seen::Never {
            return Some(format!("no way leads to {at}"));
        }
        at += instruction.slots();
    }
    None
}

/// Where the program may go on after the instruction at `at`.
fn successors(program: &[Instruction], at: usize) -> Vec<usize> {
    let Some(instruction) = program.get(at) else {
        return Vec::new();
    };
    let target = (at + 1).wrapping_add_signed(isize::from(instruction.offset));
    match instruction.code {
        EXIT => Vec::new(),
        JUMP => vec![target],
        CALL => vec![at + 1],
        code if code & 0x07 == 5 => vec![at + 1, target],
        _ => vec![at + instruction.slots()],
    }
}

/// Instruction set v2 of BPF, `Documentation/networking/filter.txt` of v4.14.
fn instruction_fault(instruction: Instruction) -> Option<String> {
    let Instruction { code, source, offset, immediate } = instruction;
    let mode = code & 0xe0;
    match code & 0x07 {
        // LD: only the 64-bit constant; source 0 or, relocated, 1 for a map. Packet loads are for sockets.
        0 => (code != LOAD_64 || source > 1).then(|| format!("load {code:#x} from {source}")),
        // LDX and ST: plain memory only, no sign extension.
        1 | 2 => (mode != 0x60).then(|| format!("mode {mode:#x} of a load or store")),
        3 => match mode {
            0x60 => None,
            0xc0 if immediate == 0 => None,
            _ => Some(format!("atomic other than XADD: mode {mode:#x}, operation {immediate:#x}")),
        },
        // ALU and ALU64: the offset turns MOV, DIV and MOD into newer ones; 0xd7 is the newer byte swap.
        4 | 7 => (offset != 0 || code == 0xd7 || code & 0xf0 > 0xd0)
            .then(|| format!("arithmetic {code:#x} with offset {offset}")),
        5 => jump_fault(instruction),
        _ => Some(format!("32-bit jump {code:#x}")),
    }
}

fn jump_fault(Instruction { code, source, immediate, .. }: Instruction) -> Option<String> {
    match code {
        CALL if source != 0 => Some("call of another BPF function".to_owned()),
        CALL => (!HELPERS_OF_4_14.contains(&immediate)).then(|| format!("call of helper {immediate}")),
        EXIT => None,
        _ => (code & 0xf0 > 0xd0).then(|| format!("jump {code:#x}")),
    }
}

/// Programs of an object: section, name, instructions. Fails when a function is not whole instructions.
fn programs(file: &object::File<'_>) -> Vec<(String, String, Vec<Instruction>)> {
    let functions = file.symbols().filter(|symbol| symbol.kind() == SymbolKind::Text && symbol.size() > 0);
    let mut found = Vec::new();
    for symbol in functions {
        let section = file.section_by_index(symbol.section_index().unwrap()).unwrap();
        let start = usize::try_from(symbol.address()).unwrap();
        let size = usize::try_from(symbol.size()).unwrap();
        assert_eq!(size % 8, 0, "{}", symbol.name().unwrap());
        let code = decode(&section.data().unwrap()[start..start + size]);
        found.push((section.name().unwrap().to_owned(), symbol.name().unwrap().to_owned(), code));
    }
    found
}

/// Every object of a flavour, with a name for messages.
fn objects(flavour: Flavour) -> Vec<(String, &'static [u8])> {
    let mut found = Vec::new();
    for module in MODULES {
        for (apps, returns) in [(false, false), (false, true), (true, false), (true, true)] {
            let bytes = probe_objects::object(module, flavour, apps, returns).unwrap();
            found.push((format!("{module} {flavour:?} apps={apps} returns={returns}"), bytes));
        }
    }
    found
}

/// Sections that old kernels or their loaders do not know, and maps of newer types.
fn faults_of_the_file(file: &object::File<'_>) -> Vec<String> {
    let mut faults = Vec::new();
    for section in file.sections() {
        let name = section.name().unwrap();
        let is_new = [".BTF", ".rodata", ".data", ".bss", ".maps", ".kconfig"];
        if is_new.iter().any(|new| name.starts_with(new)) {
            faults.push(format!("section {name}"));
        }
    }
    let Some(maps) = file.section_by_name("maps") else {
        return vec!["no section maps".to_owned()];
    };
    let data = maps.data().unwrap();
    if !data.len().is_multiple_of(MAP_DEFINITION_BYTES) {
        faults.push(format!("{} bytes of map definitions", data.len()));
    }
    for map in data.chunks_exact(MAP_DEFINITION_BYTES) {
        let kind = u32::from_le_bytes(map[..4].try_into().unwrap());
        if !MAP_TYPES.contains(&kind) {
            faults.push(format!("map of type {kind}"));
        }
    }
    faults
}

#[test]
fn objects_without_btf_hold_nothing_that_4_14_refuses() {
    for (name, bytes) in objects(Flavour::Legacy) {
        let file = object::File::parse(bytes).unwrap();
        let mut faults = faults_of_the_file(&file);
        let programs = programs(&file);
        assert!(programs.len() > 10, "{name}: only {} programs found", programs.len());
        for (section, program, code) in programs {
            if section == ".text" {
                faults.push(format!("{program} is a function of its own"));
            }
            faults.extend(faults_for_4_14(&code).into_iter().map(|fault| format!("{program}: {fault}")));
        }
        assert!(faults.is_empty(), "{name}:\n{}", faults.join("\n"));
    }
}

#[test]
fn typed_programs_read_by_types_alone() {
    for flavour in [Flavour::Rows, Flavour::Hash] {
        for (name, bytes) in objects(flavour) {
            let file = object::File::parse(bytes).unwrap();
            let programs = programs(&file);
            assert!(programs.len() > 10, "{name}: only {} programs found", programs.len());
            // Functions in .text are called by the typed programs, so they count as such.
            let typed = programs.iter().filter(|(section, program, _)| {
                section != MAY_PROBE_READ && !program.starts_with(READS_ADDRESSES)
            });
            for (section, program, code) in typed {
                let readers = helpers(code).filter(|helper| PROBE_READS.contains(helper)).count();
                assert_eq!(readers, 0, "{name}: {program} ({section}) calls bpf_probe_read");
            }
        }
    }
}

/// Numbers of the helpers that a program calls.
fn helpers(code: &[Instruction]) -> impl Iterator<Item = i32> {
    code.iter().filter(|one| one.code == CALL && one.source == 0).map(|one| one.immediate)
}

/// The checker must be able to fail: one bad instruction at a time in a good program.
#[test]
fn each_bad_instruction_is_found() {
    const fn word(code: u8, source: u8, offset: i16, immediate: i32) -> Instruction {
        Instruction { code, source, offset, immediate }
    }
    let good = [
        word(LOAD_64, 1, 0, 0),
        // Second half of the constant: looks like nothing that is allowed.
        word(0, 0, 0, -1),
        word(CALL, 0, 0, 1),
        word(0x15, 0, 3, 0),
        word(0xdb, 1, 0, 0),
        word(0xbf, 1, 0, 0),
        word(EXIT, 0, 0, 0),
        // Back to the shared end: no loop.
        word(JUMP, 0, -3, 0),
    ];
    assert_eq!(faults_for_4_14(&good), Vec::<String>::new());
    let bad = [
        ("helper 113", word(CALL, 0, 0, 113)),
        ("another BPF function", word(CALL, 1, 0, 2)),
        ("loop from 2 to 0", word(0x55, 0, -3, 0)),
        ("loop from 2 to 2", word(0x55, 0, -1, 0)),
        ("no way leads to 3", word(EXIT, 0, 0, 0)),
        ("out of the program", word(0x55, 0, 100, 0)),
        ("32-bit jump", word(0x16, 0, 1, 0)),
        ("atomic", word(0xdb, 1, 0, 0x01)),
        ("atomic", word(0xc3, 1, 0, 0xf1)),
        ("mode 0x80", word(0x81, 1, 0, 0)),
        ("arithmetic 0xbf", word(0xbf, 1, 8, 0)),
        ("arithmetic 0xd7", word(0xd7, 0, 0, 64)),
        ("load 0x20", word(0x20, 0, 0, 0)),
        ("from 2", word(LOAD_64, 2, 0, 0)),
    ];
    for (what, instruction) in bad {
        let mut program = good.to_vec();
        program.insert(2, instruction);
        // A constant has two halves.
        if instruction.code == LOAD_64 {
            program.insert(3, word(0, 0, 0, 0));
        }
        let faults = faults_for_4_14(&program);
        assert!(faults.len() == 1 && faults[0].contains(what), "{what}: {faults:?}");
    }
    let mut long = vec![word(0xbf, 1, 0, 0); INSTRUCTIONS_MAX];
    long.push(word(EXIT, 0, 0, 0));
    assert_eq!(faults_for_4_14(&long).len(), 1);
}

/// The bytes of a real program come out as they were written.
#[test]
fn instructions_are_decoded() {
    let decoded = decode(&[0x85, 0x10, 0xfe, 0xff, 0x71, 0, 0, 0]);
    assert_eq!(decoded.len(), 1);
    let one = decoded[0];
    assert_eq!((one.code, one.source, one.offset, one.immediate), (CALL, 1, -2, 0x71));
}

/// What a forecast believes about the objects' programs for tracepoints is so.
#[test]
fn forecasts_know_which_objects_have_a_program_for_a_tracepoint() {
    use shared::hooks::{Flavour as Kind, is_wanted};
    use shared::table::Table;
    let mut compared = 0;
    for module in MODULES {
        let table = Table::of(module).unwrap();
        for (kind, flavour) in
            [(Kind::Rows, Flavour::Rows), (Kind::Hash, Flavour::Hash), (Kind::Legacy, Flavour::Legacy)]
        {
            let bytes = probe_objects::object(module, flavour, true, true).unwrap();
            let file = object::File::parse(bytes).unwrap();
            let names: Vec<String> = programs(&file).into_iter().map(|(_, name, _)| name).collect();
            let order = shared::wire::StartOrder {
                step: std::time::Duration::ZERO,
                load_mode: shared::config::LoadMode::Return,
                apps: true,
                command_lines: true,
                strategy: None,
                type_format: shared::config::TypeFormat::Auto,
                btf_path: "/".into(),
                pid_table_size: 1,
                flows: true,
                hook_overrides: None,
            };
            for event in table.events.iter().filter(|event| is_wanted(event, &order, kind)) {
                for hook in event.hooks.iter().filter(|hook| shared::hooks::suits(hook, kind, None)) {
                    for path in &hook.tracepoint.0 {
                        let own = [
                            format!("tracepoint_{}", path.replace('/', "_")),
                            format!("tracepoint_{}", event.name),
                        ];
                        let has = own.iter().any(|name| names.contains(name));
                        let believed = shared::forecast::has_program(event, path, kind);
                        assert_eq!(has, believed, "{module} {kind:?} {} {path}", event.name);
                        compared += 1;
                    }
                }
            }
        }
    }
    assert!(compared > 20, "{compared}");
}
