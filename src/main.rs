//! The program: parse, run, exit.

fn main() {
    let code = nexudus_proxy::cli::main(std::env::args_os());
    std::process::exit(code.into());
}
