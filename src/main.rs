//! The program: parse, run, exit.

use std::alloc::System;

use zeroizing_alloc::ZeroAlloc;

/// Wipes memory when it is freed: tokens and passwords pass through buffers of libraries that do
/// not wipe their own. Costs one pass over the freed memory.
#[global_allocator]
static MEMORY: ZeroAlloc<System> = ZeroAlloc(System);

fn main() {
    let code = nexudus_proxy::cli::main(std::env::args_os());
    std::process::exit(code.number().into());
}
