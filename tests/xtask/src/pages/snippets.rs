//! What a page quotes is cut from a file that is compiled and run.
//!
//! A page says which part of which file it quotes, in a comment above the fenced block:
//! `<!-- snippet: examples/rust/story_a.rs connect -->`. The file marks the part by the comments
//! `[snippet: connect]` and `[end]`, each on a line of its own, in its own language.

use super::push;
use crate::command::Failure;

const QUOTE: &str = "<!-- snippet: ";
const FENCE: &str = "```";

/// How a source is read.
pub(super) type Read<'a> = &'a dyn Fn(&str) -> Result<String, Failure>;

/// The page with each quoted block as its source has it.
pub(super) fn requoted(page: &str, read: Read<'_>) -> Result<String, Failure> {
    let mut new = String::new();
    let mut lines = page.lines();
    while let Some(line) = lines.next() {
        push(&mut new, line);
        let Some(quote) = line.strip_prefix(QUOTE) else {
            continue;
        };
        let wrong = || {
            Failure(format!(
                "`{line}` is no `{QUOTE}FILE NAME -->` above a block"
            ))
        };
        let words = quote.strip_suffix(" -->").ok_or_else(wrong)?;
        let (path, name) = words.split_once(' ').ok_or_else(wrong)?;
        let fence = lines.next().filter(|fence| fence.starts_with(FENCE));
        push(&mut new, fence.ok_or_else(wrong)?);
        for line in cut(&read(path)?, name)
            .ok_or_else(|| Failure(format!("{path} has no snippet `{name}` that ends")))?
        {
            push(&mut new, &line);
        }
        let end = lines.find(|line| *line == FENCE);
        push(&mut new, end.ok_or_else(wrong)?);
    }
    Ok(new)
}

/// The lines between the marks, without the indent that they share and without other marks.
fn cut(source: &str, name: &str) -> Option<Vec<String>> {
    let begin = format!("[snippet: {name}]");
    let mut lines = source.lines();
    lines.find(|line| line.trim_end().ends_with(&begin))?;
    let mut found = Vec::new();
    loop {
        let line = lines.next()?;
        if line.trim_end().ends_with("[end]") {
            break;
        }
        if !line.contains("[snippet: ") {
            found.push(line);
        }
    }
    let indent = |line: &&str| line.len() - line.trim_start().len();
    let written = found.iter().filter(|line| !line.trim().is_empty());
    let shared = written.map(indent).min()?;
    let dedented = found.iter().map(|line| line.get(shared..).unwrap_or(""));
    Some(dedented.map(|line| line.trim_end().to_owned()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOURCE: &str = "fn main() {\n    // [snippet: connect]\n    if up {\n\n        go();\n    }\n    // [end]\n}\n";

    fn page(block: &str) -> String {
        format!("# Title\n\n<!-- snippet: story.rs connect -->\n```rust\n{block}```\n\nMore.\n")
    }

    fn read(path: &str) -> Result<String, Failure> {
        if path == "story.rs" {
            Ok(SOURCE.to_owned())
        } else {
            Err(Failure(format!("{path} is not there")))
        }
    }

    #[test]
    fn a_block_is_what_its_source_says_without_the_shared_indent() {
        let right = page("if up {\n\n    go();\n}\n");
        assert_eq!(requoted(&page("old\n"), &read).unwrap(), right);
        assert_eq!(requoted(&right, &read).unwrap(), right);
    }

    #[test]
    fn a_quote_of_nothing_fails() {
        for (right, wrong) in [
            ("story.rs", "other.rs"),
            ("connect -->", "other -->"),
            ("```rust\n", "rust\n"),
            ("story.rs connect", "story.rs"),
        ] {
            let page = page("old\n").replace(right, wrong);
            assert!(requoted(&page, &read).is_err(), "{page}");
        }
        let unended = |_: &str| Ok("// [snippet: connect]\nup();\n".to_owned());
        assert!(requoted(&page("old\n"), &unended).is_err());
    }
}
