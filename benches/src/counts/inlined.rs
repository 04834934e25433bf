//! Which function of the sources an instruction belongs to.
//!
//! With all code open to the optimiser one function of the program holds dozens of the sources.
//! `addr2line`, one of the binutils, knows the functions that were inlined at an address; without
//! it the functions of the program must do.

use std::collections::BTreeMap;
use std::env;
use std::io::Write;
use std::process::{Command, Stdio};
use std::thread;

use anyhow::{Context, ensure};

/// The standard library's sources, as the debug information names them.
const STANDARD_LIBRARY: &str = "/rustc/";

/// The function of the sources at each address of this program, where one is known.
pub(super) fn functions(addresses: &[u64]) -> anyhow::Result<BTreeMap<u64, String>> {
    let mut child = Command::new("addr2line")
        .args(["--addresses", "--functions", "--inlines", "--demangle", "--exe"])
        .arg(env::current_exe()?)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .context("cannot run addr2line")?;
    let mut stdin = child.stdin.take().context("addr2line without an input")?;
    let lines: String = addresses.iter().map(|address| format!("{address:#x}\n")).collect();
    // It answers while it is asked: what it says must be read meanwhile.
    let asking = thread::spawn(move || stdin.write_all(lines.as_bytes()));
    let output = child.wait_with_output()?;
    asking.join().expect("writing does not panic")?;
    ensure!(output.status.success(), "addr2line: {}", output.status);
    Ok(parse(&String::from_utf8_lossy(&output.stdout)))
}

/// For each address there is a line with it, then two lines for each function that it is in, name
/// and place, from the innermost to the one that the program has. The innermost that is not of the
/// standard library is chosen: that a value was borrowed or moved says little by itself.
fn parse(text: &str) -> BTreeMap<u64, String> {
    let mut functions = BTreeMap::new();
    let mut address = None;
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if let Some(digits) = line.strip_prefix("0x") {
            address = u64::from_str_radix(digits, 16).ok();
            continue;
        }
        let place = lines.next().unwrap_or("??");
        if let Some(address) = address
            && !place.starts_with("??")
            && !place.starts_with(STANDARD_LIBRARY)
        {
            functions.entry(address).or_insert_with(|| line.replace("::{{closure}}", ""));
        }
    }
    functions
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instruction_belongs_to_the_innermost_function_outside_the_standard_library() {
        let text = "\
0x0000000000000010
core::cell::Cell<T>::get
/rustc/5980/library/core/src/cell.rs:9
popleft::task::table::live::{{closure}}
/home/popleft/runtime/src/task/table.rs:100
popleft::event_loop::EventLoop::run
/home/popleft/runtime/src/event_loop.rs:90
0x0000000000000014
core::ptr::drop_in_place<u8>
/rustc/5980/library/core/src/ptr/mod.rs:9
0x0000000000000018
??
??:0
";
        let functions = parse(text);
        assert_eq!(functions, BTreeMap::from([(0x10, "popleft::task::table::live".to_string())]));
    }
}
