//! All rules over one repository.

use std::path::Path;

use crate::imports::Imports;
use crate::names::Names;
use crate::page::{PAGE, Page};
use crate::rules;
use crate::source::Source;
use crate::violation::Violation;

/// Everything that is wrong with the repository that stands in this folder.
pub(crate) fn violations(repository: &Path) -> Vec<Violation> {
    let source = Source::read(repository);
    let imports = Imports::of(&source, &Names::of(&source));
    let page = Page::read(&std::fs::read_to_string(repository.join(PAGE)).expect("the page of the architecture"));

    let mut violations = [&source.violations[..], &imports.violations, &page.violations].concat();
    violations.extend(rules::circles(&imports));
    violations.extend(rules::arrows(&page, &source, &imports));
    violations.extend(rules::words(&page, &source, &imports));
    violations
}
