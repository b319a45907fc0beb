//! Compiles verdicts on system calls to a BPF program that finds each by binary search.
//!
//! The kernel walks a filter once for every call number when it is installed, and a linear one of three hundred rules
//! costs half a millisecond then: a quarter of a whole start. A search tree costs next to nothing.
//! The machine is described in the kernel's `Documentation/networking/filter.rst`.

use std::collections::BTreeMap;

/// What becomes of a system call. Values are compared with the lower half of an argument, which is all that the kernel
/// takes of those used here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CallVerdict {
    /// It is carried out.
    Allow,
    /// It is carried out when the argument is one of the values.
    OneOf { argument: u8, values: &'static [u32] },
    /// It is carried out when the argument is none of the values.
    NoneOf { argument: u8, values: &'static [u32] },
    /// It is carried out when the argument has none of the bits.
    NoneOfBits { argument: u8, bits: u32 },
}

/// `struct sock_filter` of the kernel.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Instruction {
    code: u16,
    if_true: u8,
    if_false: u8,
    operand: u32,
}

const LOAD: u16 = 0x20;
const JUMP: u16 = 0x05;
const JUMP_IF_EQUAL: u16 = 0x15;
const JUMP_IF_NOT_BELOW: u16 = 0x35;
const JUMP_IF_ANY_BIT: u16 = 0x45;
const RETURN: u16 = 0x06;

const ALLOW: u32 = 0x7fff_0000;
const KILL_PROCESS: u32 = 0x8000_0000;
const MISSING: u32 = 0x0005_0000 | libc::ENOSYS as u32;

/// Offsets in `struct seccomp_data`: the number, the architecture, then six arguments of eight bytes.
const NUMBER_AT: u32 = 0;
const ARCHITECTURE_AT: u32 = 4;
const ARGUMENTS_AT: u32 = 16;

const fn plain(code: u16, operand: u32) -> Instruction {
    Instruction { code, if_true: 0, if_false: 0, operand }
}

/// Calls without a verdict answer ENOSYS, as if the kernel did not have them; calls of another architecture than the one
/// that has these numbers (`AUDIT_ARCH_*`), such as the 32-bit ABI, end the process.
pub(crate) fn compile(
    architecture: u32,
    verdicts: &BTreeMap<u32, CallVerdict>,
) -> Vec<Instruction> {
    let mut program = vec![
        plain(LOAD, ARCHITECTURE_AT),
        Instruction { if_true: 1, ..plain(JUMP_IF_EQUAL, architecture) },
        plain(RETURN, KILL_PROCESS),
        plain(LOAD, NUMBER_AT),
    ];
    program.extend(tree(&intervals(verdicts)));
    program
}

/// Neighbouring numbers of one verdict together: the first number of each interval, beginning with 0.
fn intervals(verdicts: &BTreeMap<u32, CallVerdict>) -> Vec<(u32, Option<CallVerdict>)> {
    let mut found: Vec<(u32, Option<CallVerdict>)> = vec![(0, None)];
    let mut add = |number: u32, verdict: Option<CallVerdict>| match found.last_mut() {
        Some((first, last)) if *first == number => *last = verdict,
        Some((_, last)) if *last == verdict => {}
        Some(_) | None => found.push((number, verdict)),
    };
    for (number, verdict) in verdicts {
        add(*number, Some(*verdict));
        if !verdicts.contains_key(&(number + 1)) {
            add(number + 1, None);
        }
    }
    found
}

fn tree(intervals: &[(u32, Option<CallVerdict>)]) -> Vec<Instruction> {
    if let [(_, verdict)] = intervals {
        return leaf(*verdict);
    }
    let (low, high) = intervals.split_at(intervals.len() / 2);
    let (border, low, high) = (high[0].0, tree(low), tree(high));
    // Conditional jumps reach 255 instructions at most, plain ones everything.
    let mut program = vec![
        Instruction { if_false: 1, ..plain(JUMP_IF_NOT_BELOW, border) },
        plain(JUMP, low.len() as u32),
    ];
    program.extend(low);
    program.extend(high);
    program
}

fn leaf(verdict: Option<CallVerdict>) -> Vec<Instruction> {
    let argument_at = |argument: u8| ARGUMENTS_AT + u32::from(argument) * 8;
    let one_of = |argument: u8, values: &[u32], found: u32, otherwise: u32| {
        let mut program = vec![plain(LOAD, argument_at(argument))];
        for (index, value) in values.iter().enumerate() {
            // Over the comparisons left, and the return after them.
            let if_true = (values.len() - index) as u8;
            program.push(Instruction { if_true, ..plain(JUMP_IF_EQUAL, *value) });
        }
        program.extend([plain(RETURN, otherwise), plain(RETURN, found)]);
        program
    };
    match verdict {
        None => vec![plain(RETURN, MISSING)],
        Some(CallVerdict::Allow) => vec![plain(RETURN, ALLOW)],
        Some(CallVerdict::OneOf { argument, values }) => one_of(argument, values, ALLOW, MISSING),
        Some(CallVerdict::NoneOf { argument, values }) => one_of(argument, values, MISSING, ALLOW),
        Some(CallVerdict::NoneOfBits { argument, bits }) => vec![
            plain(LOAD, argument_at(argument)),
            Instruction { if_true: 1, ..plain(JUMP_IF_ANY_BIT, bits) },
            plain(RETURN, ALLOW),
            plain(RETURN, MISSING),
        ],
    }
}

/// What a program answers, for tests.
#[cfg(test)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answer {
    Allow,
    Missing,
    Kill,
}

/// Carries a program out as the kernel would.
#[cfg(test)]
pub(crate) fn answer(
    program: &[Instruction],
    architecture: u32,
    number: u32,
    arguments: [u64; 6],
) -> Answer {
    let load = |offset: u32| match offset {
        NUMBER_AT => number,
        ARCHITECTURE_AT => architecture,
        _ => arguments[((offset - ARGUMENTS_AT) / 8) as usize] as u32,
    };
    let (mut at, mut accumulator) = (0_usize, 0_u32);
    loop {
        let Instruction { code, if_true, if_false, operand } = program[at];
        at += 1;
        let choose = |holds: bool| usize::from(if holds { if_true } else { if_false });
        match code {
            LOAD => accumulator = load(operand),
            JUMP => at += operand as usize,
            JUMP_IF_EQUAL => at += choose(accumulator == operand),
            JUMP_IF_NOT_BELOW => at += choose(accumulator >= operand),
            JUMP_IF_ANY_BIT => at += choose(accumulator & operand != 0),
            RETURN => {
                return match operand {
                    ALLOW => Answer::Allow,
                    MISSING => Answer::Missing,
                    KILL_PROCESS => Answer::Kill,
                    other => panic!("an unknown answer {other:#x}"),
                };
            }
            other => panic!("an unknown instruction {other:#x}"),
        }
    }
}
