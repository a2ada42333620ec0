//! `cargo xtask pages`: what pages quote and list, written again from its sources.

mod bindings;
mod snippets;

use std::fs;
use std::path::{Path, PathBuf};

use crate::command::{Failure, output, program, workspace};

/// Puts what the sources say now into the pages.
pub(crate) fn write() -> Result<(), Failure> {
    for page in pages()? {
        let (old, new) = renewed(&page)?;
        if new != old {
            println!("{}", page.display());
            let written = fs::write(workspace().join(&page), new);
            written.map_err(|error| failed(&page, &error))?;
        }
    }
    Ok(())
}

/// Judges whether every page says what its sources say now.
pub(crate) fn check() -> Result<(), Failure> {
    for page in pages()? {
        let (old, new) = renewed(&page)?;
        if new != old {
            return Err(Failure(format!(
                "{} differs from what it quotes or lists: run `cargo xtask pages`",
                page.display()
            )));
        }
    }
    Ok(())
}

/// The pages of the project, as git knows them.
fn pages() -> Result<Vec<PathBuf>, Failure> {
    let listed = output(program("git").args(["ls-files", "*.md"]))?;
    Ok(listed.lines().map(PathBuf::from).collect())
}

/// A page as it is and as it should be.
fn renewed(page: &Path) -> Result<(String, String), Failure> {
    let old = read(page)?;
    let new = snippets::requoted(&old, &|path| read(Path::new(path)))
        .and_then(|page| bindings::relisted(&page, &|path| read(Path::new(path))))
        .map_err(|Failure(why)| Failure(format!("{}: {why}", page.display())))?;
    Ok((old, new))
}

fn read(path: &Path) -> Result<String, Failure> {
    fs::read_to_string(workspace().join(path)).map_err(|error| failed(path, &error))
}

fn failed(path: &Path, error: &std::io::Error) -> Failure {
    Failure(format!("{}: {error}", path.display()))
}

fn push(text: &mut String, line: &str) {
    text.push_str(line);
    text.push('\n');
}
