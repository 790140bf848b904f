//! All mutants of a source file in one text: each behind a question, `crate::mutants::is(7)`, whose answer is that the
//! process was told to be mutant 7.

use std::{collections::HashMap, ops::Range};

use proc_macro2::LineColumn;
use syn::{spanned::Spanned, visit::Visit};

use crate::Mutant;

/// A file with its mutants, and where each is in it.
pub struct Placed {
    pub text: String,
    /// Bytes of `text` that only this mutant runs.
    pub branches: Vec<(Range<usize>, u32)>,
    /// Bytes of `text` around an expression, and all mutants of it.
    pub around: Vec<(Range<usize>, Vec<u32>)>,
    /// Those for which there is no question: in what the compiler evaluates, or where no condition can be.
    pub without_place: Vec<u32>,
    /// Those that are no Rust, or not in this build.
    pub uncompilable: Vec<u32>,
}

/// `before` and `after` go around a range of the source.
struct Wrap {
    range: Range<usize>,
    before: Vec<Piece>,
    after: &'static str,
    ids: Vec<u32>,
}

enum Piece {
    Text(String),
    Branch(u32, String),
}

pub fn place(source: &str, mutants: &[&Mutant]) -> Placed {
    let file = syn::parse_file(source).expect("cargo-mutants parsed it");
    let mut placing = Placing {
        source,
        lines: line_starts(source),
        mutants: HashMap::new(),
        wraps: vec![],
        uncompilable: vec![],
    };
    for mutant in mutants {
        let at = placing.at(mutant.start)..placing.at(mutant.end);
        placing.mutants.entry((mutant.genre.clone(), at.start)).or_default().push(mutant);
    }
    placing.visit_file(&file);
    let uncompilable = placing.uncompilable;
    let mut placed = write(source, placing.wraps);
    let ids: Vec<u32> =
        placed.around.iter().flat_map(|(_, ids)| ids.clone()).chain(uncompilable.clone()).collect();
    placed.uncompilable = uncompilable;
    placed.without_place = mutants.iter().map(|mutant| mutant.id).filter(|id| !ids.contains(id)).collect();
    placed
}

fn line_starts(source: &str) -> Vec<usize> {
    let ends = source.match_indices('\n').map(|(at, _)| at + 1);
    std::iter::once(0).chain(ends).collect()
}

/// The byte at a place.
pub fn offset(source: &str, place: LineColumn) -> usize {
    in_line(source, line_starts(source)[place.line - 1], place.column)
}

fn in_line(source: &str, start: usize, column: usize) -> usize {
    let line = &source[start..];
    start + line.char_indices().nth(column).map_or(line.len(), |(at, _)| at)
}

/// `wraps` may be in each other, but do not overlap otherwise.
fn write(source: &str, mut wraps: Vec<Wrap>) -> Placed {
    wraps.sort_by_key(|wrap| (wrap.range.start, std::cmp::Reverse(wrap.range.end)));
    let mut placed = Placed {
        text: String::new(),
        branches: vec![],
        around: vec![],
        without_place: vec![],
        uncompilable: vec![],
    };
    let mut open: Vec<(Wrap, usize)> = Vec::new();
    let mut written = 0;
    let mut waiting = wraps.into_iter().peekable();
    loop {
        let begins = waiting.peek().map(|wrap| wrap.range.start);
        let ends = open.last().map(|(wrap, _)| wrap.range.end);
        match (begins, ends) {
            (begins, Some(end)) if begins.is_none_or(|begin| end <= begin) => {
                placed.text.push_str(&source[written..end]);
                written = end;
                let Some((wrap, from)) = open.pop() else { unreachable!("it was the last") };
                placed.text.push_str(wrap.after);
                placed.around.push((from..placed.text.len(), wrap.ids));
            }
            (Some(begin), _) => {
                placed.text.push_str(&source[written..begin]);
                written = begin;
                let Some(wrap) = waiting.next() else { unreachable!("it was peeked at") };
                let from = placed.text.len();
                for piece in &wrap.before {
                    match piece {
                        Piece::Text(text) => placed.text.push_str(text),
                        Piece::Branch(id, text) => {
                            let from = placed.text.len();
                            placed.text.push_str(text);
                            placed.branches.push((from..placed.text.len(), *id));
                        }
                    }
                }
                open.push((wrap, from));
            }
            (None, _) => break,
        }
    }
    placed.text.push_str(&source[written..]);
    placed
}

