//! The Rust sources of the workspace, separated into production and test code.
//!
//! Rules read tokens instead of syntax trees, because macro arguments are only tokens: an `unwrap` inside `select!` panics
//! like any other. The syntax tree of `syn` is used for functions, traits and items under `#[cfg(test)]`.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use proc_macro2::{Delimiter, TokenStream, TokenTree};
use syn::spanned::Spanned as _;
use syn::visit::{self, Visit};

/// One token, with its line. Groups are flattened into an opening and a closing token.
#[derive(Clone, Debug)]
pub struct Token {
    pub text: String,
    pub kind: Kind,
    pub line: usize,
    /// Names of the enclosing inline modules.
    pub inside: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Word,
    Mark,
    Literal,
}

/// A function of production code.
#[derive(Debug)]
pub struct Function {
    pub name: String,
    pub line: usize,
    /// Lines of its body, without blank lines and comments.
    pub lines: usize,
    pub parameters: usize,
    /// How many of them are tuples that are taken apart in place.
    pub packed: usize,
}

/// A trait of production code.
#[derive(Debug)]
pub struct Trait {
    pub name: String,
    pub line: usize,
    pub methods: usize,
}

/// One file.
#[derive(Debug)]
pub struct Source {
    /// Relative to the root of the workspace, with `/`.
    pub path: String,
    pub text: String,
    /// The path of the module inside its crate; empty for `lib.rs`, `main` for `main.rs`.
    pub module: Vec<String>,
    /// Tokens outside tests.
    pub tokens: Vec<Token>,
    pub functions: Vec<Function>,
    pub traits: Vec<Trait>,
    /// Names of the modules that are files of their own.
    pub modules: Vec<String>,
    /// Those that exist in tests only.
    pub test_modules: Vec<String>,
    pub production_lines: usize,
    pub test_lines: usize,
}

impl Source {
    /// Parses one file. Panics if it is not valid Rust.
    pub fn parse(path: &str, text: &str) -> Self {
        let file = syn::parse_file(text).unwrap_or_else(|error| panic!("{path}: {error}"));
        let mut shape = Shape {
            text: text.lines().collect(),
            ..Shape::default()
        };
        if file.attrs.iter().any(only_in_tests) {
            shape.tests.extend(1..=text.lines().count());
        }
        shape.visit_file(&file);
        let stream: TokenStream = text.parse().expect("syn has parsed it");
        let mut tokens = Vec::new();
        flatten(stream, &mut Vec::new(), &mut tokens);
        tokens.retain(|token| !shape.tests.contains(&token.line));
        let lines = text.lines().count();
        Self {
            path: path.to_owned(),
            text: text.to_owned(),
            module: module_of(path),
            tokens,
            functions: shape.functions,
            traits: shape.traits,
            modules: shape.modules,
            test_modules: shape.test_modules,
            production_lines: lines - shape.tests.len(),
            test_lines: shape.tests.len(),
        }
    }

    /// `path:line`, for messages.
    pub fn at(&self, line: usize) -> String {
        format!("{}:{line}", self.path)
    }

    /// Whether the tokens from `index` on match `pattern`.
    pub fn matches(&self, index: usize, pattern: &[&str]) -> bool {
        pattern.iter().enumerate().all(|(offset, want)| {
            self.tokens
                .get(index + offset)
                .is_some_and(|token| token.kind != Kind::Literal && token.text == *want)
        })
    }
}

/// All production sources of the crates and the backends. Left out are test files, `proto/src/gen`, which is generated, and
/// `backends/conformance`, which is a test suite.
pub fn production() -> &'static [Source] {
    static SOURCES: LazyLock<Vec<Source>> = LazyLock::new(|| {
        let mut sources = read();
        sources.retain(|source| !source.path.starts_with("backends/conformance/"));
        without_tests(sources)
    });
    &SOURCES
}

/// All sources of the crates and the backends, with their test files. Left out is `proto/src/gen`.
pub fn read() -> Vec<Source> {
    let root = root();
    let mut folders = vec![root.join("src"), root.join("proto/src")];
    for crates in ["crates", "backends"] {
        folders.extend(
            children(&root.join(crates))
                .iter()
                .map(|folder| folder.join("src")),
        );
    }
    let mut sources = Vec::new();
    for path in folders.iter().flat_map(|folder| files_below(folder)) {
        let name = relative(&path);
        if name.ends_with(".rs") && !name.starts_with("proto/src/gen/") {
            sources.push(Source::parse(&name, &fs::read_to_string(&path).unwrap()));
        }
    }
    sources
}

