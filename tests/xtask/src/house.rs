//! Rules of the house that no lint of the compiler covers.

use std::collections::{BTreeMap, BTreeSet};
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

/// Macros that write a log line.
const LOGS: &[&str] = &["trace", "debug", "info", "warn", "error"];

/// How many lines after it is handed over a log line is written at the most.
const HANDED_OVER_WITHIN: usize = 4;

/// Words of the bindings, which the core must not know.
const BINDINGS: &[&str] = &["uniffi", "pyo3"];

/// Names of this project's first vocabulary, which its readers had to learn. They don't come back:
/// what stands in their place is what other programs of the field say.
const OLD_NAMES: &[&str] = &[
    "Consume",
    "Handmade",
    "Knocked",
    "Moody",
    "Obstinate",
    "OnTheSystem",
    "Scene",
    "Swap",
    "Whereabouts",
    "Wish",
];

/// Words that readers had to read twice, each with what to write in its place.
const OLD_PROSE: &[(&str, &str)] = &[
    ("all the same", "still"),
    ("anew", "again"),
    ("at hand", "available"),
    ("besides", "apart from"),
    ("came about", "happened"),
    ("comes about", "happens"),
    ("for ever", "forever"),
    ("mend", "fix"),
    ("mended", "fixed"),
    ("mends", "fixes"),
    ("nobody", "no one"),
    ("somebody", "someone"),
    ("whoever", "anyone who"),
];

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
            "no thread of the core waits for a log line",
            first_fault(&core, logs_at_once),
        ),
        (
            "the core does not know its bindings",
            first_fault(&core, names_a_binding),
        ),
        (
            "no circle between the modules of the core",
            circles(&uses(&core)),
        ),
        (
            "no path of a machine",
            first_fault(&all.iter().collect::<Vec<_>>(), names_a_machine),
        ),
        (
            "no name of the old vocabulary",
            first_fault(&all.iter().collect::<Vec<_>>(), old_name),
        ),
        (
            "plain prose",
            first_fault(&all.iter().collect::<Vec<_>>(), old_prose),
        ),
        (
            "every crate takes the workspace's lints",
            first_fault(&all.iter().collect::<Vec<_>>(), own_lints),
        ),
        (
            "decision records are listed in order",
            decision_records(&all),
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

    /// Whether it is this file.
    fn lists_old_words(&self) -> bool {
        self.path.ends_with("xtask/src/house.rs")
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

/// The table in `docs/adr/README.md` has a row for each record, in order, with the record's heading.
fn decision_records(texts: &[Text]) -> Result<(), Failure> {
    let records = texts
        .iter()
        .filter(|text| text.path.starts_with("docs/adr"));
    let (tables, records): (Vec<_>, Vec<_>) =
        records.partition(|text| text.path.ends_with("README.md"));
    let expected: Vec<String> = records.into_iter().map(row_of).collect::<Result<_, _>>()?;
    let table = tables.first().map_or("", |text| text.content.as_str());
    let rows: Vec<&str> = table
        .lines()
        .filter(|line| line.starts_with("| ["))
        .collect();
    if rows == expected {
        return Ok(());
    }
    Err(Failure(format!(
        "docs/adr/README.md should have these rows:\n{}",
        expected.join("\n")
    )))
}

/// The row of a record, by its name and its heading, which is `# NUMBER. TITLE`.
fn row_of(record: &Text) -> Result<String, Failure> {
    let file = record
        .path
        .file_name()
        .unwrap_or_default()
        .to_string_lossy();
    let number = file.get(..4).unwrap_or_default();
    let heading = record.content.lines().next().unwrap_or_default();
    let title = heading.strip_prefix(&format!("# {}. ", number.trim_start_matches('0')));
    title
        .map(|title| format!("| [{number}]({file}) | {title} |"))
        .ok_or_else(|| Failure(format!("docs/adr/{file} begins with {heading:?}")))
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

/// A line that is not handed to the log's own thread: a subscriber that blocks would hold up the
/// thread that calls it, and with enough of them every removal.
fn logs_at_once(text: &Text) -> Option<String> {
    let path = text.path.to_string_lossy();
    // The thread itself, and what only tests run.
    if path.ends_with("src/log.rs") || path.contains("/testing/") || path.contains("/tests") {
        return None;
    }
    let lines: Vec<&str> = text.content.lines().collect();
    let is_logged = |line: &str| {
        let is_code = !line.trim_start().starts_with("//");
        is_code
            && LOGS
                .iter()
                .any(|level| line.contains(&format!("tracing::{level}!(")))
    };
    (0..lines.len()).find_map(|at| {
        let line = lines.get(at).filter(|line| is_logged(line))?;
        let before = lines.get(at.saturating_sub(HANDED_OVER_WITHIN)..=at)?;
        let is_handed_over = before.iter().any(|line| line.contains("later("));
        (!is_handed_over).then(|| format!("line {}: {}: `log::later`", at + 1, line.trim()))
    })
}

fn names_a_binding(text: &Text) -> Option<String> {
    let word = BINDINGS.iter().find(|word| text.content.contains(**word))?;
    Some(format!("mentions `{word}`"))
}

/// Which module at the top of the core names which, outside tests and comments. A `pub use` of
/// `runtime` is a door's: it hands on, and what it hands on is not used there.
fn uses(core: &[&Text]) -> BTreeMap<String, BTreeSet<String>> {
    let mut uses: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for text in core {
        let path = text.path.strip_prefix("core/src").unwrap_or(&text.path);
        let parts: Vec<_> = path.iter().filter_map(|part| part.to_str()).collect();
        let is_test = parts
            .iter()
            .any(|part| part.trim_end_matches(".rs") == "tests");
        let Some(module) = parts.first().filter(|_| !is_test) else {
            continue;
        };
        let module = module.trim_end_matches(".rs");
        let own = text.content.split("#[cfg(test)]\nmod tests {").next();
        let lines = own.unwrap_or_default().lines().map(str::trim_start);
        for line in lines.filter(|line| !line.starts_with("//")) {
            if module == "lib" || line.starts_with("pub use crate::runtime::") {
                continue;
            }
            for rest in line.split("crate::").skip(1) {
                let end = rest.find(|c: char| !(c.is_ascii_lowercase() || c == '_'));
                let name = &rest[..end.unwrap_or(rest.len())];
                if name != module && !name.is_empty() {
                    uses.entry(module.to_owned())
                        .or_default()
                        .insert(name.to_owned());
                }
            }
        }
    }
    uses
}

/// Fails where a module is reached from itself.
fn circles(uses: &BTreeMap<String, BTreeSet<String>>) -> Result<(), Failure> {
    let reached = |from: &String| {
        let mut reached = BTreeSet::new();
        let mut next: Vec<&String> = uses.get(from).into_iter().flatten().collect();
        while let Some(module) = next.pop() {
            if reached.insert(module) {
                next.extend(uses.get(module).into_iter().flatten());
            }
        }
        reached
    };
    let circle: Vec<&str> = uses
        .keys()
        .filter(|module| reached(module).contains(module))
        .map(String::as_str)
        .collect();
    if circle.is_empty() {
        return Ok(());
    }
    Err(Failure(format!(
        "these use each other in a circle: {}; move what they share below them",
        circle.join(", ")
    )))
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

fn old_name(text: &Text) -> Option<String> {
    if !text.is_rust() || text.lists_old_words() {
        return None;
    }
    let name = OLD_NAMES
        .iter()
        .find(|name| has_word(&text.content, name))?;
    Some(format!("`{name}` is back"))
}

fn old_prose(text: &Text) -> Option<String> {
    let is_prose = text.is_rust() || text.path.extension().is_some_and(|it| it == "md");
    if !is_prose || text.lists_old_words() {
        return None;
    }
    text.content.lines().enumerate().find_map(|(number, line)| {
        let line = line.to_lowercase();
        let (old, new) = OLD_PROSE.iter().find(|(old, _)| has_word(&line, old))?;
        Some(format!("line {}: `{old}`, for `{new}`", number + 1))
    })
}

/// Whether a word, or words, stand in a text: not as a part of longer ones, of a mail address, or at
/// the end of a string, where it is a name.
fn has_word(text: &str, word: &str) -> bool {
    let is_part = |c: char| c.is_alphanumeric() || c == '_';
    text.match_indices(word).any(|(at, _)| {
        let before = text.get(..at).and_then(|it| it.chars().next_back());
        let after = text.get(at + word.len()..).and_then(|it| it.chars().next());
        !before.is_some_and(is_part) && !after.is_some_and(|c| is_part(c) || "\"@".contains(c))
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

    #[test]
    fn decision_records_out_of_order_or_misnamed_fail() {
        let text = |name: &str, content: &str| Text {
            path: Path::new("docs/adr").join(name),
            content: content.to_owned(),
        };
        let records = |table: &str, second: &str| {
            decision_records(&[
                text("0001-one.md", "# 1. One\n\nText"),
                text("0012-two.md", second),
                text(
                    "README.md",
                    &format!("# Records\n\n| | |\n|---|---|\n{table}"),
                ),
            ])
        };
        let (one, two) = (
            "| [0001](0001-one.md) | One |\n",
            "| [0012](0012-two.md) | Two |\n",
        );
        assert!(records(&format!("{one}{two}"), "# 12. Two").is_ok());
        assert!(records(&format!("{two}{one}"), "# 12. Two").is_err());
        assert!(records(one, "# 12. Two").is_err());
        assert!(records(&format!("{one}{two}{two}"), "# 12. Two").is_err());
        assert!(records(&format!("{one}{two}"), "# 12. Three").is_err());
        assert!(records(&format!("{one}{two}"), "# 0012: Two").is_err());
    }

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
    fn modules_that_use_each_other_are_a_fault() {
        let seal = "//! of crate::store\nuse crate::key::Key;\n";
        let test = "#[cfg(test)]\nmod tests {\n    use crate::store::Store;\n}\n";
        let files = [
            text("core/src/seal.rs", format!("{seal}{test}")),
            text(
                "core/src/seal/tests.rs",
                "use crate::store::Store;\n".to_owned(),
            ),
            text(
                "core/src/store/mod.rs",
                "use crate::audit::Record;\n".to_owned(),
            ),
            text(
                "core/src/audit/mod.rs",
                "use crate::seal::KeyId;\n".to_owned(),
            ),
            text(
                "core/src/gate/mod.rs",
                "pub use crate::runtime::Gate;\n".to_owned(),
            ),
            text(
                "core/src/runtime/mod.rs",
                "use crate::gate::Machine;\n".to_owned(),
            ),
        ];
        let none: Vec<&Text> = files.iter().collect();
        assert!(circles(&uses(&none)).is_ok());
        let inline = "fn of(record: &crate::store::Record) {}\n".to_owned();
        let back = text("core/src/seal/row.rs", inline);
        let one: Vec<&Text> = files.iter().chain([&back]).collect();
        let fault = circles(&uses(&one)).unwrap_err().0;
        assert!(fault.contains("audit, seal, store"), "{fault}");
    }

    #[test]
    fn a_log_line_on_a_callers_thread_is_a_fault() {
        let at = |path: &str, line: &str| logs_at_once(&text(path, line.to_owned()));
        assert!(at("core/src/a.rs", "tracing::warn!(\"x\");").is_some());
        assert!(
            at(
                "core/src/a.rs",
                "log::later(|| {\n tracing::warn!(\"x\");\n});"
            )
            .is_none()
        );
        assert!(at("core/src/a.rs", "/// tracing::warn!(\"x\");").is_none());
        assert!(at("core/src/testing/a.rs", "tracing::warn!(\"x\");").is_none());
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
    fn a_word_of_the_old_vocabulary_is_a_fault() {
        assert!(old_name(&text("a.rs", "struct Wish;".to_owned())).is_some());
        assert!(old_name(&text("a.rs", "struct Wishes;".to_owned())).is_none());
        for (old, _) in OLD_PROSE {
            let sentence = format!("/// What {old} is.");
            assert!(old_prose(&text("a.rs", sentence.clone())).is_some());
            assert!(old_prose(&text("a.toml", sentence)).is_none());
        }
        assert!(old_prose(&text("a.md", "Amendments, no_one and nobodys".to_owned())).is_none());
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
