//! The README and the crate's documentation show the same code.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that panics is a test that fails")]

#[test]
fn the_readme_shows_the_examples_of_the_crate_docs() {
    let blocks = |text: &str, fence: &str| {
        let rest = text.split(fence).skip(1);
        rest.take(2).map(|rest| rest.split_once("```").unwrap().0.trim().to_owned()).collect::<Vec<_>>()
    };
    let docs: String = include_str!("../src/lib.rs")
        .lines()
        .map_while(|line| line.strip_prefix("//!"))
        .map(|line| format!("{}\n", line.strip_prefix(' ').unwrap_or(line)))
        .collect();
    let (readme, docs) = (blocks(include_str!("../README.md"), "```rust\n"), blocks(&docs, "```\nuse "));
    for (example, (readme, docs)) in readme.iter().zip(&docs).enumerate() {
        assert_eq!(readme, &format!("use {docs}"));
        let code = readme.lines().filter(|line| !line.trim().is_empty() && !line.trim().starts_with("//"));
        assert!(code.count() <= [30, 24][example], "as many lines as the heading says");
    }
    assert_eq!((readme.len(), docs.len()), (2, 2));
}
