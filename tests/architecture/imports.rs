//! What every file imports, and the words in it that belong to one place.

use proc_macro2::TokenStream;
use syn::visit::{self, Visit};
use syn::{Attribute, ImplItem, Item, Meta, Stmt, TraitItem};

use crate::names::{Led, Names};
use crate::paths::{Tokens, Written, used};
use crate::source::{Source, is_test_only};
use crate::violation::Violation;

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Import {
    pub(crate) from: String,
    pub(crate) line: usize,
    pub(crate) to: String,
}

/// A word, where it stands.
#[derive(Debug)]
pub(crate) struct Word {
    pub(crate) file: String,
    pub(crate) line: usize,
    /// The innermost function around it.
    pub(crate) function: Option<String>,
    pub(crate) kind: WordKind,
}

#[derive(Debug)]
pub(crate) enum WordKind {
    /// A path begins with the name of this crate.
    Crate(String),
    Text(String),
}

#[derive(Default)]
pub(crate) struct Imports {
    /// Sorted; of each file only the first import of another.
    pub(crate) imports: Vec<Import>,
    pub(crate) words: Vec<Word>,
    /// What could not be followed.
    pub(crate) violations: Vec<Violation>,
}

impl Imports {
    pub(crate) fn of(source: &Source, names: &Names<'_>) -> Self {
        let mut found = Self::default();
        for (module, read) in source.modules.iter().enumerate() {
            let mut reader = Reader { names, module, file: &read.file, functions: Vec::new(), found: &mut found };
            read.items.iter().for_each(|item| reader.visit_item(item));
        }
        found.imports.sort_by(|a, b| (&a.from, &a.to, a.line).cmp(&(&b.from, &b.to, b.line)));
        found.imports.dedup_by(|next, first| (&next.from, &next.to) == (&first.from, &first.to));
        found.imports.sort();
        found
    }
}

struct Reader<'a> {
    names: &'a Names<'a>,
    module: usize,
    file: &'a str,
    functions: Vec<String>,
    found: &'a mut Imports,
}

impl Reader<'_> {
    fn path(&mut self, path: &Written) {
        // A variable, a parameter, something of this module: what a `use` brought in was counted there. Only a glob
        // does not say what it brings, and names of variables must not be taken for what it may bring.
        let is_name = path.segments.len() == 1 && !path.segments[0].starts_with(char::is_uppercase);
        if !is_name && !["crate", "self", "super"].contains(&path.segments[path.segments.len() - 1].as_str()) {
            self.follow(path);
        }
    }

    fn follow(&mut self, path: &Written) {
        match self.names.follow(self.module, path) {
            Led::To(files, _) => files.iter().for_each(|to| self.import(to, path.line)),
            Led::Outside => self.word(path.line, WordKind::Crate(path.segments[0].clone())),
            Led::Nowhere => {
                let message = format!(
                    "`{}` leads to nothing that can be seen: name it by its full path",
                    path.segments.join("::")
                );
                self.found.violations.push(Violation::new(self.file, path.line, message));
            }
        }
    }

    fn import(&mut self, to: &str, line: usize) {
        if to != self.file {
            self.found.imports.push(Import { from: self.file.to_owned(), line, to: to.to_owned() });
        }
    }

    fn word(&mut self, line: usize, kind: WordKind) {
        let word = Word { file: self.file.to_owned(), line, function: self.functions.last().cloned(), kind };
        self.found.words.push(word);
    }

    fn textual_macro(&mut self, name: &Written) {
        // Else it came by a `use`, which was counted, or with another crate.
        if let Some(to) = self.names.textual_macro(self.module, &name.segments[0]) {
            self.import(to, name.line);
        }
    }

    fn tokens(&mut self, stream: TokenStream) {
        let tokens = Tokens::of(stream);
        tokens.paths.iter().for_each(|path| self.path(path));
        tokens.macros.iter().for_each(|name| self.textual_macro(name));
        for path in &tokens.open {
            if !matches!(self.names.follow(self.module, path), Led::Outside) {
                let message =
                    format!("`{}::` and a group or glob in a macro: name each path in full", path.segments.join("::"));
                self.found.violations.push(Violation::new(self.file, path.line, message));
            }
        }
        for (text, line) in tokens.texts {
            self.word(line, WordKind::Text(text));
        }
    }

    fn function(&mut self, name: &syn::Ident, inside: impl FnOnce(&mut Self)) {
        self.functions.push(name.to_string());
        inside(self);
        self.functions.pop();
    }
}

