//! `completions` and `man`: made from the command line itself.

use clap::CommandFactory as _;
use clap_complete::Shell;

use super::{Failure, Line, Print};

/// What `completions` takes.
#[derive(clap::Args, Debug)]
pub(super) struct Options {
    /// The shell
    shell: Shell,
}

/// Prints the completions.
pub(super) fn run(options: &Options, print: Print) -> Result<(), Failure> {
    let mut text = vec![];
    clap_complete::generate(options.shell, &mut Line::command(), "nexudus-proxy", &mut text);
    print.raw(&text)
}

/// Prints the manual page, one section after another for each command.
pub(super) fn man(print: Print) -> Result<(), Failure> {
    let mut text = vec![];
    let mut command = Line::command();
    command.build();
    let page = clap_mangen::Man::new(command.clone());
    page.render(&mut text).map_err(Failure::Output)?;
    for command in command.get_subcommands() {
        let title = format!("\n.SH \"NEXUDUS-PROXY {}\"\n", command.get_name().to_uppercase());
        text.extend_from_slice(title.as_bytes());
        let page = clap_mangen::Man::new(command.clone());
        page.render_description_section(&mut text).map_err(Failure::Output)?;
        page.render_synopsis_section(&mut text).map_err(Failure::Output)?;
        page.render_options_section(&mut text).map_err(Failure::Output)?;
    }
    print.raw(&text)
}
