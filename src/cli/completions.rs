//! `completions` and `man`: made from the command line itself.

use std::io::{self, Write as _};

use clap::Command;
use clap_complete::Shell;
use clap_mangen::Man;

use super::{CliError, Printer};
use crate::problem::ExitCode;

/// The arguments of `completions`.
#[derive(clap::Args, Debug)]
pub(super) struct CompletionsArgs {
    /// The shell
    shell: Shell,
}

/// Prints the completions.
pub(super) fn run(
    args: &CompletionsArgs,
    mut command: Command,
    print: Printer,
) -> Result<(), CliError> {
    let mut text = vec![];
    clap_complete::generate(args.shell, &mut command, "nexudus-proxy", &mut text);
    print.raw(&text)
}

/// Prints the manual page: one for all commands, so that one file is enough to install.
pub(super) fn man(mut command: Command, print: Printer) -> Result<(), CliError> {
    let mut text = vec![];
    command.build();
    page(&command, &mut text).map_err(CliError::Output)?;
    print.raw(&text)
}

fn page(command: &Command, text: &mut Vec<u8>) -> io::Result<()> {
    let man = Man::new(command.clone());
    man.render_title(text)?;
    man.render_name_section(text)?;
    man.render_synopsis_section(text)?;
    man.render_description_section(text)?;
    man.render_options_section(text)?;
    for command in command.get_subcommands() {
        section(command, text)?;
    }
    writeln!(text, ".SH \"EXIT STATUS\"")?;
    for code in ExitCode::ALL {
        writeln!(text, ".TP\n{}\n{}", code.number(), code.meaning())?;
    }
    writeln!(text, ".SH FILES\n.TP\n~/.config/nexudus\\-proxy/config.toml")?;
    writeln!(text, "the configuration; see \\fBnexudus\\-proxy config init\\fR")
}

/// Renders a command and those below it, without the options that all have.
fn section(command: &Command, text: &mut Vec<u8>) -> io::Result<()> {
    let command = command.clone().mut_args(|arg| {
        let everywhere = arg.is_global_set() || arg.get_id() == "help";
        let hidden = arg.is_hide_set() || everywhere;
        arg.hide(hidden).hide_short_help(false)
    });
    let name = command.get_bin_name().unwrap_or(command.get_name()).replace('-', "\\-");
    writeln!(text, ".SH \"{}\"", name.to_uppercase())?;
    let about = command.get_about().map(ToString::to_string).unwrap_or_default();
    writeln!(text, "{}", about.replace('-', "\\-"))?;
    // The heading of the options would read as one of the whole page.
    let mut options = vec![];
    Man::new(command.clone()).render_options_section(&mut options)?;
    let options = String::from_utf8_lossy(&options);
    let lines = options.lines().filter(|line| !line.starts_with(".SH"));
    for line in lines {
        writeln!(text, "{line}")?;
    }
    for below in command.get_subcommands() {
        section(below, text)?;
    }
    Ok(())
}
