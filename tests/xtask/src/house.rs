//! Rules of the house that no lint of the compiler covers.

use std::fs;
use std::path::{Path, PathBuf};

use crate::command::{Failure, workspace};

/// A source file of the library is split before it gets longer than this.
const MOST_LINES: usize = 600;

/// Folders that hold nothing of ours.
const NOT_OURS: &[&str] = &[
    "target",
    ".git",
    ".venv",
    "node_modules",
    "corpus",
    "artifacts",
];

/// Folders at the top of a machine in which people keep their own things.
const PLACES: &[&str] = &["home", "root", "Users", "work"];

/// Words of the bindings, which the core must not know.
const BINDINGS: &[&str] = &["uniffi", "pyo3"];

/// Every rule with its outcome.
pub(crate) fn checks() -> Vec<(&'static str, Result<(), Failure>)> {
    let top = workspace();
    let all = texts(&top);
    let core: Vec<&Text> = all
        .iter()
        .filter(|text| text.path.starts_with("core/src") && text.is_rust())
        .collect();
    let found = if core.is_empty() {
        Err(Failure("no source found under core/src".to_owned()))
    } else {
        Ok(())
    };
    vec![
        ("the sources are found", found),
        (
            "no file of the core is over 600 lines",
            first_fault(&core, too_long),
        ),
        (
            "the core does not know its bindings",
            first_fault(&core, names_a_binding),
        ),
        (
            "no path of a machine",
            first_fault(&all.iter().collect::<Vec<_>>(), names_a_machine),
        ),
        (
            "every crate takes the workspace's lints",
            first_fault(&all.iter().collect::<Vec<_>>(), own_lints),
        ),
    ]
}

/// A text file and its place under the top of the workspace.
struct Text {
    path: PathBuf,
    content: String,
}

impl Text {
    fn is_rust(&self) -> bool {
        self.path
            .extension()
            .is_some_and(|extension| extension == "rs")
    }
}

/// Every text file, in the order of their paths; what is not UTF-8 is left out.
fn texts(top: &Path) -> Vec<Text> {
    let mut files = Vec::new();
    let mut folders = vec![top.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
            let path = entry.path();
            let is_ours = !NOT_OURS.iter().any(|name| entry.file_name() == *name);
            // A link could lead out of the project or in a circle.
            match entry.file_type() {
                Ok(kind) if kind.is_dir() && is_ours => folders.push(path),
                Ok(kind) if kind.is_file() && is_ours => files.push(path),
                _ => {}
            }
        }
    }
    files.sort();
    files
        .into_iter()
        .filter_map(|path| {
            let content = fs::read_to_string(&path).ok()?;
            let path = path.strip_prefix(top).ok()?.to_path_buf();
            Some(Text { path, content })
        })
        .collect()
}

fn first_fault(texts: &[&Text], fault: fn(&Text) -> Option<String>) -> Result<(), Failure> {
    let faults: Vec<String> = texts
        .iter()
        .filter_map(|text| Some(format!("{}: {}", text.path.display(), fault(text)?)))
        .collect();
    if faults.is_empty() {
        Ok(())
    } else {
        Err(Failure(faults.join("; ")))
    }
}

fn too_long(text: &Text) -> Option<String> {
    let lines = text.content.lines().count();
    (lines > MOST_LINES).then(|| format!("{lines} lines: split it"))
}

fn names_a_binding(text: &Text) -> Option<String> {
    let word = BINDINGS.iter().find(|word| text.content.contains(**word))?;
    Some(format!("mentions `{word}`"))
}

fn names_a_machine(text: &Text) -> Option<String> {
    let (number, line) = text
        .content
        .lines()
        .enumerate()
        .find(|(_, line)| has_machine_path(line))?;
    Some(format!("line {}: {}", number + 1, line.trim()))
}

/// Whether an absolute path into a place of [`PLACES`] begins anywhere in the line.
fn has_machine_path(line: &str) -> bool {
    PLACES.iter().any(|place| {
        let start = format!("/{place}/");
        line.match_indices(&start).any(|(at, _)| {
            // Inside a longer path or an address it is not at the top of a machine.
            let before = line.get(..at).and_then(|text| text.chars().next_back());
            before.is_none_or(|c| !(c.is_alphanumeric() || "._-~*}$>/".contains(c)))
        })
    })
}

fn own_lints(text: &Text) -> Option<String> {
    let is_manifest = text
        .path
        .file_name()
        .is_some_and(|name| name == "Cargo.toml");
    let is_crate = text.content.contains("[package]");
    // A fuzz crate is a workspace of its own, as cargo-fuzz wants it.
    let is_member = !text.content.contains("[workspace]");
    let takes = text.content.contains("[lints]\nworkspace = true");
    (is_manifest && is_crate && is_member && !takes)
        .then(|| "add `[lints]` with `workspace = true`".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(path: &str, content: String) -> Text {
        Text {
            path: path.into(),
            content,
        }
    }

    #[test]
    fn a_file_over_600_lines_is_a_fault() {
        assert!(too_long(&text("a.rs", "x\n".repeat(600))).is_none());
        assert!(too_long(&text("a.rs", "x\n".repeat(601))).is_some());
    }

    #[test]
    fn a_path_of_a_machine_is_a_fault() {
        for place in PLACES {
            for line in [
                format!("/{place}/me/x"),
                format!("see `/{place}/x`"),
                format!("a=\"/{place}/x\""),
            ] {
                assert!(has_machine_path(&line), "{line}");
            }
            for line in [
                format!("https://a.example/{place}/x"),
                format!("./{place}/x"),
            ] {
                assert!(!has_machine_path(&line), "{line}");
            }
        }
    }

    #[test]
    fn a_crate_without_the_workspaces_lints_is_a_fault() {
        let bare = "[package]\nname = \"x\"\n".to_owned();
        assert!(own_lints(&text("x/Cargo.toml", bare.clone())).is_some());
        let linted = format!("{bare}\n[lints]\nworkspace = true\n");
        assert!(own_lints(&text("x/Cargo.toml", linted)).is_none());
    }

    #[test]
    fn the_walk_finds_this_file() {
        let all = texts(&workspace());
        assert!(
            all.iter()
                .any(|text| text.path.ends_with("xtask/src/house.rs"))
        );
        assert!(all.iter().all(|text| !text.path.starts_with("target")));
    }
}
