//! The manual pages: `claviger.1`, and one for each command, such as `claviger-file-put.1`.
//!
//! Owns which pages exist, and their sections that clap does not have: examples, exit codes and files. Everything else is the
//! help of the commands, so that no page contradicts `--help`. Never reads anything of the host.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use clap::{Args, Command};
use clap_mangen::Man;
use clap_mangen::roff::{Roff, roman};

use crate::cli::{ADMIN_SOCKET, BROKER_SOCKET, CONFIG, EXAMPLES, EXIT_CODES, Exit, Failure};

const PROGRAM: &str = "claviger";

#[derive(Args, Clone, Debug)]
#[command(after_help = "\
Examples:
  claviger man | man -l -
  claviger man file put | man -l -
  claviger man --all /usr/local/share/man/man1")]
pub(super) struct ManArgs {
    /// The command whose page is printed, such as `file put`; by default that of the program
    command: Vec<String>,
    /// Write every page into this directory instead
    #[arg(long, value_name = "DIR", conflicts_with = "command")]
    all: Option<PathBuf>,
}

/// Prints one page, or writes all of them.
pub(super) fn man(args: &ManArgs, program: Command, out: &mut dyn Write) -> Result<(), Failure> {
    let mut program = program.disable_help_subcommand(true);
    program.build();
    if let Some(directory) = &args.all {
        return write_all(&program, directory);
    }
    let mut command = &program;
    for name in &args.command {
        command = command.find_subcommand(name).ok_or_else(|| {
            let what = format!("there is no command `{}`", args.command.join(" "));
            Failure::new(Exit::Usage, what, "`claviger --help` lists the commands.")
        })?;
    }
    Ok(out.write_all(&page(command)?)?)
}

fn write_all(command: &Command, directory: &Path) -> Result<(), Failure> {
    let path = directory.join(Man::new(command.clone()).get_filename());
    fs::write(&path, page(command)?).map_err(|error| {
        let what = format!("cannot write {}: {}", path.display(), error.kind());
        Failure::new(
            Exit::System,
            what,
            "Name a directory that exists and that this user may write to.",
        )
    })?;
    command
        .get_subcommands()
        .try_for_each(|command| write_all(command, directory))
}

/// The page of one command, in troff.
fn page(command: &Command) -> io::Result<Vec<u8>> {
    let is_program = command.get_name() == PROGRAM;
    let mut page = Vec::new();
    let man = Man::new(command.clone())
        .manual(PROGRAM)
        .source(concat!("claviger ", env!("CARGO_PKG_VERSION")));
    man.render_title(&mut page)?;
    man.render_name_section(&mut page)?;
    man.render_synopsis_section(&mut page)?;
    man.render_description_section(&mut page)?;
    let help = command
        .get_after_help()
        .map(ToString::to_string)
        .unwrap_or_default();
    let (notes, examples) = help.split_once(EXAMPLES).unwrap_or((&help, ""));
    let (notes, _) = notes.split_once(EXIT_CODES).unwrap_or((notes, ""));
    paragraphs(notes).to_writer(&mut page)?;
    man.render_options_section(&mut page)?;
    if command.has_subcommands() {
        man.render_subcommands_section(&mut page)?;
    }
    if !examples.is_empty() {
        verbatim("EXAMPLES", examples).to_writer(&mut page)?;
    }
    let last = if is_program {
        exit_codes_and_files()
    } else {
        see_program()
    };
    last.to_writer(&mut page)?;
    Ok(page)
}

/// Text in paragraphs, which follows what is before it.
fn paragraphs(text: &str) -> Roff {
    let mut roff = Roff::new();
    for paragraph in text
        .trim_end()
        .split("\n\n")
        .filter(|text| !text.is_empty())
    {
        roff.control("PP", []);
        for line in paragraph.lines() {
            roff.text([roman(line)]);
        }
    }
    roff
}

