//! The packages of a repository as modules: which file each module stands in, and what is written there.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use syn::spanned::Spanned;
use syn::{Attribute, Item, ItemMod, Meta};

use crate::violation::Violation;

/// A module with its own items; modules inside it are modules of their own, and what only tests see is left out.
pub(crate) struct Module {
    /// Its path from the root of the repository, with `/`.
    pub(crate) file: String,
    pub(crate) parent: Option<usize>,
    pub(crate) root: usize,
    /// By their names; into [`Source::modules`].
    pub(crate) children: BTreeMap<String, usize>,
    pub(crate) items: Vec<Item>,
}

/// All that ships.
#[derive(Default)]
pub(crate) struct Source {
    pub(crate) modules: Vec<Module>,
    /// The root module of each package's library, by the name that its binaries call it. A binary sees it as another
    /// crate, and yet it is the same package.
    pub(crate) libraries: BTreeMap<String, usize>,
    /// What could not be read.
    pub(crate) violations: Vec<Violation>,
    /// Every file that a module stands in, and whether it ships.
    files: BTreeMap<String, bool>,
    repository: PathBuf,
}

impl Source {
    /// Reads `src/` of every package below this folder.
    pub(crate) fn read(repository: &Path) -> Self {
        let mut source = Self { repository: repository.to_owned(), ..Self::default() };
        for package in packages(repository) {
            source.read_package(&package);
        }
        source
    }

    /// The files that ship.
    pub(crate) fn files(&self) -> impl Iterator<Item = &str> {
        self.files.iter().filter(|(_, ships)| **ships).map(|(file, _)| file.as_str())
    }

    fn read_package(&mut self, package: &Path) {
        let folder = package.join("src");
        let library = folder.join("lib.rs");
        if library.exists() {
            let root = self.modules.len();
            self.libraries.insert(crate_name(package), root);
            self.read_file(&library, &folder, None, true);
        }
        let binaries = entries(&folder.join("bin")).into_iter().flat_map(|entry| [entry.join("main.rs"), entry]);
        for root in std::iter::once(folder.join("main.rs")).chain(binaries).filter(|root| root.is_file()) {
            self.read_file(&root, folder_of(&root), None, true);
        }
        for file in rust_files(&folder) {
            let file = self.relative(&file);
            if !self.files.contains_key(&file) {
                self.violation(&file, 1, "no `mod` that can be read leads to this file: declare it, or delete it");
            }
        }
    }

    /// Reads a file as a module; its children stand in `folder`.
    fn read_file(&mut self, path: &Path, folder: &Path, parent: Option<usize>, ships: bool) -> Option<usize> {
        let file = self.relative(path);
        let parsed = std::fs::read_to_string(path)
            .map_err(|error| (1, error.to_string()))
            .and_then(|text| syn::parse_file(&text).map_err(|error| (error.span().start().line, error.to_string())));
        match parsed {
            Ok(parsed) => {
                let ships = ships && !is_test_only(&parsed.attrs);
                *self.files.entry(file.clone()).or_default() |= ships;
                Some(self.read_module(file, path, folder, parent, parsed.items, ships))
            }
            Err((line, error)) => {
                self.violation(&file, line, &format!("cannot be read: {error}"));
                None
            }
        }
    }

    fn read_module(
        &mut self,
        file: String,
        path: &Path,
        folder: &Path,
        parent: Option<usize>,
        items: Vec<Item>,
        ships: bool,
    ) -> usize {
        let index = self.modules.len();
        let root = parent.map_or(index, |parent| self.modules[parent].root);
        self.modules.push(Module { file: file.clone(), parent, root, children: BTreeMap::new(), items: Vec::new() });
        for item in items {
            match item {
                Item::Mod(module) => {
                    let ships = ships && !is_test_only(&module.attrs);
                    if let Some(child) = self.read_child(&file, path, folder, index, &module, ships)
                        && ships
                    {
                        self.modules[index].children.insert(module.ident.to_string(), child);
                    }
                }
                item if ships => self.modules[index].items.push(item),
                _ => {}
            }
        }
        index
    }