struct Placing<'a> {
    source: &'a str,
    lines: Vec<usize>,
    /// By genre and by the first byte of what they replace.
    mutants: HashMap<(String, usize), Vec<&'a Mutant>>,
    wraps: Vec<Wrap>,
    uncompilable: Vec<u32>,
}

impl Placing<'_> {
    fn at(&self, place: LineColumn) -> usize {
        in_line(self.source, self.lines[place.line - 1], place.column)
    }

    fn range(&self, node: &impl Spanned) -> Range<usize> {
        let span = node.span();
        self.at(span.start())..self.at(span.end())
    }

    fn text(&self, node: &impl Spanned) -> &str {
        &self.source[self.range(node)]
    }

    fn of(&self, genre: &str, node: &impl Spanned) -> Vec<&Mutant> {
        let key = (genre.to_string(), self.range(node).start);
        self.mutants.get(&key).cloned().unwrap_or_default()
    }

    /// `(if is(7) { ... } else if is(8) { ... } else { the node })`.
    fn choose(&mut self, range: Range<usize>, branches: Vec<(u32, String)>) {
        if !branches.is_empty() {
            let ids = branches.iter().map(|(id, _)| *id).collect();
            self.wraps.push(Wrap { range, before: choice(branches), after: " })", ids });
        }
    }

    /// `if is(7) { return ...; }`, first of all.
    fn body(&mut self, signature: &syn::Signature, block: &syn::Block) {
        let (Some(first), Some(last)) = (block.stmts.first(), block.stmts.last()) else { return };
        let mutants = self.of("FnValue", first);
        if mutants.is_empty() || signature.constness.is_some() || returns_impl(signature) {
            return;
        }
        let mut before = Vec::new();
        let ids = mutants.iter().map(|mutant| mutant.id).collect();
        for mutant in mutants {
            before.push(Piece::Text(format!("if {} {{ return ", question(mutant.id))));
            before.push(Piece::Branch(mutant.id, mutant.replacement.clone()));
            before.push(Piece::Text("; } ".into()));
        }
        let range = self.range(first).start..self.range(last).end;
        self.wraps.push(Wrap { range, before, after: "", ids });
    }
}

/// All but the last branch, and what closes it.
fn choice(branches: Vec<(u32, String)>) -> Vec<Piece> {
    let mut pieces = vec![Piece::Text("(".into())];
    for (id, text) in branches {
        pieces.push(Piece::Text(format!("if {} {{ ", question(id))));
        pieces.push(Piece::Branch(id, text));
        pieces.push(Piece::Text(" } else ".into()));
    }
    pieces.push(Piece::Text("{ ".into()));
    pieces
}

/// With default features.
fn is_left_out(attribute: &syn::Attribute) -> bool {
    let syn::Meta::List(list) = &attribute.meta else { return false };
    let condition: String = list.tokens.to_string().split_whitespace().collect();
    let other = ["feature=\"aws-lc-rs\"", "feature=\"rayon\"", "not(feature=\"std\")"];
    list.path.is_ident("cfg") && other.contains(&&condition[..])
}

fn returns_impl(signature: &syn::Signature) -> bool {
    matches!(&signature.output, syn::ReturnType::Type(_, output) if matches!(**output, syn::Type::ImplTrait(_)))
}

fn question(id: u32) -> String {
    format!("crate::mutants::is({id})")
}

fn has_let(node: &syn::Expr) -> bool {
    struct Lets(bool);
    impl Visit<'_> for Lets {
        fn visit_expr_let(&mut self, _: &syn::ExprLet) {
            self.0 = true;
        }
    }
    let mut lets = Lets(false);
    lets.visit_expr(node);
    lets.0
}

