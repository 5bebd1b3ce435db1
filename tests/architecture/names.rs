//! What a name means in a module, and so which files a path leads to.

use std::collections::BTreeMap;

use syn::Item;
use syn::visit::{self, Visit};

use crate::paths::{Used, Written, used};
use crate::source::{Module, Source, is_test_only};

/// A chain of re-exports that is longer than this goes in a circle.
const LONGEST_CHAIN: usize = 8;

/// Where a path leads.
#[derive(Debug)]
pub(crate) enum Led {
    /// To these files of the same package: the one that defines the name last, before it those that hand it on.
    To(Vec<String>, End),
    /// To another crate, or to something that is known in its own function only.
    Outside,
    /// Into a module of the same package, and nothing there has the name.
    Nowhere,
}

/// What stands where a path ends.
#[derive(Clone, Copy, Debug)]
pub(crate) enum End {
    Module(usize),
    Item,
}

/// What a name stands for.
#[derive(Clone, Debug)]
enum Meaning {
    Defined,
    Module(usize),
    Used(Written),
}

#[derive(Default)]
struct Scope {
    names: BTreeMap<String, Vec<Meaning>>,
    globs: Vec<Written>,
    /// A macro stands among the items: it may define names that nobody sees here.
    has_unseen: bool,
}

pub(crate) struct Names<'a> {
    source: &'a Source,
    /// As [`Source::modules`].
    scopes: Vec<Scope>,
}

impl<'a> Names<'a> {
    pub(crate) fn of(source: &'a Source) -> Self {
        Self { source, scopes: source.modules.iter().map(Scope::of).collect() }
    }

    /// Where a path that is written in a module leads.
    pub(crate) fn follow(&self, module: usize, path: &Written) -> Led {
        self.follow_chain(module, path, LONGEST_CHAIN)
    }

    /// The file that defines a macro which is called by its name alone, without a `use`: after its definition it is
    /// known in the whole crate.
    pub(crate) fn textual_macro(&self, module: usize, name: &str) -> Option<&str> {
        let modules = &self.source.modules;
        let defines = |module: &&Module| {
            module
                .items
                .iter()
                .any(|item| matches!(item, Item::Macro(made) if made.ident.as_ref().is_some_and(|is| is == name)))
        };
        let in_crate = modules.iter().filter(|other| other.root == modules[module].root);
        std::iter::once(&modules[module]).chain(in_crate).find(defines).map(|module| module.file.as_str())
    }

    fn follow_chain(&self, from: usize, path: &Written, chain: usize) -> Led {
        let first = path.segments[0].as_str();
        match first {
            "Self" => Led::Outside,
            "crate" => self.follow_from(from, self.source.modules[from].root, &path.segments[1..], chain),
            "self" | "super" => self.follow_from(from, from, &path.segments, chain),
            _ if !path.is_outside && self.has(from, first, chain) => {
                self.follow_from(from, from, &path.segments, chain)
            }
            _ => match self.source.libraries.get(first) {
                // A package's own binaries may name its library; other packages are cargo's to judge.
                Some(library) if self.is_same_package(from, *library) => {
                    self.follow_from(from, *library, &path.segments[1..], chain)
                }
                _ => Led::Outside,
            },
        }
    }

    fn follow_from(&self, from: usize, mut module: usize, path: &[String], chain: usize) -> Led {
        for (index, segment) in path.iter().enumerate() {
            let rest = &path[index + 1..];
            let meanings = self.scopes[module].names.get(segment).map_or(&[][..], Vec::as_slice);
            let child = meanings.iter().find_map(|meaning| match meaning {
                Meaning::Module(child) => Some(*child),
                Meaning::Defined | Meaning::Used(_) => None,
            });
            module = match (segment.as_str(), child) {
                ("self", _) => module,
                ("super", _) => match self.source.modules[module].parent {
                    Some(parent) => parent,
                    None => return Led::Nowhere,
                },
                (_, Some(child)) if !rest.is_empty() => child,
                _ if meanings.is_empty() => return self.follow_unseen(from, module, segment, rest, chain),
                _ => return self.follow_meanings(from, module, meanings, rest, chain),
            };
        }
        Led::To(vec![self.file(module)], End::Module(module))
    }