    fn read_child(
        &mut self,
        file: &str,
        path: &Path,
        folder: &Path,
        parent: usize,
        module: &ItemMod,
        ships: bool,
    ) -> Option<usize> {
        let name = module.ident.to_string();
        if let Some((_, items)) = &module.content {
            return Some(self.read_module(
                file.to_owned(),
                path,
                &folder.join(name),
                Some(parent),
                items.clone(),
                ships,
            ));
        }
        if let Some(given) = path_attribute(&module.attrs) {
            // Beside the file itself, unless the declaration stands in an inline module. Its children stand beside it.
            let is_inline = self.modules[parent].parent.is_some_and(|above| self.modules[above].file == file);
            let child = normal(&if is_inline { folder } else { folder_of(path) }.join(given));
            return self.read_file(&child, folder_of(&child), Some(parent), ships);
        }
        let (beside, inside) = (folder.join(format!("{name}.rs")), folder.join(&name).join("mod.rs"));
        match [beside, inside].into_iter().find(|path| path.exists()) {
            Some(child) => self.read_file(&child, &folder.join(&name), Some(parent), ships),
            None => {
                self.violation(file, module.span().start().line, &format!("`mod {name}` has no file: add it"));
                None
            }
        }
    }

    fn relative(&self, path: &Path) -> String {
        let path = path.strip_prefix(&self.repository).unwrap_or(path);
        path.components().map(|part| part.as_os_str().to_string_lossy()).collect::<Vec<_>>().join("/")
    }

    fn violation(&mut self, file: &str, line: usize, message: &str) {
        self.violations.push(Violation::new(file, line, message));
    }
}

/// Whether these attributes leave an item out of everything but tests.
pub(crate) fn is_test_only(attributes: &[Attribute]) -> bool {
    fn holds(meta: &Meta) -> bool {
        let parts = |list: &syn::MetaList| {
            list.parse_args_with(syn::punctuated::Punctuated::<Meta, syn::Token![,]>::parse_terminated)
                .map_or_else(|_| Vec::new(), |parts| parts.into_iter().collect())
        };
        match meta {
            Meta::Path(path) => path.is_ident("test"),
            Meta::List(list) if list.path.is_ident("all") => parts(list).iter().any(holds),
            Meta::List(list) if list.path.is_ident("any") => {
                let parts = parts(list);
                !parts.is_empty() && parts.iter().all(holds)
            }
            Meta::List(_) | Meta::NameValue(_) => false,
        }
    }
    attributes
        .iter()
        .filter(|attribute| attribute.path().is_ident("cfg"))
        .any(|attribute| attribute.parse_args::<Meta>().is_ok_and(|meta| holds(&meta)))
}

/// What `#[path = ".."]` says.
fn path_attribute(attributes: &[Attribute]) -> Option<String> {
    attributes.iter().find(|attribute| attribute.path().is_ident("path")).and_then(|attribute| {
        let Meta::NameValue(given) = &attribute.meta else { return None };
        let syn::Expr::Lit(syn::ExprLit { lit: syn::Lit::Str(text), .. }) = &given.value else { return None };
        Some(text.value())
    })
}

/// The folders with a manifest and a `src/`. They are looked for, so that a new package need not be told of here.
fn packages(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    if folder.join("Cargo.toml").exists() && folder.join("src").exists() {
        found.push(folder.to_owned());
    }
    for entry in entries(folder) {
        let name = entry.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if entry.is_dir() && !name.starts_with('.') && !["target", "src"].contains(&name.as_str()) {
            found.extend(packages(&entry));
        }
    }
    found
}

/// What the binaries of a package call its library.
fn crate_name(package: &Path) -> String {
    let manifest = std::fs::read_to_string(package.join("Cargo.toml")).expect("a manifest");
    let name = manifest.split("[package]").nth(1).and_then(|section| section.split("name = \"").nth(1));
    name.and_then(|rest| rest.split('"').next()).expect("a package has a name").replace('-', "_")
}

fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let (folders, files): (Vec<_>, Vec<_>) = entries(folder).into_iter().partition(|entry| entry.is_dir());
    let files = files.into_iter().filter(|file| file.extension().is_some_and(|extension| extension == "rs"));
    files.chain(folders.iter().flat_map(|folder| rust_files(folder))).collect()
}

/// Sorted, so that the same tree is told in the same order everywhere.
fn entries(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let mut entries: Vec<_> = entries.map(|entry| entry.expect("a readable folder").path()).collect();
    entries.sort();
    entries
}

fn folder_of(file: &Path) -> &Path {
    file.parent().expect("a file stands in a folder")
}

/// The path without `..`.
fn normal(path: &Path) -> PathBuf {
    let mut normal = PathBuf::new();
    for part in path.components() {
        match part {
            std::path::Component::ParentDir => _ = normal.pop(),
            part => normal.push(part),
        }
    }
    normal
}
