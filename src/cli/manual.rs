//! The manual page.
//!
//! Owns one page for the whole program, in troff: what the program is, the help of every command as the command itself prints
//! it, and the exit codes. There is one page, because whoever looks something up does not know yet which command it is.

use std::io::{self, Write};

use clap::Command;
use clap_mangen::Man;

use crate::cli::{ADMIN_SOCKET, BROKER_SOCKET, CONFIG};
use claviger_runtime::reason::Exit;

/// The help is set as it is, so it must fit a terminal of 80 columns with the indents of the page.
const WIDTH: usize = 70;

/// Writes the page for `program`.
pub(super) fn print(program: Command, out: &mut dyn Write) -> io::Result<()> {
    let mut program = program.term_width(WIDTH);
    program.build();
    let page = Man::new(program.clone()).manual("claviger");
    page.render_title(out)?;
    page.render_name_section(out)?;
    page.render_synopsis_section(out)?;
    section(out, "DESCRIPTION")?;
    line(
        out,
        "One daemon per node holds OAuth client secrets, and hands local processes short-lived tokens.",
    )?;
    line(out, "Begin with \"claviger demo\".")?;
    section(out, "COMMANDS")?;
    for command in program.get_subcommands_mut() {
        commands(command, out)?;
    }
    section(out, "EXIT STATUS")?;
    for exit in Exit::ALL {
        let (code, meaning) = (exit.code(), exit.meaning());
        entry(out, &code.to_string(), meaning)?;
    }
    section(out, "FILES")?;
    entry(out, CONFIG, "The configuration.")?;
    entry(out, BROKER_SOCKET, "The broker socket, for programs.")?;
    entry(out, ADMIN_SOCKET, "The admin socket, for operators.")
}

/// The help of a command, or of the commands below it.
fn commands(command: &mut Command, out: &mut dyn Write) -> io::Result<()> {
    if command.get_name() == "help" {
        return Ok(());
    }
    if command.has_subcommands() {
        return command
            .get_subcommands_mut()
            .try_for_each(|command| commands(command, out));
    }
    let name = command.get_bin_name().unwrap_or_default().to_owned();
    writeln!(out, ".SS \"{name}\"\n.nf")?;
    for text in command.render_help().to_string().lines() {
        line(out, text)?;
    }
    writeln!(out, ".fi")
}

fn section(out: &mut dyn Write, name: &str) -> io::Result<()> {
    writeln!(out, ".SH \"{name}\"")
}

fn entry(out: &mut dyn Write, name: &str, text: &str) -> io::Result<()> {
    writeln!(out, ".TP")?;
    line(out, name)?;
    line(out, text)
}

/// One line of text. A dot or quote at its beginning would be a command of troff, and a bare hyphen a typographic one.
fn line(out: &mut dyn Write, text: &str) -> io::Result<()> {
    let text = text.replace('\\', "\\e").replace('-', "\\-");
    let guard = if text.starts_with(['.', '\'']) {
        "\\&"
    } else {
        ""
    };
    writeln!(out, "{guard}{text}")
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;
    use crate::cli::Cli;

    #[test]
    fn the_page_has_every_command_option_and_code() {
        let mut page = Vec::new();
        print(Cli::command(), &mut page).unwrap();
        let page = String::from_utf8(page).unwrap();
        for wanted in [
            ".TH claviger",
            ".SS \"claviger token\"",
            ".SS \"claviger file put\"",
            "\\-\\-min\\-remaining <SECONDS>",
            "\\-\\-generate\\-key <FILE>",
            ".SH \"EXIT STATUS\"",
            "\n77\n",
            CONFIG,
        ] {
            assert!(page.contains(wanted), "{wanted} in {page}");
        }
        // Not a reference to a page that does not exist.
        assert!(!page.contains("claviger-token(1)") && !page.contains("claviger\\-token(1)"));
    }

    #[test]
    fn no_line_is_taken_for_a_command_of_troff() {
        let mut out = Vec::new();
        line(&mut out, ".profile").unwrap();
        line(&mut out, "'quoted' \\n").unwrap();
        assert_eq!(out, b"\\&.profile\n\\&'quoted' \\en\n");
    }
}
