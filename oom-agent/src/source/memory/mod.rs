//! The flight recorder, and readings right after a kill.
