//! `cargo xtask api`: what is public, one line for each item, so that a change of it shows in the
//! diff.
//!
//! What counts is what a program can name without the feature `testing`, with all other features:
//! each module, type, trait, function, constant, variant, public field of a struct, public method or
//! associated constant, and item of a trait, once, by whichever path. Not counted: what a trait's
//! implementation has, a variant's own fields (they are in the variant's line), another path to what
//! is counted already (a line that begins with `use`), and what is `#[doc(hidden)]`.
//!
//! It is read from rustdoc's JSON, which a stable toolchain writes only when told that it is
//! another: a wrapper tells rustdoc so, and no one else, since build scripts ask for it too.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use serde_json::Value;

use crate::command::{self, Failure, cargo, workspace};

/// The most items that may be public. The aim is 1,200; above that are mostly the variants of events
/// and the fields of records, which can go only with another design of them. Lower it where that is
/// done; never raise it without a reason in the commit.
const MOST: usize = 1_790;

/// The snapshot, beside the sources that it is of.
const SNAPSHOT: &str = "core/api.txt";

/// Modules of the crate that a program has by the feature `testing` only.
const NOT_COUNTED: &[&str] = &["testing"];

/// Writes the snapshot.
pub(crate) fn run() -> Result<(), Failure> {
    document()?;
    let api = Api::read()?;
    fs::write(workspace().join(SNAPSHOT), api.text())
        .map_err(|error| Failure(format!("{SNAPSHOT}: {error}")))?;
    println!("{} public items in {SNAPSHOT}", api.count());
    api.within(MOST)
}

/// Builds the documentation: every link in it is checked, and what is public is written down.
pub(crate) fn document() -> Result<(), Failure> {
    let rustdoc = wrapper()?;
    command::run(
        cargo("doc --workspace --exclude mfagate-ffi-bindgen --all-features --no-deps --document-private-items")
            .env("RUSTDOC", rustdoc)
            .env(
                "RUSTDOCFLAGS",
                "-D warnings -A rustdoc::private_intra_doc_links -Z unstable-options --output-format json",
            ),
    )
}

/// Judges what [`document`] has written down against the snapshot and the limit.
pub(crate) fn check() -> Result<(), Failure> {
    let api = Api::read()?;
    let snapshot = fs::read_to_string(workspace().join(SNAPSHOT)).unwrap_or_default();
    if api.text() != snapshot {
        return Err(Failure(format!(
            "what is public differs from {SNAPSHOT}: run `cargo xtask api`, and look at the diff"
        )));
    }
    api.within(MOST)
}

/// A program that is rustdoc with its unstable options.
fn wrapper() -> Result<PathBuf, Failure> {
    let folder = workspace().join("target/xtask");
    let path = folder.join("rustdoc");
    let script = "#!/bin/sh\nRUSTC_BOOTSTRAP=1 exec rustdoc \"$@\"\n";
    let written = fs::create_dir_all(&folder)
        .and_then(|()| fs::write(&path, script))
        .and_then(|()| fs::set_permissions(&path, fs::Permissions::from_mode(0o755)));
    written.map_err(|error| Failure(format!("{}: {error}", path.display())))?;
    Ok(path)
}

/// What is public: the items by their paths, and other paths to them.
#[derive(Debug, Default)]
struct Api {
    items: BTreeSet<String>,
    uses: BTreeSet<String>,
}

impl Api {
    fn read() -> Result<Self, Failure> {
        let path = workspace().join("target/doc/mfagate.json");
        let broken = |why: String| Failure(format!("{}: {why}", path.display()));
        let text = fs::read_to_string(&path).map_err(|error| broken(error.to_string()))?;
        let json: Value = serde_json::from_str(&text).map_err(|error| broken(error.to_string()))?;
        let api = Self::of(&json);
        if api.items.is_empty() {
            return Err(broken(
                "nothing is public in it, or its format is new".to_owned(),
            ));
        }
        Ok(api)
    }

