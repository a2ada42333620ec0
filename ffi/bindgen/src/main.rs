//! Generates the bindings of `mfagate-ffi` from its built library: `mfagate-ffi-bindgen LANGUAGE
//! LIBRARY FOLDER`, or `surface LIBRARY FILE` for a list of all that they see. It has the version of
//! UniFFI that the library has: another one refuses it.
//!
//! What is generated for Kotlin is made `internal`: apps see the hand-written package only.

// `cargo xtask check` lints this package while it is built, where no flag can ask for it.
#![cfg_attr(clippy, deny(warnings))]

mod surface;

use std::error::Error;
use std::path::{Path, PathBuf};
use std::{env, fs};

use uniffi_bindgen::bindings::{GenerateOptions, TargetLanguage, generate as bindings};

/// Where the file for Kotlin is, by `package_name` of `uniffi.toml`.
const KOTLIN: &str = "mfagate/internal/mfagate.kt";

/// What may begin a declaration of Kotlin's at the top of a file.
const DECLARATIONS: &[&str] = &[
    "abstract ",
    "class ",
    "const ",
    "data ",
    "enum ",
    "fun ",
    "fun<",
    "inline ",
    "interface ",
    "object ",
    "open ",
    "sealed ",
    "suspend ",
    "typealias ",
    "val ",
    "var ",
];

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [language, library, folder] = arguments.as_slice() else {
        return Err(
            "usage: mfagate-ffi-bindgen kotlin|swift LIBRARY FOLDER, or surface LIBRARY FILE"
                .into(),
        );
    };
    let generate = |language| {
        bindings(GenerateOptions {
            languages: vec![language],
            source: library.as_str().into(),
            out_dir: folder.as_str().into(),
            ..GenerateOptions::default()
        })
    };
    match language.as_str() {
        "kotlin" => {
            generate(TargetLanguage::Kotlin)?;
            hide(&PathBuf::from(folder).join(KOTLIN))?;
        }
        "surface" => fs::write(folder, surface::of(library)?)?,
        "swift" => generate(TargetLanguage::Swift)?,
        _ => return Err("the languages are kotlin and swift".into()),
    }
    Ok(())
}

/// Makes every declaration of a file internal.
fn hide(path: &Path) -> Result<(), Box<dyn Error>> {
    let text = fs::read_to_string(path)?;
    let hidden: Vec<String> = text.lines().map(hidden).collect();
    fs::write(path, hidden.join("\n") + "\n")?;
    Ok(())
}

fn hidden(line: &str) -> String {
    let declared = line.strip_prefix("public ").unwrap_or(line);
    if DECLARATIONS.iter().any(|word| declared.starts_with(word)) {
        return format!("internal {declared}");
    }
    // Functions at the top have an annotation before them, and are indented; what else looks like
    // them is a member of what is internal anyway.
    if let Some(function) = line.strip_prefix("     suspend fun ") {
        return format!("internal suspend fun {function}");
    }
    line.replace("::class) fun ", "::class) internal fun ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn declarations_are_hidden_and_members_stay() {
        for (line, now) in [
            ("public class A {", "internal class A {"),
            ("interface B {", "internal interface B {"),
            (
                "    @Throws(E::class) fun `c`()",
                "    @Throws(E::class) internal fun `c`()",
            ),
            ("     suspend fun `d`()", "internal suspend fun `d`()"),
            ("    suspend fun `e`()", "    suspend fun `e`()"),
            (
                "    @Throws(E::class)override fun `f`()",
                "    @Throws(E::class)override fun `f`()",
            ),
        ] {
            assert_eq!(hidden(line), now);
        }
    }
}
