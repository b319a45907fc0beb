//! `hornero manual`: the manual pages, made from the definitions of the command line.

use std::{fmt::Write as _, fs, io};

use clap::CommandFactory as _;
use clap_mangen::Man;

use crate::{
    arguments::{Arguments, ManualArguments},
    failure::{Failure, exit},
    version,
};

/// Writes `hornero.1`, and a page for each command such as `hornero-up.1`.
pub fn write(arguments: &ManualArguments) -> Result<(), Failure> {
    let directory = &arguments.dir;
    pages()
        .and_then(|pages| {
            fs::create_dir_all(directory)?;
            pages.iter().try_for_each(|(name, page)| fs::write(directory.join(name), page))
        })
        .map_err(|error| Failure::new(exit::FAILED, format!("`{}`: {error}", directory.display())))
}

/// Every page by the name of its file.
fn pages() -> io::Result<Vec<(String, Vec<u8>)>> {
    let mut root = Arguments::command();
    root.build();
    let mut found = Vec::new();
    let mut open = vec![(root, None)];
    while let Some((command, above)) = open.pop() {
        let name = command.get_display_name().unwrap_or(command.get_name()).to_owned();
        found.push((format!("{name}.1"), page(&command, above.as_deref())?));
        // `help` repeats what the others say.
        let below = command.get_subcommands().filter(|below| !below.is_hide_set());
        let below = below.filter(|below| below.get_name() != "help");
        open.extend(below.map(|below| (below.clone(), Some(name.clone()))));
    }
    Ok(found)
}

/// The page of a command; `above` is the page of the command that it belongs to.
fn page(command: &clap::Command, above: Option<&str>) -> io::Result<Vec<u8>> {
    let name = command.get_display_name().unwrap_or(command.get_name());
    let man = Man::new(command.clone())
        .title(name.to_uppercase())
        .source(format!("hornero {}", version::VERSION))
        .manual("Hornero");
    let mut page = Vec::new();
    man.render_title(&mut page)?;
    man.render_name_section(&mut page)?;
    man.render_synopsis_section(&mut page)?;
    man.render_description_section(&mut page)?;
    man.render_options_section(&mut page)?;
    if command.get_subcommands().next().is_some() {
        man.render_subcommands_section(&mut page)?;
    }
    if let Some(text) = command.get_after_long_help().or(command.get_after_help()) {
        page.extend_from_slice(sections(&text.to_string()).as_bytes());
    }
    if let Some(above) = above {
        page.extend_from_slice(format!(".SH \"SEE ALSO\"\n{}(1)\n", escaped(above)).as_bytes());
    }
    Ok(page)
}

/// The text after the options as sections of a page: `Example:` and the like head one, indented lines stay as they are.
fn sections(text: &str) -> String {
    let mut made = String::new();
    for paragraph in text.split("\n\n") {
        let (first, rest) = paragraph.split_once('\n').unwrap_or((paragraph, ""));
        let body = match first.strip_suffix(':').filter(|_| !rest.is_empty()) {
            Some(heading) => {
                // Writing into a String can't fail.
                let _ = writeln!(made, ".SH \"{}\"", escaped(&heading.to_uppercase()));
                rest
            }
            None => {
                made.push_str(if made.is_empty() { ".SH NOTES\n" } else { ".PP\n" });
                paragraph
            }
        };
        let kept = body.lines().any(|line| line.starts_with(' '));
        made.push_str(if kept { ".nf\n" } else { "" });
        for line in body.lines() {
            let _ = writeln!(made, "{}", escaped(line));
        }
        made.push_str(if kept { ".fi\n" } else { "" });
    }
    made
}

/// A line of text that roff prints as it is.
fn escaped(line: &str) -> String {
    let line = line.replace('\\', "\\e").replace('-', "\\-");
    // A line that begins so would be a request.
    if line.starts_with(['.', '\'']) { format!("\\&{line}") } else { line }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_has_a_page_and_nothing_hidden_has() {
        let pages = pages().unwrap();
        let page = |name: &str| {
            let found = pages.iter().find(|(page, _)| page == name);
            found.map(|(_, page)| String::from_utf8(page.clone()).unwrap())
        };
        for name in ["hornero.1", "hornero-up.1", "hornero-image.1", "hornero-image-why-kept.1"] {
            assert!(page(name).is_some(), "{name}");
        }
        assert!(page("hornero-help.1").is_none());
        let up = page("hornero-up.1").unwrap();
        assert!(up.contains(".SH \"EXAMPLES\"\n.nf\n  hornero up examples/site"), "{up}");
        assert!(up.contains(".SH \"SEE ALSO\"\nhornero(1)"), "{up}");
        assert!(!page("hornero-serve.1").unwrap().contains("crash"));
    }

    #[test]
    fn text_is_no_request() {
        let text = "Examples:\n  a -b 'c\\d'\n\n.first\n'second";
        assert_eq!(
            sections(text),
            ".SH \"EXAMPLES\"\n.nf\n  a \\-b 'c\\e'd'\n.fi\n.PP\n\\&.first\n\\&'second\n"
                .replace("\\e'd", "\\ed")
        );
    }
}