/// Every file that is the root of no crate and that no `mod` names: the compiler does not read it.
pub fn orphans(sources: &[Source]) -> Vec<String> {
    let named: BTreeSet<_> = sources
        .iter()
        .flat_map(|source| {
            let folder = folder_of_children(&source.path);
            source
                .modules
                .iter()
                .map(move |module| format!("{folder}/{module}"))
        })
        .flat_map(|stem| [format!("{stem}.rs"), format!("{stem}/mod.rs")])
        .collect();
    let is_root = |path: &str| path.ends_with("src/lib.rs") || path.ends_with("src/main.rs");
    sources
        .iter()
        .filter(|source| !is_root(&source.path) && !named.contains(&source.path))
        .map(|source| format!("{}: no `mod` names this file; delete it", source.path))
        .collect()
}

/// Drops the files that a `#[cfg(test)] mod name;` includes.
pub fn without_tests(mut sources: Vec<Source>) -> Vec<Source> {
    let mut tests = BTreeSet::new();
    for source in &sources {
        let folder = folder_of_children(&source.path);
        for name in &source.test_modules {
            tests.insert(format!("{folder}/{name}.rs"));
            tests.insert(format!("{folder}/{name}/"));
        }
    }
    sources.retain(|source| {
        !tests.iter().any(|test| {
            source.path == *test || (test.ends_with('/') && source.path.starts_with(test))
        })
    });
    sources
}

/// The root of the workspace.
pub fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// A path relative to the root, with `/`.
pub fn relative(path: &Path) -> String {
    let below = path.strip_prefix(root()).unwrap_or(path);
    below.to_string_lossy().replace('\\', "/")
}

/// The files below `folder`, sorted, without built and installed files.
pub fn files_below(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for path in children(folder) {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let built = [
            "target",
            "node_modules",
            ".git",
            "__pycache__",
            "corpus",
            "artifacts",
        ];
        if built.contains(&name.as_ref()) || path.is_symlink() {
            continue;
        }
        if path.is_dir() {
            files.extend(files_below(&path));
        } else {
            files.push(path);
        }
    }
    files
}

fn children(folder: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<_> = fs::read_dir(folder)
        .map(|entries| entries.flatten().map(|entry| entry.path()).collect())
        .unwrap_or_default();
    paths.sort();
    paths
}

fn module_of(path: &str) -> Vec<String> {
    let below = path.rsplit_once("src/").map_or(path, |(_, below)| below);
    let mut module: Vec<String> = below
        .trim_end_matches(".rs")
        .split('/')
        .map(str::to_owned)
        .collect();
    if matches!(module.last().map(String::as_str), Some("mod" | "lib")) {
        module.pop();
    }
    module
}

fn folder_of_children(path: &str) -> String {
    let stem = path.trim_end_matches(".rs");
    match stem.rsplit_once('/') {
        Some((folder, "mod" | "lib" | "main")) => folder.to_owned(),
        _ => stem.to_owned(),
    }
}

fn flatten(stream: TokenStream, inside: &mut Vec<String>, tokens: &mut Vec<Token>) {
    for tree in stream {
        match tree {
            TokenTree::Group(group) => {
                let (open, close) = match group.delimiter() {
                    Delimiter::Parenthesis => ("(", ")"),
                    Delimiter::Brace => ("{", "}"),
                    Delimiter::Bracket => ("[", "]"),
                    Delimiter::None => ("", ""),
                };
                let named = (open == "{").then(|| module_before(tokens)).flatten();
                let token = |text: &str, line, inside: &[String]| Token {
                    text: text.to_owned(),
                    kind: Kind::Mark,
                    line,
                    inside: inside.to_vec(),
                };
                tokens.push(token(open, group.span_open().start().line, inside));
                let entered = named.is_some();
                inside.extend(named);
                flatten(group.stream(), inside, tokens);
                if entered {
                    inside.pop();
                }
                tokens.push(token(close, group.span_close().end().line, inside));
            }
            TokenTree::Ident(word) => tokens.push(Token {
                text: word.to_string(),
                kind: Kind::Word,
                line: word.span().start().line,
                inside: inside.clone(),
            }),
            TokenTree::Punct(mark) => tokens.push(Token {
                text: mark.as_char().to_string(),
                kind: Kind::Mark,
                line: mark.span().start().line,
                inside: inside.clone(),
            }),
            TokenTree::Literal(literal) => tokens.push(Token {
                text: literal.to_string(),
                kind: Kind::Literal,
                line: literal.span().start().line,
                inside: inside.clone(),
            }),
        }
    }
}

