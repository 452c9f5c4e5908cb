//! Values of flags that are one of a few words. Their variants are the words.

use clap::ValueEnum;

/// `--color`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum When {
    // On a terminal, unless NO_COLOR is set
    #[default]
    Auto,
    // Always
    Always,
    // Never
    Never,
}

/// `--compare`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Compare {
    // Read the object
    Content,
    // Trust equal size and recorded time
    Size,
}
