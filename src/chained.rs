//! Words: settings as methods that chain, made of one table per struct.

/// A method for each setting: `with_lease(lease: Duration) = lease,` sets the field `lease`. Every field has its row: without it
/// the pattern at the end does not compile.
macro_rules! chained {
    ($of:ident { $($(#[$meta:meta])* $with:ident($field:ident: $given:ty) = $value:expr,)* }) => {
        impl $of {
            $(
                $(#[$meta])*
                #[doc = concat!("The same with this [`", stringify!($field), "`](field@Self::", stringify!($field), ").")]
                #[must_use]
                pub fn $with(mut self, $field: $given) -> Self {
                    self.$field = $value;
                    self
                }
            )*
        }

        const _: fn($of) = |settings| {
            let $of { $($(#[$meta])* $field: _,)* } = settings;
        };
    };
}

pub(crate) use chained;
