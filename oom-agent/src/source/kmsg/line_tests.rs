//! What each line of each kernel means.
