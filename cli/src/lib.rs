//! What the programs of this repository have in common on the command line: the coordinator's settings as flags, wrong
//! settings as one line, and logs that tell no secret.

mod settings;
mod values;
mod secrets;
mod bad_setting;
mod discretion;
mod usage;

pub use bad_setting::BadSetting;
pub use discretion::is_discreet;
pub use secrets::read_secret;
pub use settings::Settings;
pub use usage::explain;
pub use values::Span;
