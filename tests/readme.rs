//! The README and the crate's documentation show the same code.
#![allow(clippy::unwrap_used, reason = "a test that panics is a test that fails")]

#[test]
fn the_readme_shows_the_example_of_the_crate_docs() {
    let block = |text: &str, fence: &str| {
        let (_, rest) = text.split_once(fence).unwrap();
        rest.split_once("```").unwrap().0.trim().to_owned()
    };
    let docs: String = include_str!("../src/lib.rs")
        .lines()
        .map_while(|line| line.strip_prefix("//!"))
        .map(|line| format!("{}\n", line.strip_prefix(' ').unwrap_or(line)))
        .collect();
    let (readme, docs) = (block(include_str!("../README.md"), "```rust\n"), block(&docs, "```\n"));
    assert_eq!(readme, docs);
    let code = readme.lines().filter(|line| !line.trim().is_empty() && !line.trim().starts_with("//"));
    assert!(code.count() <= 24, "about twenty lines");
}