    /// One name may stand for a type, a function, a macro and a module at once.
    fn follow_meanings(&self, from: usize, module: usize, meanings: &[Meaning], rest: &[String], chain: usize) -> Led {
        let (mut files, mut end) = (Vec::new(), End::Item);
        for meaning in meanings {
            match meaning {
                Meaning::Defined => files.push(self.file(module)),
                Meaning::Module(child) => {
                    files.push(self.file(*child));
                    end = End::Module(*child);
                }
                Meaning::Used(path) => {
                    let whole = Written { segments: [&path.segments[..], rest].concat(), ..path.clone() };
                    let led = if chain == 0 { Led::Nowhere } else { self.follow_chain(module, &whole, chain - 1) };
                    match self.handed_on(module, led) {
                        Led::To(more, at) => {
                            files.extend(more);
                            end = at;
                        }
                        // What comes from another crate is an import of the file that hands it on, if it is another.
                        Led::Outside | Led::Nowhere if module != from => files.push(self.file(module)),
                        Led::Outside | Led::Nowhere => {}
                    }
                }
            }
        }
        if files.is_empty() { Led::Outside } else { Led::To(files, end) }
    }

    /// Where a name leads that a module does not spell: through a glob, or out of a macro.
    fn follow_unseen(&self, from: usize, module: usize, name: &str, rest: &[String], chain: usize) -> Led {
        let mut may_be_unseen = self.scopes[module].has_unseen;
        for glob in self.scopes[module].globs.iter().filter(|_| chain > 0) {
            match self.follow_chain(module, glob, chain - 1) {
                Led::To(_, End::Module(over)) if self.has(over, name, chain - 1) => {
                    let path = [&[name.to_owned()], rest].concat();
                    return self.handed_on(module, self.follow_from(from, over, &path, chain - 1));
                }
                Led::To(_, End::Module(_)) | Led::Nowhere => {}
                // Over an enum or another crate: its names are not known here.
                Led::To(_, End::Item) | Led::Outside => may_be_unseen = true,
            }
        }
        if may_be_unseen { Led::To(vec![self.file(module)], End::Item) } else { Led::Nowhere }
    }

    /// Adds the file that hands a name on.
    fn handed_on(&self, module: usize, led: Led) -> Led {
        match led {
            Led::To(files, end) if self.source.modules[module].root != module => {
                Led::To([vec![self.file(module)], files].concat(), end)
            }
            led => led,
        }
    }

    /// Whether the module has the name, also through its globs.
    fn has(&self, module: usize, name: &str, chain: usize) -> bool {
        let scope = &self.scopes[module];
        scope.names.contains_key(name)
            || scope.globs.iter().filter(|_| chain > 0).any(|glob| match self.follow_chain(module, glob, chain - 1) {
                Led::To(_, End::Module(over)) => over != module && self.has(over, name, chain - 1),
                Led::To(_, End::Item) | Led::Outside | Led::Nowhere => false,
            })
    }

    fn file(&self, module: usize) -> String {
        self.source.modules[module].file.clone()
    }

    fn is_same_package(&self, module: usize, library: usize) -> bool {
        let folder = self.source.modules[library].file.trim_end_matches("lib.rs");
        self.source.modules[module].file.starts_with(folder)
    }
}

impl Scope {
    fn of(module: &Module) -> Self {
        let mut scope = Self::default();
        for (name, child) in &module.children {
            scope.add(name.clone(), Meaning::Module(*child));
        }
        for item in &module.items {
            let name = match item {
                Item::Const(item) => Some(&item.ident),
                Item::Enum(item) => Some(&item.ident),
                Item::Fn(item) => Some(&item.sig.ident),
                Item::Static(item) => Some(&item.ident),
                Item::Struct(item) => Some(&item.ident),
                Item::Trait(item) => Some(&item.ident),
                Item::TraitAlias(item) => Some(&item.ident),
                Item::Type(item) => Some(&item.ident),
                Item::Union(item) => Some(&item.ident),
                Item::Macro(item) => {
                    scope.has_unseen |= item.ident.is_none();
                    item.ident.as_ref()
                }
                _ => None,
            };
            if let Some(name) = name {
                scope.add(name.to_string(), Meaning::Defined);
            }
        }
        // Also those inside functions: what they name there they mean there.
        module.items.iter().for_each(|item| scope.visit_item(item));
        scope
    }

    fn add(&mut self, name: String, meaning: Meaning) {
        self.names.entry(name).or_default().push(meaning);
    }
}

impl<'ast> Visit<'ast> for Scope {
    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        if is_test_only(&item.attrs) {
            return;
        }
        for Used { name, mut path } in used(item) {
            let Some(name) = name else {
                self.globs.push(path);
                continue;
            };
            // `use redis;` is no name for itself.
            path.is_outside |= path.segments[0] == name && !self.names.contains_key(&name);
            self.add(name, Meaning::Used(path));
        }
        visit::visit_item_use(self, item);
    }
}