    fn of(json: &Value) -> Self {
        let mut walk = Walk {
            index: &json["index"],
            paths: BTreeMap::new(),
        };
        walk.module(&json["root"], "mfagate");
        let mut api = Self::default();
        for (id, mut paths) in walk.paths {
            // The longest path is where the item is at home.
            paths.sort_by_key(|path| (std::cmp::Reverse(path.matches("::").count()), path.clone()));
            paths.dedup();
            let mut paths = paths.into_iter();
            let Some(home) = paths.next() else { continue };
            api.uses
                .extend(paths.map(|path| format!("use {path} = {home}")));
            describe(&json["index"], &json["index"][&id], &home, &mut api.items);
        }
        api
    }

    fn count(&self) -> usize {
        self.items.len()
    }

    fn text(&self) -> String {
        let count = format!("{} public items", self.count());
        let lines = [&count].into_iter().chain(&self.items).chain(&self.uses);
        lines.flat_map(|line| [line, "\n"]).collect()
    }

    fn within(&self, most: usize) -> Result<(), Failure> {
        let count = self.count();
        if count <= most {
            return Ok(());
        }
        Err(Failure(format!(
            "{count} items are public, and at most {most} may be: make some private"
        )))
    }
}

/// The way from the crate's root to everything that can be named.
struct Walk<'a> {
    index: &'a Value,
    paths: BTreeMap<String, Vec<String>>,
}

impl Walk<'_> {
    fn module(&mut self, id: &Value, path: &str) {
        let module = &self.index[id.to_string()];
        for child in children(&module["inner"]["module"], "items") {
            self.item(child, path);
        }
    }

    fn item(&mut self, id: &Value, parent: &str) {
        let item = &self.index[id.to_string()];
        if item["visibility"] != "public" {
            return;
        }
        let reexport = &item["inner"]["use"];
        if reexport["is_glob"] == true {
            return self.module(&reexport["id"], parent);
        }
        let name = reexport["name"].as_str().or_else(|| item["name"].as_str());
        let Some(name) = name else { return };
        if parent == "mfagate" && NOT_COUNTED.contains(&name) {
            return;
        }
        let id = if reexport.is_object() {
            &reexport["id"]
        } else {
            id
        };
        let path = format!("{parent}::{name}");
        if self.index[id.to_string()]["inner"]["module"].is_object() {
            self.module(id, &path);
        }
        self.paths.entry(id.to_string()).or_default().push(path);
    }
}

/// The lines of one item and of what belongs to it.
fn describe(index: &Value, item: &Value, path: &str, lines: &mut BTreeSet<String>) {
    let Some((kind, inner)) = item["inner"]
        .as_object()
        .and_then(|inner| inner.iter().next())
    else {
        // An item of another crate that this one hands on.
        lines.insert(format!("use {path}"));
        return;
    };
    let kind = kind.as_str();
    lines.insert(format!("{} {path}", word(kind)));
    let named = |id: &Value| index[id.to_string()]["name"].as_str().map(str::to_owned);
    let is_public = |id: &&Value| index[id.to_string()]["visibility"] == "public";
    let fields = [
        children(&inner["kind"]["plain"], "fields"),
        children(&inner["kind"], "tuple"),
        children(inner, "fields"),
    ];
    for field in fields.into_iter().flatten().filter(is_public) {
        let name = named(field).unwrap_or_default();
        lines.insert(format!("field {path}::{name}"));
    }
    for variant in children(inner, "variants") {
        let shape = &index[variant.to_string()]["inner"]["variant"]["kind"];
        let own: Vec<String> = children(&shape["struct"], "fields")
            .iter()
            .filter_map(named)
            .collect();
        let own = match (own.is_empty(), children(shape, "tuple").len()) {
            (false, _) => format!(" {{ {} }}", own.join(", ")),
            (true, 0) => String::new(),
            (true, fields) => format!(" ({fields})"),
        };
        let name = named(variant).unwrap_or_default();
        lines.insert(format!("variant {path}::{name}{own}"));
    }
    let of_trait = if kind == "trait" {
        children(inner, "items")
    } else {
        &[]
    };
    for part in of_trait {
        describe_part(&index[part.to_string()], path, lines);
    }
    for block in children(inner, "impls") {
        let block = &index[block.to_string()]["inner"]["impl"];
        if kind != "trait" && block["trait"].is_null() {
            for part in children(block, "items").iter().filter(is_public) {
                describe_part(&index[part.to_string()], path, lines);
            }
        }
    }
}