/// A section whose lines stay as they are.
fn verbatim(title: &str, text: &str) -> Roff {
    let mut roff = Roff::new();
    roff.control("SH", [title]).control("nf", []);
    for line in text.lines() {
        roff.text([roman(line)]);
    }
    roff.control("fi", []);
    roff
}

fn exit_codes_and_files() -> Roff {
    let mut roff = Roff::new();
    roff.control("SH", ["EXIT STATUS"]);
    for exit in Exit::ALL {
        entry(&mut roff, &exit.code().to_string(), exit.meaning());
    }
    roff.control("SH", ["FILES"]);
    entry(&mut roff, CONFIG, "The configuration.");
    entry(&mut roff, BROKER_SOCKET, "The broker socket, for programs.");
    entry(&mut roff, ADMIN_SOCKET, "The admin socket, for operators.");
    roff
}

fn entry(roff: &mut Roff, name: &str, text: &str) {
    roff.control("TP", [])
        .text([roman(name)])
        .text([roman(text)]);
}

fn see_program() -> Roff {
    let mut roff = Roff::new();
    roff.control("SH", ["SEE ALSO"])
        .text([roman("claviger(1) lists the exit codes and the files.")]);
    roff
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;
    use crate::cli::Cli;

    fn printed(command: &[&str]) -> Result<String, Failure> {
        let args = ManArgs {
            command: command.iter().map(ToString::to_string).collect(),
            all: None,
        };
        let mut out = Vec::new();
        man(&args, Cli::command(), &mut out)?;
        Ok(String::from_utf8(out).unwrap())
    }

    fn assert_has(page: &str, wanted: &[&str]) {
        for wanted in wanted {
            assert!(page.contains(wanted), "{wanted} in {page}");
        }
    }

    #[test]
    fn the_programs_page_has_every_command_the_exit_codes_and_the_files() {
        let page = printed(&[]).unwrap();
        assert_has(
            &page,
            &[
                ".TH claviger 1",
                "claviger\\-token(1)",
                "claviger\\-import\\-env(1)",
                ".SH \"EXIT STATUS\"",
                "\n77\n",
                ".SH FILES",
                CONFIG,
            ],
        );
        assert!(!page.contains(EXIT_CODES) && !page.contains("claviger\\-help"));
    }

    #[test]
    fn the_page_of_a_command_has_its_description_options_and_examples() {
        let page = printed(&["file", "put"]).unwrap();
        assert_has(
            &page,
            &[
                ".TH claviger-file-put 1",
                "\\fBclaviger file put\\fR",
                "\\-\\-key\\-file",
                ".SH \"SEE ALSO\"",
            ],
        );
        let page = printed(&["check"]).unwrap();
        assert_has(&page, &["Reads the configuration", ".SH EXAMPLES\n.nf\n"]);
        assert!(!page.contains(EXAMPLES));
        let refused = printed(&["file", "sell"]).unwrap_err();
        assert_eq!(refused.exit, Exit::Usage);
        assert!(refused.to_string().contains("`file sell`"), "{refused}");
    }

    #[test]
    fn every_command_has_a_page_under_its_own_name() {
        let directory = tempfile::tempdir().unwrap();
        let args = ManArgs {
            command: Vec::new(),
            all: Some(directory.path().to_owned()),
        };
        man(&args, Cli::command(), &mut io::sink()).unwrap();
        for (name, title) in [
            ("claviger.1", ".TH claviger 1"),
            ("claviger-check.1", ".TH claviger-check 1"),
            ("claviger-file-rekey.1", ".TH claviger-file-rekey 1"),
        ] {
            let page = fs::read_to_string(directory.path().join(name)).unwrap();
            assert_has(&page, &[title]);
        }
        assert!(!directory.path().join("claviger-help.1").exists());
        drop(directory);
        let failed = man(&args, Cli::command(), &mut io::sink()).unwrap_err();
        assert_eq!(failed.exit, Exit::System);
    }
}
