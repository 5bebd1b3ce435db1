//! The paths in a piece of code: `crate::store::Store`, wherever it is written.

use proc_macro2::{TokenStream, TokenTree};
use syn::UseTree;

/// A path as it is written, without generic arguments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Written {
    pub(crate) segments: Vec<String>,
    /// It begins with `::`, that is with the name of another crate.
    pub(crate) is_outside: bool,
    pub(crate) line: usize,
}

impl Written {
    pub(crate) fn of(path: &syn::Path) -> Self {
        let first = path.segments.first().expect("a path has a segment");
        Self {
            segments: path.segments.iter().map(|segment| segment.ident.to_string()).collect(),
            is_outside: path.leading_colon.is_some(),
            line: first.ident.span().start().line,
        }
    }
}

/// What one leaf of a `use` brings in.
pub(crate) struct Used {
    pub(crate) path: Written,
    /// What it is called here; none for a glob.
    pub(crate) name: Option<String>,
}

/// Every leaf of a `use`.
pub(crate) fn used(item: &syn::ItemUse) -> Vec<Used> {
    fn walk(tree: &UseTree, above: &[String], is_outside: bool, leaves: &mut Vec<Used>) {
        let mut leaf = |last: Option<&syn::Ident>, span: proc_macro2::Span, name: Option<String>| {
            let last = last.map(ToString::to_string);
            // `a::{self}` is `a`.
            let last = last.filter(|last| last != "self" || above.is_empty());
            let segments: Vec<String> = above.iter().cloned().chain(last).collect();
            let name = match name {
                Some(name) if name == "self" => segments.last().cloned(),
                name => name,
            };
            leaves.push(Used { path: Written { segments, is_outside, line: span.start().line }, name });
        };
        match tree {
            UseTree::Path(path) => {
                let above = [above, &[path.ident.to_string()]].concat();
                walk(&path.tree, &above, is_outside, leaves);
            }
            UseTree::Name(name) => leaf(Some(&name.ident), name.ident.span(), Some(name.ident.to_string())),
            UseTree::Rename(rename) => leaf(Some(&rename.ident), rename.ident.span(), Some(rename.rename.to_string())),
            UseTree::Glob(glob) => leaf(None, glob.star_token.spans[0], None),
            UseTree::Group(group) => group.items.iter().for_each(|tree| walk(tree, above, is_outside, leaves)),
        }
    }
    let mut leaves = Vec::new();
    walk(&item.tree, &[], item.leading_colon.is_some(), &mut leaves);
    leaves
}

/// What may be a path, a call of a macro or a text among tokens that no parser knows the grammar of.
#[derive(Default)]
pub(crate) struct Tokens {
    pub(crate) paths: Vec<Written>,
    /// Paths that end in a group or glob: nothing tells what they stand for.
    pub(crate) open: Vec<Written>,
    /// The names of macros that are called without a path.
    pub(crate) macros: Vec<Written>,
    pub(crate) texts: Vec<(String, usize)>,
}

impl Tokens {
    pub(crate) fn of(stream: TokenStream) -> Self {
        let mut found = Self::default();
        found.read(stream);
        found
    }

    fn read(&mut self, stream: TokenStream) {
        let tokens: Vec<TokenTree> = stream.into_iter().collect();
        let mut at = 0;
        while let Some(token) = tokens.get(at) {
            match token {
                TokenTree::Group(group) => self.read(group.stream()),
                TokenTree::Literal(literal) => {
                    if let Ok(syn::Lit::Str(text)) = syn::parse_str(&literal.to_string()) {
                        self.texts.push((text.value(), literal.span().start().line));
                    }
                }
                TokenTree::Punct(_) => {}
                TokenTree::Ident(first) => at = self.read_path(&tokens, at, first),
            }
            at += 1;
        }
    }

    /// Reads the path that begins with this name; gives back where its last name stands.
    fn read_path(&mut self, tokens: &[TokenTree], first_at: usize, first: &proc_macro2::Ident) -> usize {
        let is = |at: Option<usize>, char| {
            let token = at.and_then(|at| tokens.get(at));
            matches!(token, Some(TokenTree::Punct(punct)) if punct.as_char() == char)
        };
        let is_colons = |at: Option<usize>| is(at, ':') && is(at.map(|at| at + 1), ':');
        let before = |by: usize| first_at.checked_sub(by);

        let mut segments = vec![first.to_string()];
        let mut at = first_at;
        while is_colons(Some(at + 1))
            && let Some(TokenTree::Ident(next)) = tokens.get(at + 3)
        {
            segments.push(next.to_string());
            at += 3;
        }
        let path = Written { segments, is_outside: is_colons(before(2)), line: first.span().start().line };
        // `a.b` is a field or a method; `..b` is a path all the same.
        if is(before(1), '.') && !is(before(2), '.') {
            return at;
        }
        let is_group = matches!(tokens.get(at + 3), Some(TokenTree::Group(_)));
        if is_colons(Some(at + 1)) && (is_group || is(Some(at + 3), '*')) {
            self.open.push(path);
        } else if path.segments.len() == 1 && is(Some(at + 1), '!') {
            self.macros.push(path);
        } else {
            self.paths.push(path);
        }
        at
    }
}
