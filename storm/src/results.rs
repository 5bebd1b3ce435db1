//! What a storm found out, for the verdict, the report and the picture.

use crate::plan::Mode;
use crate::tally::Figures;
use crate::timeline::Timeline;

/// What became of the modes that were run.
pub(crate) struct Results {
    pub(crate) without: Option<Figures>,
    pub(crate) with: Option<Figures>,
    /// What happened when in the modes that were run, for the picture.
    pub(crate) timelines: Vec<(Mode, Timeline)>,
    /// The built-in provider's process.
    pub(crate) provider_pid: Option<u32>,
}