/// A method, or an associated constant or type, with the names of what it takes.
fn describe_part(part: &Value, path: &str, lines: &mut BTreeSet<String>) {
    let kind = part["inner"]
        .as_object()
        .and_then(|inner| inner.keys().next());
    let name = part["name"].as_str().unwrap_or_default();
    let kind = word(kind.map_or("", String::as_str));
    lines.insert(format!("{kind} {path}::{name}"));
}

/// A kind of item as the language has it.
fn word(kind: &str) -> &str {
    match kind {
        "function" => "fn",
        "module" => "mod",
        "constant" | "assoc_const" => "const",
        "type_alias" | "assoc_type" => "type",
        other => other,
    }
}

fn children<'a>(value: &'a Value, name: &str) -> &'a [Value] {
    value[name].as_array().map_or(&[], Vec::as_slice)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn item(name: &str, visibility: &str, inner: Value) -> Value {
        json!({ "name": name, "visibility": visibility, "inner": inner })
    }

    /// A crate with a private module, whose type the root and a module hand on.
    fn sample() -> Value {
        let of =
            |trait_: Value, items: Value| json!({ "impl": { "trait": trait_, "items": items } });
        json!({ "root": 0, "index": {
            "0": item("mfagate", "public", json!({ "module": { "items": [1, 2, 3, 20] } })),
            "1": item("inside", "crate", json!({ "module": { "items": [4] } })),
            "2": item("door", "public", json!({ "module": { "items": [5, 6] } })),
            "3": item("", "public", json!({ "use": { "name": "Gate", "id": 4, "is_glob": false } })),
            "4": item("Gate", "public", json!({ "struct": {
                "kind": { "plain": { "fields": [7, 8] } }, "impls": [9, 10] } })),
            "5": item("", "public", json!({ "use": { "name": "Gate", "id": 4, "is_glob": false } })),
            "6": item("Why", "public", json!({ "enum": { "variants": [11, 12], "impls": [] } })),
            "7": item("open", "public", json!({ "struct_field": {} })),
            "8": item("secret", "default", json!({ "struct_field": {} })),
            "9": item("", "default", of(Value::Null, json!([13, 14]))),
            "10": item("", "default", of(json!({}), json!([15]))),
            "11": item("Late", "default", json!({ "variant": { "kind": "plain" } })),
            "12": item("Full", "default", json!({ "variant": { "kind": { "struct": { "fields": [16] } } } })),
            "13": item("start", "public", json!({ "function": {} })),
            "14": item("wake", "crate", json!({ "function": {} })),
            "15": item("clone", "default", json!({ "function": {} })),
            "16": item("until", "default", json!({ "struct_field": {} })),
            "20": item("testing", "public", json!({ "module": { "items": [6] } })),
        } })
    }

    #[test]
    fn each_public_item_has_one_line_by_its_longest_path() {
        let api = Api::of(&sample());
        let lines = [
            "7 public items",
            "enum mfagate::door::Why",
            "field mfagate::door::Gate::open",
            "fn mfagate::door::Gate::start",
            "mod mfagate::door",
            "struct mfagate::door::Gate",
            "variant mfagate::door::Why::Full { until }",
            "variant mfagate::door::Why::Late",
            "use mfagate::Gate = mfagate::door::Gate",
        ];
        assert_eq!(api.text(), lines.map(|line| format!("{line}\n")).concat());
    }

    #[test]
    fn more_items_than_the_limit_are_a_failure() {
        let api = Api::of(&sample());
        assert!(api.within(7).is_ok());
        assert!(api.within(6).is_err());
    }
}
