//! Words: how many of something there are now. It reaches the recorder of the process (feature `metrics`); without the feature
//! these types are empty.

/// A gauge that goes up and down with what is counted in it.
#[derive(Debug)]
pub(crate) struct Level {
    #[cfg(feature = "metrics")]
    gauge: ::metrics::Gauge,
}

impl Level {
    /// Seen at 0 before anything is counted.
    pub(crate) fn called(name: &'static str, help: &'static str) -> Self {
        #[cfg(feature = "metrics")]
        {
            ::metrics::describe_gauge!(name, ::metrics::Unit::Count, help);
            let gauge = ::metrics::gauge!(name);
            gauge.increment(0.0);
            Self { gauge }
        }
        #[cfg(not(feature = "metrics"))]
        {
            _ = (name, help);
            Self {}
        }
    }

    /// One more, until what this answers is dropped.
    pub(crate) fn rise(&self) -> Counted {
        #[cfg(feature = "metrics")]
        self.gauge.increment(1.0);
        Counted {
            #[cfg(feature = "metrics")]
            gauge: self.gauge.clone(),
        }
    }
}

/// One of those that are counted now.
pub(crate) struct Counted {
    #[cfg(feature = "metrics")]
    gauge: ::metrics::Gauge,
}

impl Drop for Counted {
    fn drop(&mut self) {
        #[cfg(feature = "metrics")]
        self.gauge.decrement(1.0);
    }
}

#[cfg(all(test, not(feature = "metrics")))]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_held_where_nothing_is_exported() {
        assert_eq!((size_of::<Level>(), size_of::<Counted>()), (0, 0));
    }
}