impl<'ast> Visit<'ast> for Placing<'_> {
    fn visit_item_fn(&mut self, node: &'ast syn::ItemFn) {
        self.body(&node.sig, &node.block);
        if node.sig.constness.is_none() {
            syn::visit::visit_item_fn(self, node);
        }
    }

    fn visit_impl_item_fn(&mut self, node: &'ast syn::ImplItemFn) {
        if node.attrs.iter().any(is_left_out) {
            let mutants = node.block.stmts.first().map(|first| self.of("FnValue", first)).unwrap_or_default();
            let ids: Vec<u32> = mutants.iter().map(|mutant| mutant.id).collect();
            self.uncompilable.extend(ids);
            return;
        }
        self.body(&node.sig, &node.block);
        if node.sig.constness.is_none() {
            syn::visit::visit_impl_item_fn(self, node);
        }
    }

    fn visit_trait_item_fn(&mut self, node: &'ast syn::TraitItemFn) {
        if let Some(block) = &node.default {
            self.body(&node.sig, block);
        }
        syn::visit::visit_trait_item_fn(self, node);
    }

    /// Evaluated by the compiler.
    fn visit_item_const(&mut self, _: &'ast syn::ItemConst) {}
    fn visit_impl_item_const(&mut self, _: &'ast syn::ImplItemConst) {}
    fn visit_item_static(&mut self, _: &'ast syn::ItemStatic) {}
    fn visit_type(&mut self, _: &'ast syn::Type) {}
    fn visit_pat(&mut self, _: &'ast syn::Pat) {}

    fn visit_expr_repeat(&mut self, node: &'ast syn::ExprRepeat) {
        self.visit_expr(&node.expr);
    }

    fn visit_expr_binary(&mut self, node: &'ast syn::ExprBinary) {
        if !has_let(&node.left) && !has_let(&node.right) {
            let [left, right] = [&node.left, &node.right].map(|side| self.text(side).to_string());
            let mutants = self.of("BinaryOperator", &node.op);
            let branch = |mutant: &&Mutant| (mutant.id, format!("{left} {} {right}", mutant.replacement));
            let branches = mutants.iter().map(branch).collect();
            self.choose(self.range(node), branches);
        } else {
            // `||` does not go with `let`.
            let ids: Vec<u32> = self.of("BinaryOperator", &node.op).iter().map(|mutant| mutant.id).collect();
            self.uncompilable.extend(ids);
        }
        syn::visit::visit_expr_binary(self, node);
    }

    fn visit_expr_unary(&mut self, node: &'ast syn::ExprUnary) {
        let operand = self.text(&node.expr).to_string();
        let mutants = self.of("UnaryOperator", &node.op);
        let branches = mutants.iter().map(|mutant| (mutant.id, operand.clone())).collect();
        self.choose(self.range(node), branches);
        syn::visit::visit_expr_unary(self, node);
    }

    /// An arm is deleted by a guard that never holds.
    fn visit_arm(&mut self, node: &'ast syn::Arm) {
        let deleted = self.of("MatchArm", node).first().map(|mutant| mutant.id);
        match &node.guard {
            None => {
                if let Some(id) = deleted {
                    let end = self.range(&node.pat).end;
                    let text = format!(" if !{} ", question(id));
                    self.wraps.push(Wrap {
                        range: end..end,
                        before: vec![Piece::Text(text)],
                        after: "",
                        ids: vec![id],
                    });
                }
            }
            Some((_, guard)) if !has_let(guard) => {
                let replaced = self.of("MatchArmGuard", &**guard);
                let mut ids: Vec<u32> = replaced.iter().map(|mutant| mutant.id).collect();
                let branch = |mutant: &&Mutant| {
                    format!("if {} {{ {} }} else ", question(mutant.id), mutant.replacement)
                };
                let mut text: String = replaced.iter().map(branch).collect();
                if let Some(id) = deleted {
                    text.insert_str(0, &format!("if {} {{ false }} else ", question(id)));
                    ids.push(id);
                }
                if !ids.is_empty() {
                    let before = vec![Piece::Text(format!("({text}{{ "))];
                    self.wraps.push(Wrap { range: self.range(&**guard), before, after: " })", ids });
                }
            }
            Some(_) => {}
        }
        syn::visit::visit_arm(self, node);
    }

    fn visit_expr_struct(&mut self, node: &'ast syn::ExprStruct) {
        if let Some(rest) = &node.rest {
            let rest = self.text(rest).to_string();
            for field in &node.fields {
                let member = self.text(&field.member).to_string();
                let branch = |mutant: &&Mutant| (mutant.id, format!("({rest}).{member}"));
                let branches: Vec<_> = self.of("StructField", field).iter().map(branch).collect();
                if field.colon_token.is_some() {
                    self.choose(self.range(&field.expr), branches);
                } else if let Some((id, _)) = branches.first() {
                    let (end, ids) = (self.range(field).end, vec![*id]);
                    let mut before = choice(branches);
                    before.insert(0, Piece::Text(": ".into()));
                    before.push(Piece::Text(member));
                    self.wraps.push(Wrap { range: end..end, before, after: " })", ids });
                }
            }
        }
        syn::visit::visit_expr_struct(self, node);
    }
}
