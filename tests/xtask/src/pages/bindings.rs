//! The table of what works in which language, from `bindings.yaml`.
//!
//! A cell of the table is the test that shows it: without a test in a language the cell is empty.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::push;
use super::snippets::Read;
use crate::command::Failure;

/// What works where, and which test shows it.
const SOURCE: &str = "bindings.yaml";

/// Between these lines of a page stands the table.
const BEGIN: &str = "<!-- bindings -->";
const END: &str = "<!-- end of bindings -->";

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Source {
    /// What stands above each column, by the name that the features below use.
    languages: Vec<Language>,
    features: Vec<Feature>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Language {
    id: String,
    title: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Feature {
    feature: String,
    /// For each language a file and the name of a test in it.
    tests: BTreeMap<String, String>,
}

/// The page with the table as the source has it now.
pub(super) fn relisted(page: &str, read: Read<'_>) -> Result<String, Failure> {
    let Some((before, rest)) = page.split_once(BEGIN) else {
        return Ok(page.to_owned());
    };
    let (_, after) = rest
        .split_once(END)
        .ok_or_else(|| Failure(format!("after `{BEGIN}` there is no `{END}`")))?;
    let table = table(&read(SOURCE)?, read)?;
    Ok(format!("{before}{BEGIN}\n{table}{END}{after}"))
}

fn table(yaml: &str, read: Read<'_>) -> Result<String, Failure> {
    let source: Source =
        serde_saphyr::from_str(yaml).map_err(|error| Failure(format!("{SOURCE}: {error}")))?;
    let titles = source.languages.iter().map(|language| &*language.title);
    let titles: Vec<&str> = titles.collect();
    let mut table = String::new();
    push(&mut table, &format!("| | {} |", titles.join(" | ")));
    push(&mut table, &format!("|---|{}", ":-:|".repeat(titles.len())));
    for feature in &source.features {
        let cells = cells(feature, &source.languages, read)?;
        let row = format!("| {} | {} |", feature.feature, cells.join(" | "));
        push(&mut table, &row);
    }
    Ok(table)
}

fn cells(
    feature: &Feature,
    languages: &[Language],
    read: Read<'_>,
) -> Result<Vec<&'static str>, Failure> {
    let name = &feature.feature;
    let wrong = |why: String| Failure(format!("{SOURCE}: “{name}”: {why}"));
    for (language, test) in &feature.tests {
        if languages.iter().all(|known| known.id != *language) {
            return Err(wrong(format!("there is no language `{language}`")));
        }
        let parts = test.split_once(' ');
        let (path, test) =
            parts.ok_or_else(|| wrong(format!("`{test}` is no file and a test's name")))?;
        if !read(path)?.contains(test) {
            return Err(wrong(format!("{path} has no test `{test}`")));
        }
    }
    let cell = |language: &Language| match feature.tests.get(&language.id) {
        Some(_) => "yes",
        None => "",
    };
    Ok(languages.iter().map(cell).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    const YAML: &str = "languages:\n  - {id: rust, title: Rust}\n  - {id: swift, title: Swift}\nfeatures:\n  - feature: Connect\n    tests:\n      rust: tests/a.rs a_code_connects\n";
    const PAGE: &str = "# Title\n\n<!-- bindings -->\nold\n<!-- end of bindings -->\n\nMore.\n";

    fn relisted_from(yaml: &str) -> Result<String, Failure> {
        relisted(PAGE, &|path| match path {
            SOURCE => Ok(yaml.to_owned()),
            "tests/a.rs" => Ok("fn a_code_connects() {}".to_owned()),
            other => Err(Failure(format!("{other} is not there"))),
        })
    }

    #[test]
    fn a_feature_without_a_test_has_an_empty_cell() {
        let page = relisted_from(YAML).unwrap();
        assert!(page.contains("| Connect | yes |  |\n<!-- end"), "{page}");
        assert!(page.starts_with("# Title") && page.ends_with("More.\n"));
    }

    #[test]
    fn a_test_that_is_not_there_fails() {
        for (right, wrong) in [
            ("a_code_connects", "another"),
            ("tests/a.rs", "tests/b.rs"),
            ("a.rs a_code", "a.rs"),
            ("rust: tests", "java: tests"),
            ("feature:", "features:"),
        ] {
            let yaml = YAML.replace(right, wrong);
            assert_ne!(yaml, YAML);
            assert!(relisted_from(&yaml).is_err(), "{yaml}");
        }
    }

    #[test]
    fn a_page_without_a_table_stays_as_it_is() {
        let untouched = |_: &str| Err(Failure("nothing is read".to_owned()));
        assert_eq!(relisted("# Title\n", &untouched).unwrap(), "# Title\n");
    }
}