/// What only tests see is left out, at whatever depth it stands.
impl<'ast> Visit<'ast> for Reader<'_> {
    fn visit_item(&mut self, item: &'ast Item) {
        let attributes: &[Attribute] = match item {
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
        };
        if is_test_only(attributes) {
            return;
        }
        if let Item::Mod(module) = item {
            let message = format!("`mod {}` inside a function is not followed: put it at the top", module.ident);
            let line = module.ident.span().start().line;
            self.found.violations.push(Violation::new(self.file, line, message));
            return;
        }
        visit::visit_item(self, item);
    }

    fn visit_impl_item(&mut self, item: &'ast ImplItem) {
        let attributes: &[Attribute] = match item {
            ImplItem::Const(item) => &item.attrs,
            ImplItem::Fn(item) => &item.attrs,
            ImplItem::Type(item) => &item.attrs,
            ImplItem::Macro(item) => &item.attrs,
            _ => &[],
        };
        if !is_test_only(attributes) {
            visit::visit_impl_item(self, item);
        }
    }

    fn visit_trait_item(&mut self, item: &'ast TraitItem) {
        let attributes: &[Attribute] = match item {
            TraitItem::Const(item) => &item.attrs,
            TraitItem::Fn(item) => &item.attrs,
            TraitItem::Type(item) => &item.attrs,
            TraitItem::Macro(item) => &item.attrs,
            _ => &[],
        };
        if !is_test_only(attributes) {
            visit::visit_trait_item(self, item);
        }
    }

    fn visit_field(&mut self, field: &'ast syn::Field) {
        if !is_test_only(&field.attrs) {
            visit::visit_field(self, field);
        }
    }

    fn visit_field_value(&mut self, field: &'ast syn::FieldValue) {
        if !is_test_only(&field.attrs) {
            visit::visit_field_value(self, field);
        }
    }

    fn visit_variant(&mut self, variant: &'ast syn::Variant) {
        if !is_test_only(&variant.attrs) {
            visit::visit_variant(self, variant);
        }
    }

    fn visit_arm(&mut self, arm: &'ast syn::Arm) {
        if !is_test_only(&arm.attrs) {
            visit::visit_arm(self, arm);
        }
    }

    fn visit_stmt(&mut self, statement: &'ast Stmt) {
        let attributes: &[Attribute] = match statement {
            Stmt::Local(local) => &local.attrs,
            Stmt::Macro(called) => &called.attrs,
            Stmt::Item(_) | Stmt::Expr(..) => &[],
        };
        if !is_test_only(attributes) {
            visit::visit_stmt(self, statement);
        }
    }

    fn visit_item_fn(&mut self, function: &'ast syn::ItemFn) {
        self.function(&function.sig.ident, |reader| visit::visit_item_fn(reader, function));
    }

    fn visit_impl_item_fn(&mut self, function: &'ast syn::ImplItemFn) {
        self.function(&function.sig.ident, |reader| visit::visit_impl_item_fn(reader, function));
    }

    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        used(item).iter().for_each(|leaf| self.follow(&leaf.path));
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        self.path(&Written::of(path));
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, called: &'ast syn::Macro) {
        let path = Written::of(&called.path);
        if path.segments.len() == 1 {
            self.textual_macro(&path)
        } else {
            self.path(&path)
        }
        self.tokens(called.tokens.clone());
    }

    fn visit_attribute(&mut self, attribute: &'ast Attribute) {
        match &attribute.meta {
            // What an attribute is called is another crate's; text of the documentation is no code.
            Meta::Path(_) => {}
            Meta::NameValue(_) if attribute.path().is_ident("doc") => {}
            Meta::NameValue(given) => self.visit_expr(&given.value),
            Meta::List(list) => {
                // `#[serde(with = "crate::wire")]`: a path in quotes.
                for (text, line) in Tokens::of(list.tokens.clone()).texts {
                    if let Ok(path) = syn::parse_str::<syn::Path>(&text)
                        && path.segments.len() > 1
                    {
                        self.path(&Written { line, ..Written::of(&path) });
                    }
                }
                self.tokens(list.tokens.clone());
            }
        }
    }

    /// `pub(in crate::store)` imports nothing.
    fn visit_vis_restricted(&mut self, _: &'ast syn::VisRestricted) {}

    fn visit_lit_str(&mut self, text: &'ast syn::LitStr) {
        self.word(text.span().start().line, WordKind::Text(text.value()));
    }
}
