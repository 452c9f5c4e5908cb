//! Prints completion scripts and the manual page, made from the command line's own grammar.

use clap::CommandFactory;

use super::args::CommandLine;
use super::exit::Exit;
use super::failure::Failure;
use super::output;

/// `lsync completions <shell>`.
pub(crate) fn completions(shell: clap_complete::Shell) -> Result<Exit, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut CommandLine::command(), "lsync", &mut script);
    output::print(&String::from_utf8_lossy(&script))?;
    Ok(Exit::Done)
}

/// `lsync man [command]`.
pub(crate) fn man(command: Option<&str>) -> Result<Exit, Failure> {
    output::print(&page(command)?)?;
    Ok(Exit::Done)
}

fn page(command: Option<&str>) -> Result<String, Failure> {
    let mut all = CommandLine::command();
    all.build();
    let chosen = match command {
        None => all,
        Some(name) => {
            let known: Vec<&str> = all.get_subcommands().filter(|c| !c.is_hide_set()).map(clap::Command::get_name).collect();
            let found = all.get_subcommands().find(|c| c.get_name() == name && !c.is_hide_set()).cloned();
            found.ok_or_else(|| {
                Failure::usage(format!("there is no command {name:?}")).hint(format!("the commands are {}", known.join(", ")))
            })?
        }
    };
    let mut text = Vec::new();
    let rendered = clap_mangen::Man::new(chosen).render(&mut text);
    rendered.map_err(|e| Failure::new(Exit::Failed, format!("cannot render the manual page: {e}")))?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_a_page_for_all_and_one_for_each_command() {
        assert!(page(None).unwrap().contains("upload"));
        assert!(page(Some("upload")).unwrap().contains("overwrite"));
        let unknown = page(Some("uplaod")).unwrap_err();
        assert!(unknown.hint.unwrap().contains("upload"));
    }
}