/// `mod name` just before an opening brace.
fn module_before(tokens: &[Token]) -> Option<String> {
    match tokens {
        [.., keyword, name] if keyword.text == "mod" && name.kind == Kind::Word => {
            Some(name.text.clone())
        }
        _ => None,
    }
}

/// Collects what only the syntax tree shows.
#[derive(Default)]
struct Shape<'a> {
    text: Vec<&'a str>,
    tests: BTreeSet<usize>,
    functions: Vec<Function>,
    traits: Vec<Trait>,
    modules: Vec<String>,
    test_modules: Vec<String>,
}

impl Shape<'_> {
    fn mark_test(&mut self, span: proc_macro2::Span) {
        self.tests.extend(span.start().line..=span.end().line);
    }

    fn function(&mut self, signature: &syn::Signature, body: &syn::Block) {
        let (first, last) = (body.span().start().line, body.span().end().line);
        let code = |line: &&&str| !line.trim().is_empty() && !line.trim().starts_with("//");
        let between = self
            .text
            .get(first..last.saturating_sub(1))
            .unwrap_or_default();
        self.functions.push(Function {
            name: signature.ident.to_string(),
            line: signature.ident.span().start().line,
            lines: between.iter().filter(code).count(),
            parameters: signature
                .inputs
                .iter()
                .filter(|input| matches!(input, syn::FnArg::Typed(_)))
                .count(),
            packed: signature
                .inputs
                .iter()
                .filter(|input| {
                    matches!(input, syn::FnArg::Typed(typed) if matches!(&*typed.pat, syn::Pat::Tuple(_)))
                })
                .count(),
        });
    }
}

impl<'ast> Visit<'ast> for Shape<'_> {
    fn visit_item(&mut self, item: &'ast syn::Item) {
        let in_tests = attributes(item).iter().any(only_in_tests);
        if let syn::Item::Mod(module) = item
            && module.content.is_none()
        {
            let name = module.ident.to_string();
            if in_tests {
                self.test_modules.push(name.clone());
            }
            self.modules.push(name);
        }
        if in_tests {
            return self.mark_test(item.span());
        }
        visit::visit_item(self, item);
    }

    fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
        self.function(&item.sig, &item.block);
        visit::visit_item_fn(self, item);
    }

    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        if item.attrs.iter().any(only_in_tests) {
            return self.mark_test(item.span());
        }
        self.function(&item.sig, &item.block);
        visit::visit_impl_item_fn(self, item);
    }

    fn visit_item_trait(&mut self, item: &'ast syn::ItemTrait) {
        let methods = item
            .items
            .iter()
            .filter(|item| matches!(item, syn::TraitItem::Fn(_)))
            .count();
        self.traits.push(Trait {
            name: item.ident.to_string(),
            line: item.ident.span().start().line,
            methods,
        });
        visit::visit_item_trait(self, item);
    }
}

/// `#[cfg(test)]`, `#[cfg(all(test, …))]`, `#[cfg(any(test, feature = "testing"))]`, `#[test]`, `#[tokio::test]`. Not `#[cfg(not(test))]`, which is production.
fn only_in_tests(attribute: &syn::Attribute) -> bool {
    match &attribute.meta {
        syn::Meta::List(list) if list.path.is_ident("cfg") => {
            let text = list.tokens.to_string().replace(' ', "");
            text == "test"
                || text.starts_with("all(test,")
                || text.starts_with("any(test,feature=\"testing\"")
        }
        meta => meta
            .path()
            .segments
            .last()
            .is_some_and(|last| last.ident == "test"),
    }
}

fn attributes(item: &syn::Item) -> &[syn::Attribute] {
    use syn::Item;
    match item {
        Item::Const(item) => &item.attrs,
        Item::Enum(item) => &item.attrs,
        Item::ExternCrate(item) => &item.attrs,
        Item::Fn(item) => &item.attrs,
        Item::ForeignMod(item) => &item.attrs,
        Item::Impl(item) => &item.attrs,
        Item::Macro(item) => &item.attrs,
        Item::Mod(item) => &item.attrs,
        Item::Static(item) => &item.attrs,
        Item::Struct(item) => &item.attrs,
        Item::Trait(item) => &item.attrs,
        Item::TraitAlias(item) => &item.attrs,
        Item::Type(item) => &item.attrs,
        Item::Union(item) => &item.attrs,
        Item::Use(item) => &item.attrs,
        _ => &[],
    }
}
